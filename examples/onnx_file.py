"""Code a wav file with ONNX Runtime and numpy only: no torch, no sqcodec.

    sqcodec export onnx speech-3k-onnx/          # once, where sqcodec is
    pip install onnxruntime numpy
    python examples/onnx_file.py speech-3k-onnx/ in.wav out.wav [BITS]

BITS: of a token, for a model with several rates (``bits`` in model.json: fewest, default, most). The wav is 16-bit, at
the model's rate. Memory stays the same however long it is.
"""

from __future__ import annotations

import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime

FRAMES_PER_PIECE = 192


class Coder:
    """One of the two graphs, with its state: pieces of whole frames in, results out."""

    def __init__(self, folder: Path, kind: str, about: dict, batch: int, bits: int | None = None) -> None:
        self.session = onnxruntime.InferenceSession(str(folder / f"{kind}.onnx"), providers=["CPUExecutionProvider"])
        self.names = [value.name for value in self.session.get_inputs()]
        self.state = [np.zeros((batch, *shape), np.float32) for shape in about[f"{kind}_state"]]
        self.unit = about["frame_length"] if kind == "encoder" else about["tokens_per_frame"]
        self.position = 0
        self.bits = [] if bits is None else [np.array(bits)]

    def push(self, piece: np.ndarray) -> np.ndarray:
        """Samples [B, n frames] to tokens, or tokens to samples."""
        feed = dict(zip(self.names, [piece, np.array(self.position), *self.bits, *self.state], strict=True))
        output, *self.state = self.session.run(None, feed)
        self.position += piece.shape[1] // self.unit
        return output

    def run(self, values: np.ndarray) -> np.ndarray:
        """All of it, piece by piece."""
        step = FRAMES_PER_PIECE * self.unit
        pieces = [self.push(values[:, start : start + step]) for start in range(0, values.shape[1], step)]
        return np.concatenate(pieces, axis=1)


def main(folder: str, source: str, target: str, wanted: str = "") -> None:
    about = json.loads(Path(folder, "model.json").read_text())
    with wave.open(source) as file:
        if (file.getframerate(), file.getsampwidth()) != (about["sample_rate"], 2):
            raise SystemExit(f"{source}: a 16-bit wav at {about['sample_rate']} Hz is needed")
        channels, length = file.getnchannels(), file.getnframes()
        samples = np.frombuffer(file.readframes(length), "<i2").reshape(-1, channels).T.astype(np.float32) / 32768
    frames = -(-(length + about["lookahead"]) // about["frame_length"])
    padded = np.pad(samples, ((0, 0), (0, frames * about["frame_length"] - length)))
    tokens = Coder(Path(folder), "encoder", about, channels).run(padded)
    bits = None
    if "bits" in about:  # nested tokens: the first bits of the finest token are a coarser one
        fewest, default, most = about["bits"]
        bits = min(max(int(wanted or default), fewest), most)
        tokens >>= most - bits
    output = Coder(Path(folder), "decoder", about, channels, bits).run(tokens)
    output = output[:, about["lookahead"] : about["lookahead"] + length]
    with wave.open(target, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(about["sample_rate"])
        file.writeframes(np.clip(np.rint(output.T * 32768), -32768, 32767).astype("<i2").tobytes())
    seconds, codes = length / about["sample_rate"], about["codebook_size"] if bits is None else 2**bits
    print(f"{source}: {seconds:.2f} s, {tokens.size} tokens of {codes} -> {target}")


if __name__ == "__main__":
    main(*sys.argv[1:])

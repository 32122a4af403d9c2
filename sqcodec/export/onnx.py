"""A frame-rate model as two ONNX files and a JSON file that says how to use them (extra ``onnx``).

``encoder.onnx``: samples float32 [B, N F], position int64 [], state -> tokens int64 [B, N Q], state. ``decoder.onnx``:
tokens, position, state -> samples. Whole recordings, long ones in pieces, and live frames use the same two files; see
``sqcodec.export.graph`` and examples/onnx_file.py.

Where tokens are nested, ``bits`` in ``model.json`` says the fewest, the default and the most bits of a token. The
encoder gives tokens of the most, of which ``tokens >> (most - b)`` are those of b bits; the decoder has an input
``bits``, int64 [], after the position.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import torch

from sqcodec.codec import Codec
from sqcodec.export.graph import CoderGraph
from sqcodec.files import published
from sqcodec.nn import FrameNetwork
from sqcodec.nn.incremental import DecoderSteps, EncoderSteps

OPSET = 17
FILES = ("encoder.onnx", "decoder.onnx", "model.json")


def export_onnx(codec: Codec, folder: str | Path) -> dict[str, object]:
    """Writes the three files; returns what ``model.json`` holds.

    Raises:
        ValueError: not a frame-rate model, a quantizer other than fsq, fsp and vp, or a vp one without its codebook.
        ImportError: the ``onnx`` package is missing.
    """
    import onnx  # noqa: F401 (the exporter needs it, and says so less clearly)

    if not isinstance(codec.network, FrameNetwork):
        raise ValueError(f"Model {codec.name!r} cannot be exported: only frame-rate models can, such as 'speech-3k'.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    network, config = codec.network.to("cpu"), codec.config
    about: dict[str, object] = {
        "model": codec.name,
        "weights_hash": codec.weights_hash,
        "also": list(codec.also),
        "sample_rate": config.sample_rate,
        "frame_length": network.frame_length,
        "tokens_per_frame": network.tokens_per_frame,
        "lookahead": config.lookahead,
        "levels": list(codec.levels or ()),
        "codebook_size": codec.codebook_size,
    }
    if config.quantizer.bits:
        about["bits"] = list(config.quantizer.bits)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, steps in (("encoder", EncoderSteps(network)), ("decoder", DecoderSteps(network))):
            graph = CoderGraph(steps)
            _export(graph, kind, folder / f"{kind}.onnx", network)
            about[f"{kind}_state"] = [list(shape) for shape in graph.state_shapes]
    (folder / "model.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return about


def check_onnx(codec: Codec, folder: str | Path, seconds: float = 2.0) -> tuple[float, float]:
    """Runs both files in ONNX Runtime, in pieces, against PyTorch on noise with the spectrum of speech.

    Returns:
        (share of equal tokens, largest difference of a sample).
    """
    import onnxruntime

    random = np.random.default_rng(0)
    length = codec.config.frame_length
    frames = int(seconds * codec.sample_rate) // length
    walk = np.cumsum(random.standard_normal(frames * length)) * 0.01
    samples = (walk - np.convolve(walk, np.ones(400) / 400, "same")).astype(np.float32)[None]
    finest = codec.bits_range[1] if codec.bits_range else None
    expected = codec.encode(samples, bits=finest)
    about = json.loads((Path(folder) / "model.json").read_text(encoding="utf-8"))
    outputs = []
    coded = expected[:, : frames * about["tokens_per_frame"]]
    rates = sorted(set(about.get("bits", [None])))
    cut = {bits: coded if finest is None else coded >> (finest - bits) for bits in rates}
    runs = [("encoder", samples, about["frame_length"], None)]
    runs += [("decoder", tokens.numpy(), about["tokens_per_frame"], bits) for bits, tokens in cut.items()]
    for kind, source, unit, bits in runs:
        session = onnxruntime.InferenceSession(str(Path(folder) / f"{kind}.onnx"), providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        state = [np.zeros((1, *shape), np.float32) for shape in about[f"{kind}_state"]]
        parts, start = [], 0
        while start < frames:
            count = min(int(random.integers(1, 80)), frames - start)
            part = source[:, start * unit : (start + count) * unit]
            more: list[np.ndarray] = [] if bits is None else [np.array(bits)]
            feed = dict(zip(names, [part, np.array(start), *more, *state], strict=True))
            output, *state = session.run(None, feed)
            parts.append(output)
            start += count
        outputs.append(np.concatenate(parts, axis=1))
    found, *waves = outputs
    equal = float((found == coded.numpy()).mean())
    difference = 0.0
    for wave, (bits, tokens) in zip(waves, cut.items(), strict=True):
        reference = codec.decode(tokens, bits=bits).numpy()
        difference = max(difference, float(np.abs(wave[:, codec.lookahead :] - reference).max()))
    return equal, difference


def _export(graph: CoderGraph, kind: str, path: Path, network: FrameNetwork) -> None:
    states = [torch.zeros(1, *shape) for shape in graph.state_shapes]
    unit, what = (network.frame_length, "samples") if kind == "encoder" else (network.tokens_per_frame, "tokens")
    other = "tokens" if kind == "encoder" else "samples"
    first = torch.zeros(1, 3 * unit) if kind == "encoder" else torch.zeros(1, 3 * unit, dtype=torch.int64)
    names = [f"state_{index}" for index in range(len(states))]
    more = ["bits"] if graph.takes_bits else []
    example = [torch.tensor(network.config.quantizer.bits[1])] if graph.takes_bits else []
    axes = {what: {0: "batch", 1: what}, other: {0: "batch", 1: other}}
    axes |= {name: {0: "batch"} for name in names} | {f"new_{name}": {0: "batch"} for name in names}
    with published(path) as partial:
        torch.onnx.export(
            graph.eval(),
            (first, torch.tensor(7), *example, *states),
            str(partial),
            input_names=[what, "position", *more, *names],
            output_names=[other, *(f"new_{name}" for name in names)],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )

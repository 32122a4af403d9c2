"""A frame-rate model as two ONNX files and a JSON file that says how to use them (extra ``onnx``).

``encoder.onnx``: samples float32 [B, N F], position int64 [], state -> tokens int64 [B, N Q], state. ``decoder.onnx``:
tokens, position, state -> samples. Whole recordings, long ones in pieces, and live frames use the same two files; see
``sqcodec.export.graph`` and examples/onnx_file.py.

Where tokens are nested, ``bits`` in ``model.json`` says the fewest, the default and the most bits of a token. The
encoder gives tokens of the most, of which ``tokens >> (most - b)`` are those of b bits; the decoder has an input
``bits``, int64 [], after the position.

With ``int8`` the decoder's matrices are stored in 8 bits, 32 weights to a scale, and what meets them is rounded
likewise: a third of the size, faster in small pieces, samples a little different. Tokens stay exact.
"""

from __future__ import annotations

import json
import logging
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


class OnnxCoder:
    """One of the two graphs in ONNX Runtime with its state: whole frames in, results out.

    Args:
        folder: of ``export_onnx``.
        kind: "encoder" or "decoder".
        bits: of the tokens that a decoder of nested ones gets.
        threads: of the CPU.
    """

    def __init__(self, folder: str | Path, kind: str, bits: int | None = None, threads: int = 1) -> None:
        import onnxruntime

        about = json.loads((Path(folder) / "model.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        path = str(Path(folder) / f"{kind}.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = [value.name for value in self.session.get_inputs()]
        self.unit = about["frame_length"] if kind == "encoder" else about["tokens_per_frame"]
        self.shapes, self.bits = about[f"{kind}_state"], [] if bits is None else [np.array(bits)]
        self.start()

    def start(self) -> None:
        """Forgets what was pushed."""
        self.state, self.position = [np.zeros((1, *shape), np.float32) for shape in self.shapes], 0

    def push(self, piece: np.ndarray) -> np.ndarray:
        """Samples [1, n frame_length] to tokens, or tokens to samples."""
        given = [piece, np.array(self.position), *self.bits, *self.state]
        output, *self.state = self.session.run(None, dict(zip(self.names, given, strict=True)))
        self.position += piece.shape[1] // self.unit
        return output


def export_onnx(codec: Codec, folder: str | Path, int8: bool = False) -> dict[str, object]:
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
            _export(graph, kind, folder / f"{kind}.onnx", network, int8 and kind == "decoder")
            about[f"{kind}_state"] = [list(shape) for shape in graph.state_shapes]
    (folder / "model.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return about


def check_onnx(codec: Codec, folder: str | Path, seconds: float = 2.0) -> tuple[float, float]:
    """Runs both files in ONNX Runtime, in pieces, against PyTorch on noise with the spectrum of speech.

    Returns:
        (share of equal tokens, largest difference of a sample).
    """
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
        coder, parts, start = OnnxCoder(folder, kind, bits), [], 0
        while start < frames:
            count = min(int(random.integers(1, 80)), frames - start)
            parts.append(coder.push(source[:, start * unit : (start + count) * unit]))
            start += count
        outputs.append(np.concatenate(parts, axis=1))
    found, *waves = outputs
    equal = float((found == coded.numpy()).mean())
    difference = 0.0
    for wave, (bits, tokens) in zip(waves, cut.items(), strict=True):
        reference = codec.decode(tokens, bits=bits).numpy()
        difference = max(difference, float(np.abs(wave[:, codec.lookahead :] - reference).max()))
    return equal, difference


def _export(graph: CoderGraph, kind: str, path: Path, network: FrameNetwork, int8: bool) -> None:
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
        _store(partial, int8)


def _store(path: Path, int8: bool) -> None:
    """Weights of a graph as initializers, where tools look for them, rather than as nodes; in 8 bits where asked."""
    import onnx

    model = onnx.load(path)
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            model.graph.initializer.append(tensor)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if not int8:
        onnx.save(model, path)
        return
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(model, bits=8, block_size=32, is_symmetric=True, accuracy_level=4)
    logger = logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer")
    level = logger.level
    logger.setLevel(logging.WARNING)  # it reports every node
    try:
        quantizer.process()
    finally:
        logger.setLevel(level)
    quantizer.model.save_model_to_file(str(path), False)

"""A frame-rate model as two ONNX files and a JSON file that says how to use them (extra ``onnx``).

``encoder.onnx``: samples float32 [B, N F], position int64 [], state -> tokens int64 [B, N Q], state. ``decoder.onnx``:
tokens, position, state -> samples. Whole recordings, long ones in pieces, and live frames use the same two files; see
``sqcodec.export.graph`` and examples/onnx_file.py.
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
        "sample_rate": config.sample_rate,
        "frame_length": network.frame_length,
        "tokens_per_frame": network.tokens_per_frame,
        "lookahead": config.lookahead,
        "levels": list(codec.levels or ()),
        "codebook_size": codec.codebook_size,
    }
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
    expected = codec.encode(samples)
    about = json.loads((Path(folder) / "model.json").read_text(encoding="utf-8"))
    outputs = []
    for kind, source, unit in (
        ("encoder", samples, about["frame_length"]),
        ("decoder", expected.numpy()[:, : frames * about["tokens_per_frame"]], about["tokens_per_frame"]),
    ):
        session = onnxruntime.InferenceSession(str(Path(folder) / f"{kind}.onnx"), providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        state = [np.zeros((1, *shape), np.float32) for shape in about[f"{kind}_state"]]
        parts, start = [], 0
        while start < frames:
            count = min(int(random.integers(1, 80)), frames - start)
            part = source[:, start * unit : (start + count) * unit]
            feed = dict(zip(names, [part, np.array(start), *state], strict=True))
            output, *state = session.run(None, feed)
            parts.append(output)
            start += count
        outputs.append(np.concatenate(parts, axis=1))
    tokens, wave = outputs
    equal = float((tokens == expected.numpy()[:, : tokens.shape[1]]).mean())
    reference = codec.decode(expected[:, : tokens.shape[1]]).numpy()
    return equal, float(np.abs(wave[:, codec.lookahead :] - reference).max())


def _export(graph: CoderGraph, kind: str, path: Path, network: FrameNetwork) -> None:
    states = [torch.zeros(1, *shape) for shape in graph.state_shapes]
    unit, what = (network.frame_length, "samples") if kind == "encoder" else (network.tokens_per_frame, "tokens")
    other = "tokens" if kind == "encoder" else "samples"
    first = torch.zeros(1, 3 * unit) if kind == "encoder" else torch.zeros(1, 3 * unit, dtype=torch.int64)
    names = [f"state_{index}" for index in range(len(states))]
    axes = {what: {0: "batch", 1: what}, other: {0: "batch", 1: other}}
    axes |= {name: {0: "batch"} for name in names} | {f"new_{name}": {0: "batch"} for name in names}
    with published(path) as partial:
        torch.onnx.export(
            graph.eval(),
            (first, torch.tensor(7), *states),
            str(partial),
            input_names=[what, "position", *names],
            output_names=[other, *(f"new_{name}" for name in names)],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )

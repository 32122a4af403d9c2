"""`sqcodec bench`: speed of a model, and of other codecs, interleaved in one run."""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqcodec.extras import require, require_all

from .options import add_options, load_codec, positive

if TYPE_CHECKING:
    from sqcodec.codec import Codec

Case = tuple[str, Callable[[], object], Callable[[], object]]
PEERS = {"encodec": "EnCodec", "mimi": "Mimi", "dac": "DAC", "sq-codec": "sq-codec 3kbps", "l3ac": "l3ac 3kbps"}
"""By the names of the option, the names in the table."""
AUTHORS = {"sq-codec": ("sq_codec", "SQCodec"), "l3ac": ("l3ac", "L3AC")}
"""The packages of the published models' authors, and their classes."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "bench",
        help="speed of a model against its plain network and other codecs",
        description="Encode and decode noise with each system in turn, several rounds, and print times real time "
        "(median) and the ratio to the first system in each round (median, least, most): ratios hold on a busy "
        "machine where speeds do not. Peers have random weights and need the package transformers; sq-codec and "
        "l3ac need the package of that name.",
        epilog="example: sqcodec bench --threads 2 --peers encodec mimi dac",
    )
    add_options(parser, "--model", "--device")
    add_options(parser, "--threads", default=1, help="CPU threads; default: 1")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="length of a clip; default: 10")
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="clips at once; default: 1")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="default: 5")
    parser.add_argument(
        "--stream", type=float, default=20.0, metavar="MS", help="pieces of the stream; 0: no stream; default: 20"
    )
    parser.add_argument(
        "--onnx", action="store_true", help="also the stream in ONNX Runtime, float32 and int8 (extra 'onnx')"
    )
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[], help="other codecs to compare with")
    parser.add_argument(
        "--only", metavar="SYSTEM", help="one row of the table, by its name there: what it takes in memory by itself"
    )
    add_options(parser, "--json")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    import torch

    from sqcodec.evaluation.memory import peak_mib

    if not 0.1 <= arguments.seconds <= 600 or not (arguments.stream == 0 or 1 <= arguments.stream <= 1000):
        raise ValueError("--seconds takes 0.1 to 600, --stream 1 to 1000, or 0 for none")
    torch.set_num_threads(arguments.threads)
    with torch.inference_mode():
        cases = [] if arguments.only in PEERS.values() else own_cases(arguments)
        for name in arguments.peers:
            try:
                cases += [peer_case(name, arguments)] if arguments.only in (None, PEERS[name]) else []
            except ImportError as error:
                print(f"sqcodec bench: {name} is left out: {error}", file=sys.stderr)
        names = [case[0] for case in cases]
        cases = [case for case in cases if arguments.only in (None, case[0])]
        if not cases:
            raise ValueError(f"--only {arguments.only!r} is no system here; choose one of: {', '.join(names)}")
        results, peak = measure(cases, arguments), peak_mib()
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "seconds": arguments.seconds, "batch": arguments.batch,
                          "device": arguments.device, "results": results, "peak_mib": peak}))  # fmt: skip
        return 0
    print(f"{arguments.batch} x {arguments.seconds:g} s, {arguments.threads} threads, {arguments.rounds} rounds")
    for result in results:
        parts = []
        for what in ("encode", "decode"):
            speed, (middle, low, high) = result[f"{what}_speed"], result[f"{what}_ratio"]
            parts.append(f"{what} {speed:7.1f} times real time, ratio {middle:.2f} ({low:.2f} to {high:.2f})")
        print(f"{result['system']:<26} {'; '.join(parts)}")
    print(f"peak memory of this process: {peak:.0f} MiB")
    return 0


def own_cases(arguments: argparse.Namespace) -> list[Case]:
    """The model as it is used, then in other ways."""
    from sqcodec.codec import Codec

    codec = load_codec(arguments.model, arguments.device, arguments.threads)
    samples = _noise(codec.sample_rate, arguments)
    tokens = codec.encode(samples)
    network, rows = codec.network, network_rows(codec, samples)
    cases: list[Case] = [
        (codec.name, lambda: codec.encode(samples), lambda: codec.decode(tokens)),
        (
            "plain network",
            lambda: network.quantizer.encode(network.encode_features(rows)),
            lambda: network.decode_features(network.quantizer.decode(tokens.to(codec.device))),
        ),
    ]
    fast = Codec(network, codec.name, codec.weights_hash, precision="bfloat16")
    cases.append(("bfloat16", lambda: fast.encode(samples), lambda: fast.decode(tokens)))
    if codec.encoder_steps is not None and arguments.stream:
        for name, used in (("stream", codec), ("stream bfloat16", fast)):
            cases.append((f"{name}, {arguments.stream:g} ms", *_stream(used, samples, tokens, arguments.stream)))
        if arguments.onnx:
            cases += _onnx_cases(codec, samples, tokens, arguments)
    return cases


def network_rows(codec: Codec, samples: Any) -> Any:
    """Samples [B, T] as the plain network takes them."""
    return codec.network.pad(samples[:, None]).to(codec.device)


def _stream(codec: Codec, samples: Any, tokens: Any, milliseconds: float) -> tuple[Callable, Callable]:
    from sqcodec.streaming import StreamDecoder, StreamEncoder

    piece = max(1, round(milliseconds * codec.sample_rate / 1000))

    def encode() -> None:
        encoder = StreamEncoder(codec, samples.shape[0])
        for start in range(0, samples.shape[1], piece):
            encoder.push(samples[:, start : start + piece])

    def decode() -> None:
        decoder = StreamDecoder(codec, samples.shape[0])
        each = codec.config.tokens_per_frame
        for start, end in _completed(codec, samples.shape[1], piece):
            decoder.push(tokens[:, start * each : end * each])

    return encode, decode


def _completed(codec: Codec, length: int, piece: int) -> list[tuple[int, int]]:
    """The frames, from and to, that each piece of samples completes; pieces that complete none are left out."""
    frame = codec.hop_length * codec.config.tokens_per_frame
    ends = [min(end, length) // frame for end in range(piece, length + piece, piece)]
    return [(start, end) for start, end in zip([0, *ends], ends, strict=False) if end > start]


def _onnx_cases(codec: Codec, samples: Any, tokens: Any, arguments: argparse.Namespace) -> list[Case]:
    """The exported graphs, which take whole frames of one channel."""
    require_all(("onnx", "onnxruntime", "onnx_ir"), "onnx", "--onnx")
    from sqcodec.export.onnx import OnnxCoder, export_onnx

    frame, each = codec.hop_length * codec.config.tokens_per_frame, codec.config.tokens_per_frame
    pieces = _completed(codec, samples.shape[1], max(1, round(arguments.stream * codec.sample_rate / 1000)))
    bits = codec.config.pick_bits()

    def case(name: str, encoder: OnnxCoder, decoder: OnnxCoder) -> Case:
        def push(coder: OnnxCoder, values: Any, unit: int) -> None:
            for row in values.numpy():
                coder.start()
                for start, end in pieces:
                    coder.push(row[None, start * unit : end * unit])

        return (
            f"{name}, {arguments.stream:g} ms",
            lambda: push(encoder, samples, frame),
            lambda: push(decoder, tokens, each),
        )

    cases = []
    for name, int8 in (("ONNX Runtime", False), ("ONNX Runtime int8", True)):
        with tempfile.TemporaryDirectory() as folder:
            export_onnx(codec, folder, int8)
            coders = [OnnxCoder(folder, "encoder", None, arguments.threads)]
            coders.append(OnnxCoder(folder, "decoder", bits, arguments.threads))
        cases.append(case(name, *coders))
    return cases


def peer_case(name: str, arguments: argparse.Namespace) -> Case:
    """Another codec with its default configuration and random weights."""
    if name in AUTHORS:
        return authors_case(name, arguments)
    transformers = require("transformers", "baselines", "--peers")
    family = name.capitalize()
    config = getattr(transformers, f"{family}Config")()
    model = getattr(transformers, f"{family}Model")(config).eval().to(arguments.device)
    rate = config.sampling_rate
    samples = _noise(rate, arguments)[:, None].to(arguments.device)
    encoded = model.encode(samples)
    codes = encoded.audio_codes
    if name == "encodec":
        return PEERS[name], lambda: model.encode(samples), lambda: model.decode(codes, encoded.audio_scales)
    if name == "mimi":
        return PEERS[name], lambda: model.encode(samples), lambda: model.decode(codes)
    return PEERS[name], lambda: model.encode(samples), lambda: model.decode(audio_codes=codes)


def authors_case(name: str, arguments: argparse.Namespace) -> Case:
    """A published model in its authors' package, 3 kbit/s at 16 kHz."""
    import torch

    module, family = AUTHORS[name]
    try:
        package = importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{error}: --peers {name} needs it: pip install {name}") from None
    config = getattr(package, f"{family}Config")(config_file=package.CONFIG_DIR / "3kbps.toml")
    codec = getattr(package, family)(config)
    codec.network.eval().to(arguments.device)
    samples = _noise(16000, arguments).to(arguments.device)
    _, found = codec.encode_audio(samples)
    indices = found["indices"] if isinstance(found, dict) else found
    return PEERS[name], lambda: codec.encode_audio(samples), lambda: codec.decode_audio(indices=indices.to(torch.int64))


def measure(cases: list[Case], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every case in every round, after one that does not count."""
    audio = arguments.seconds * arguments.batch
    times: dict[str, list[list[float]]] = {"encode": [], "decode": []}
    for index in range(arguments.rounds + 1):
        for number, what in enumerate(times, start=1):
            row = [_time(case[number], arguments) for case in cases]  # type: ignore[arg-type]
            if index:
                times[what].append(row)
    results: list[dict[str, Any]] = []
    for position, case in enumerate(cases):
        result: dict[str, Any] = {"system": case[0]}
        for what, rounds in times.items():
            result[f"{what}_speed"] = audio / statistics.median(row[position] for row in rounds)
            ratios = [row[0] / row[position] for row in rounds]
            result[f"{what}_ratio"] = [statistics.median(ratios), min(ratios), max(ratios)]
        results.append(result)
    return results


def _time(function: Callable[[], object], arguments: argparse.Namespace) -> float:
    """Seconds: the thread's CPU time on one thread of a CPU, which other processes disturb less, else the clock's."""
    import torch

    cpu = arguments.device == "cpu"
    clock = time.thread_time if cpu and arguments.threads == 1 else time.perf_counter
    start = clock()
    function()
    if not cpu:
        torch.cuda.synchronize()
    return clock() - start


def _noise(sample_rate: int, arguments: argparse.Namespace) -> Any:
    """[B, T], the same every time."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(arguments.batch, round(arguments.seconds * sample_rate), generator=generator)

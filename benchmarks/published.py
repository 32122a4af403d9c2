"""Published configurations: this package against the authors' packages, same random weights, interleaved in one run.

Needs the environment of scripts/parity.py (see there). Without it, ours alone is measured, and said so.

    python benchmarks/published.py tests/data/84-121123-0002.flac [--threads 2] [--configs sqcodec-3kbps] [--json FILE]

For each configuration and direction: times real time (median of the rounds), the authors' time over ours in each round
(median, least, most), and what differs: tokens in float32 and bfloat16, and the waveform decoded from the same tokens
in bfloat16, as its signal-to-noise ratio against float32's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
from parity import build_reference, load_ours, read_speech  # noqa: E402

from sqcodec.codec import Codec  # noqa: E402
from sqcodec.config import published_config  # noqa: E402
from sqcodec.nn import build_network  # noqa: E402

MODES: dict[str, dict[str, Any]] = {
    "float32": {},
    "float32, compiled": {"compiled": True},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, compiled": {"precision": "bfloat16", "compiled": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", nargs="+")
    parser.add_argument("--configs", nargs="+", default=["sqcodec-0k75bps", "sqcodec-3kbps"])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-compile", action="store_true", help="leave out what needs a C++ compiler")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = [row for name in arguments.configs for row in compare(name, arguments)]
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"threads": arguments.threads, "rows": results}, indent=1))


def compare(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure and print one configuration."""
    speech = read_speech(arguments.speech, 24000 if "24khz" in name else 16000, arguments.seconds)
    theirs = None
    try:
        theirs, toml = build_reference(name, 0, speech)
        network = load_ours(theirs, toml, fold=True)
    except ImportError as error:
        print(f"{name}: the authors' package is not here ({error}); ours alone, with other random weights")
        torch.manual_seed(0)
        network = build_network(published_config(name))
    modes = {label: options for label, options in MODES.items() if not (arguments.no_compile and "compiled" in options)}
    codecs = {label: Codec(network, name, **options) for label, options in modes.items()}  # type: ignore[arg-type]
    exact = codecs["float32"]
    tokens = exact.encode(speech)
    encoders: dict[str, Callable[[], Any]] = {}
    decoders: dict[str, Callable[[], Any]] = {}
    for label, codec in codecs.items():
        encoders[label], decoders[label] = partial(codec.encode, speech), partial(codec.decode, tokens)
    if theirs is not None:
        share = float((indices(theirs, speech) == tokens).float().mean())
        print(f"{name}: {share:.3%} of {tokens.numel()} tokens equal the authors'")
        encoders = {"authors": lambda: indices(theirs, speech)} | encoders
        decoders = {"authors": lambda: theirs.decode_audio(indices=tokens)} | decoders
    rows = []
    for what, functions in (("encode", encoders), ("decode", decoders)):
        times = measure(functions, arguments)
        for label in functions:
            speed = arguments.seconds / statistics.median(times[label])
            row: dict[str, Any] = {"config": name, "what": what, "mode": label, "speed": speed}
            text = f"{name} {what} {label:<19} {speed:6.1f} x real time"
            if theirs is not None and label != "authors":
                ratios = [first / second for first, second in zip(times["authors"], times[label], strict=True)]
                row["ratio"] = [statistics.median(ratios), min(ratios), max(ratios)]
                text += f"; authors' time / ours {row['ratio'][0]:.2f} ({row['ratio'][1]:.2f} to {row['ratio'][2]:.2f})"
            if label in codecs and label != "float32":
                row["loss"], words = loss(exact, codecs[label], speech, tokens, what)
                text += f"; {words}"
            rows.append(row)
            print(text, flush=True)
    return rows


@torch.inference_mode()
def indices(codec: Any, speech: torch.Tensor) -> torch.Tensor:
    """The authors' tokens [1, N]."""
    _, found = codec.encode_audio(speech)
    return (found["indices"] if isinstance(found, dict) else found).long()


def loss(exact: Codec, codec: Codec, speech: torch.Tensor, tokens: torch.Tensor, what: str) -> tuple[float, str]:
    """How far a mode is from float32: share of equal tokens, or dB."""
    if what == "encode":
        share = float((codec.encode(speech) == tokens).float().mean())
        return share, f"{share:.2%} of the tokens of float32"
    expected, found = exact.decode(tokens), codec.decode(tokens)
    ratio = float(10 * torch.log10(expected.square().sum() / (expected - found).square().sum()))
    return ratio, f"{ratio:.1f} dB SNR against float32"


@torch.inference_mode()
def measure(functions: dict[str, Callable[[], Any]], arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each in every round, after one that does not count: CPU time of one thread, or the clock's."""
    clock = time.thread_time if arguments.threads == 1 else time.perf_counter
    times: dict[str, list[float]] = {label: [] for label in functions}
    for index in range(arguments.rounds + 1):
        for label, function in functions.items():
            start = clock()
            function()
            if index:
                times[label].append(clock() - start)
    return times


if __name__ == "__main__":
    main()

"""Published configurations: this package against the authors' packages, same random weights, interleaved in one run.

The environment is that of scripts/parity.py. CPU time of the one thread, so that other processes matter less:

    python benchmarks/published.py SPEECH.flac [--configs sqcodec-0k75bps sqcodec-3kbps] [--seconds 10] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
from parity import build_reference, load_ours, read_speech  # noqa: E402


def seconds(function: Callable[[], object], threads: int) -> float:
    """Time of one call: the thread's CPU time, or on several threads the wall's."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    start = clock()
    function()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", nargs="+")
    parser.add_argument("--configs", nargs="+", default=["sqcodec-0k75bps", "sqcodec-3kbps"])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.configs:
        compare(name, arguments)


@torch.inference_mode()
def compare(name: str, arguments: argparse.Namespace) -> None:
    """Print one configuration's ratios, encode and decode."""
    speech = read_speech(arguments.speech, 24000 if "24khz" in name else 16000, arguments.seconds)
    theirs, toml = build_reference(name, 0, speech)
    ours = load_ours(theirs, toml, fold=True)
    _, indices = theirs.encode_audio(speech)
    tokens = (indices["indices"] if isinstance(indices, dict) else indices).long()
    padded = ours.pad(speech.unsqueeze(1))
    same = (ours.quantizer.encode(ours.encode_features(padded)) == tokens).float().mean()
    cases = {
        "encode": (
            lambda: theirs.encode_audio(speech),
            lambda: ours.quantizer.encode(ours.encode_features(padded)),
        ),
        "decode": (
            lambda: theirs.decode_audio(indices=tokens),
            lambda: ours.decode_features(ours.quantizer.decode(tokens)),
        ),
    }
    for what, functions in cases.items():
        rounds = [[seconds(function, arguments.threads) for function in functions] for _ in range(arguments.rounds)]
        ratios = sorted(first / second for first, second in rounds)
        speeds = [arguments.seconds / statistics.median(values) for values in zip(*rounds, strict=True)]
        print(
            f"{name} {what}: authors {speeds[0]:.1f} x real time, ours {speeds[1]:.1f}; ratio "
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}); {same:.3%} equal tokens"
        )


if __name__ == "__main__":
    main()

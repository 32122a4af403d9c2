"""`sqcodec profile`: what a model costs to run."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from .options import add_options


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser(
        "profile", help="parameters, multiply-accumulates, speed, memory and latency of a model"
    )
    add_options(parser, "--model", "--device", "--json")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="length of the clip; default: 10")
    add_options(parser, "--threads", action="append", help="may be given again; default: 1 and all cores")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints the table."""
    from sqcodec.evaluation.profile import profile

    if not 0.1 <= arguments.seconds <= 600:
        raise ValueError(f"--seconds {arguments.seconds:g}: choose 0.1 to 600.")
    result = profile(arguments.model, arguments.device, arguments.seconds, arguments.threads)
    if arguments.json:
        print(json.dumps(asdict(result)))
        return 0
    lookahead = "not causal" if result.lookahead_ms is None else f"{result.lookahead_ms:.1f} ms"
    lines = [
        ("model", result.model),
        (
            "bit rate",
            f"{result.bit_rate / 1000:.3f} kbit/s ({result.token_rate:.2f} tokens/s, K {result.codebook_size:,})",
        ),
        (
            "parameters",
            f"{result.encoder_parameters / 1e6:.2f} M encoder, {result.decoder_parameters / 1e6:.2f} M decoder",
        ),
        ("GMAC/s of audio", f"{result.encode_macs / 1e9:.2f} encode, {result.decode_macs / 1e9:.2f} decode"),
        ("latency", f"frame {result.frame_ms:.1f} ms, look-ahead {lookahead}"),
    ]
    for speed in result.speeds:
        name = f"{speed.threads} thread{'s' if speed.threads > 1 else ''}, {result.device}"
        lines.append(
            (
                name,
                f"{speed.encode:.1f} times real time encode, {speed.decode:.1f} decode; peak {speed.peak_mib:.0f} MiB "
                f"({speed.base_mib:.0f} before coding)",
            )
        )
    for name, value in lines:
        print(f"{name:<18} {value}")
    return 0

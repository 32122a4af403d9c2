"""`sqcodec tokens` and `token-report`: a corpus to shards of tokens, and how good tokens are for language models."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sqcodec.extras import require

from .options import DEFAULT_MODEL, TOKEN_MODEL, add_corpus, add_options, add_rate_options, corpus, load_codec, positive
from .parser import Renamed, UsageError, printable

if TYPE_CHECKING:
    from sqcodec.tokens.worker import ShardResult


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verbs."""
    parser = subparsers.add_parser(
        "tokens",
        help="a corpus to shards of tokens, for language models",
        description="Codes every clip of a manifest (.jsonl, .tsv) or folder into shards with ids, speakers, texts and "
        "true lengths. Started again it goes on where it stopped. A clip that cannot be read is reported and skipped; "
        "engine and number of workers do not change the output.",
        epilog="examples:\n  sqcodec tokens corpus.tsv --out tokens --model speech-1k\n"
        "  sqcodec tokens recordings/ --out tokens --format webdataset --engine ray --jobs 32",
    )
    add_corpus(parser)
    add_options(parser, "--out", help="folder for the shards, their card and their index")
    parser.add_argument(
        "--format",
        choices=("parquet", "webdataset", "npz", "hf"),
        default="parquet",
        help="default: parquet. All but npz need the extra 'tokens'",
    )
    add_options(parser, "--model", default=TOKEN_MODEL, help=f"default: {TOKEN_MODEL}")
    add_rate_options(parser)
    add_options(parser, "--split")
    parser.add_argument(
        "--engine",
        choices=("local", "ray", "serial"),
        default="local",
        help="local: a pool of processes; ray: a Ray cluster (extra 'ray'); serial: this process",
    )
    add_options(parser, "--jobs", help="processes of one thread; default: all cores")
    parser.add_argument("--workers", dest="jobs", type=positive, action=Renamed, const="--jobs", help=argparse.SUPPRESS)
    parser.add_argument("--part", default="1/1", metavar="I/N", help="this machine's share, of N with one shared DIR")
    parser.add_argument("--shard-clips", type=positive, default=500, metavar="N", help="clips in a shard, at most")
    parser.add_argument("--shard-hours", type=float, default=2.0, metavar="H", help="audio in a shard, about, at most")
    parser.add_argument("--retry-skipped", action="store_true", help="make shards with skipped clips again")
    add_options(parser, "--device", "--precision", "--json", "--quiet")
    parser.set_defaults(run=run_tokens)

    parser = subparsers.add_parser(
        "token-report",
        help="how good a model's tokens are: redundancy, stability, speakers, phones, words",
        description="Bits a second after ideal coding of order 0, 1 and 2, shares of tokens that survive a shift, a "
        "gain and light noise, how well a linear classifier tells speakers and, of clips with English transcripts, "
        "phones, and the word errors in decoded speech. Needs the extra 'lm'; --words also 'phones' and 'wer'.",
        epilog="example: sqcodec token-report corpus.tsv --split test --model speech-3k --model runs/mine",
    )
    add_corpus(parser)
    add_options(parser, "--model", action="append", default=None, help=f"repeatable; default: {DEFAULT_MODEL}")
    add_options(parser, "--split")
    add_rate_options(parser)
    parser.add_argument("--clips", type=positive, default=300, metavar="N", help="spread over the corpus; default: 300")
    parser.add_argument("--voices", type=positive, default=100, metavar="N", help="speakers to tell; default: 100")
    parser.add_argument("--words", type=positive, default=0, metavar="N",
                        help="clips with transcripts to find phones and words in; default: 0, none")  # fmt: skip
    add_options(parser, "--threads", "--device", "--json")
    parser.set_defaults(run=run_report)


def run_tokens(arguments: argparse.Namespace) -> int:
    """Code the corpus; exit status."""
    import time
    from dataclasses import asdict

    match = re.fullmatch(r"(\d+)/(\d+)", arguments.part)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--part {arguments.part!r} is not I/N with I from 1 to N, such as 2/8")
    if arguments.shard_hours <= 0:
        raise UsageError(f"--shard-hours {arguments.shard_hours} must be above 0")

    from sqcodec.distributed import num_cores
    from sqcodec.tokens.corpus import SKIPPED, tokenize

    start = time.perf_counter()

    def report(result: ShardResult, left: int) -> None:
        for entry in result.skipped:
            print(printable(f"skipped: {entry.path}: {entry.problem}"), file=sys.stderr)
        if not arguments.quiet and not result.error:
            speed = result.audio_seconds / max(result.elapsed, 1e-9)
            print(
                f"shard {result.number}: {result.clips} clips, {result.tokens} tokens, {speed:.0f} times real time; "
                f"{left} shards to go, {time.perf_counter() - start:.0f} s",
                file=sys.stderr,
                flush=True,
            )

    totals = tokenize(
        corpus(arguments),
        arguments.out,
        model=arguments.model,
        format=arguments.format,
        engine=arguments.engine,
        workers=arguments.jobs or num_cores(),
        split=arguments.split,
        device=arguments.device,
        precision=arguments.precision,
        shard_clips=arguments.shard_clips,
        shard_seconds=arguments.shard_hours * 3600,
        part=(int(match[1]), int(match[2])),
        retry_skipped=arguments.retry_skipped,
        bits=arguments.bits,
        kbps=arguments.kbps,
        report=report,
    )
    for line in totals.failed:
        print(printable(f"sqcodec: error: {line}"), file=sys.stderr)
    if arguments.json:
        print(json.dumps(asdict(totals)))
    else:
        skipped = f"{totals.skipped} skipped ({SKIPPED})" if totals.skipped else "none skipped"
        state = "" if totals.complete else "; not all shards are there yet"
        print(
            f"{arguments.out}: {totals.clips} clips, {totals.seconds / 3600:.2f} h, {totals.tokens} tokens in "
            f"{totals.shards} shards, {skipped}{state}"
        )
    return 1 if totals.failed else 0


def run_report(arguments: argparse.Namespace) -> int:
    """Measure and print; exit status."""
    require("sklearn", "lm", "token-report")
    from sqcodec.tokens.quality import choose_clips, choose_spoken, choose_voices, measure_quality, quality_table

    source = Path(corpus(arguments))
    spoken = choose_spoken(source, arguments.split, arguments.words) if arguments.words else []
    voices = choose_voices(source, arguments.voices)
    clips = choose_clips(source, arguments.split, arguments.clips)
    models = arguments.model or [DEFAULT_MODEL]
    codecs = [load_codec(name, arguments.device, arguments.threads) for name in models]
    bits = [codec.config.pick_bits(arguments.bits, arguments.kbps) for codec in codecs]
    found = [
        measure_quality(codec, clips, bits=number, spoken=spoken, voices=voices)
        for codec, number in zip(codecs, bits, strict=True)
    ]
    print(json.dumps([quality.to_dict() for quality in found]) if arguments.json else quality_table(found), end="")
    return 0

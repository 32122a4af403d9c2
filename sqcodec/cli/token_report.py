"""`sqcodec token-report`: how good a model's tokens are for language models."""

from __future__ import annotations

import argparse
from pathlib import Path

from sqcodec.extras import require

from .common import DEFAULT_MODEL, add_corpus, add_options, add_rate_options, corpus, load_codec, positive


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; exit status."""
    import json

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

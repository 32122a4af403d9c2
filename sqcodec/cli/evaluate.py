"""`sqcodec evaluate`: how good a codec is, beside the ones people know."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path

from sqcodec.extras import require_all

from .files import expand_globs
from .options import add_options, positive
from .parser import Renamed, UsageError, printable

_EXAMPLE = """examples:
  sqcodec evaluate clips/ --model speech-3k --baselines opus:6,codec2:3200 --out report
  sqcodec evaluate clips/ --model many-rates --kbps 1,1.5,2,3 --baselines opus:6 --out report
  sqcodec evaluate corpus/manifest.tsv --split test --model runs/a --model runs/b --out report

systems for --baselines:
  original  opus:KBPS  opus-wb:KBPS  codec2:MODE  speex:QUALITY  speex-nb:QUALITY  mp3:KBPS  lyra:KBPS
  hf:FOLDER[:KBPS] (EnCodec, DAC, Mimi)  dac:FILE[:KBPS]  snac:FOLDER
  onnx:FOLDER[:KBPS] (of sqcodec export onnx)  dir:NAME=PATH (a folder of somebody's outputs)
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score codecs: table, report with players and plots, results.json",
        description="Code, decode, align and score clips; write report.html, report.md and results.json.",
        epilog=_EXAMPLE,
    )
    parser.add_argument("inputs", nargs="*", metavar="IN", help="audio files, folders, globs; or manifests")
    add_options(parser, "--data", "--split")
    parser.add_argument("--manifest", dest="data", action=Renamed, const="--data", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=positive, metavar="N", help="only N clips, of as many speakers as it can")
    add_options(parser, "--model", action="append", default=[], help="a model; may be given again")
    parser.add_argument(
        "--kbps",
        default="",
        metavar="LIST",
        help="rates in kbit/s with commas between: a model with several rates counts once at each that it has",
    )
    parser.add_argument("--baselines", default="", metavar="LIST", help="other systems, with commas between")
    parser.add_argument(
        "--metrics", default="core", metavar="LIST", help="'core' (default), 'all', or names with commas between"
    )
    add_options(parser, "--out", type=Path, help="a folder; resumed if it exists")
    add_options(parser, "--jobs", default=0)
    add_options(parser, "--device", "--quiet")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluates, writes the reports, prints the table. Exit 1 where a model failed on a clip."""
    if bool(arguments.inputs) == bool(arguments.data):
        raise UsageError("name audio files, folders or manifests, first or behind --data, one of the two")
    require_all(("scipy", "matplotlib", "jinja2"), "eval", "evaluate")
    from tqdm import tqdm

    from sqcodec.evaluation.evaluate import Options, evaluate
    from sqcodec.evaluation.report import publish
    from sqcodec.evaluation.scorers import all_metrics
    from sqcodec.evaluation.tables import main_table

    logging.basicConfig(level=logging.WARNING, format="sqcodec: %(message)s", stream=sys.stderr)
    named = [name for name in arguments.metrics.split(",") if name]
    choices = {"core": [], "all": list(all_metrics())}
    metrics = choices.get(arguments.metrics, named)
    baselines = [text for text in arguments.baselines.split(",") if text]
    systems = [f"sqcodec:{model}" for model in _at_rates(arguments.model, arguments.kbps)] + baselines
    if not systems:
        raise UsageError("nothing to evaluate: give --model, --baselines or both")
    options = Options(
        source=expand_globs(arguments.inputs) or arguments.data,
        systems=systems,
        out=arguments.out,
        split=arguments.split,
        limit=arguments.limit,
        metrics=metrics,
        jobs=arguments.jobs,
        device=arguments.device,
        command="sqcodec " + shlex.join(sys.argv[1:]),
        memory=True,
        strict=arguments.metrics not in choices,
    )
    with tqdm(unit="clip", file=sys.stderr, smoothing=0.05, disable=arguments.quiet) as bar:

        def show(done: int, total: int) -> None:
            if bar.total is None:
                bar.reset(total)
                bar.initial = done
            bar.n = done
            bar.refresh()

        results = evaluate(options, show)
    files = publish(results, arguments.out)
    for row in main_table(results):
        print(printable("\t".join(row)))
    print(printable("\n".join(str(path) for path in files)), file=sys.stderr)
    return 1 if any(summary["failed"] for summary in results.summary.values()) else 0


def _at_rates(models: list[str], kbps: str) -> list[str]:
    """Models, those with several rates as 'MODEL:KBPS' for each rate of the list that they have.

    UsageError where none of the models has several rates, one of them has none of the list, or no model has a rate.
    """
    if not kbps:
        return models
    from sqcodec.config import CONFIG_NAME, ModelConfig
    from sqcodec.registry import find_model

    try:
        rates = dict.fromkeys(float(text) for text in kbps.split(","))
    except ValueError:
        raise UsageError(f"--kbps {kbps!r} is no list of numbers with commas between, such as 1,1.5,2") from None
    ranges = {model: ModelConfig.from_toml(find_model(model) / CONFIG_NAME).rates for model in models}
    if not any(ranges.values()):
        raise UsageError(f"--kbps {kbps}: none of the models has several rates (`sqcodec models` shows which have)")
    has = {model: [rate for rate in rates if rate in known] for model, known in ranges.items() if known}
    for model, found in has.items():
        if not found:
            raise UsageError(f"--kbps {kbps}: '{model}' has none of these; allowed are {ranges[model]}.")
    for rate in set(rates).difference(*has.values()):
        allowed = "; ".join(f"'{model}' {ranges[model]}" for model in has)
        raise UsageError(f"--kbps {kbps}: no model has {rate:g}. Allowed are {allowed}.")
    return [
        name
        for model in models
        for name in ([f"{model.rstrip('/')}:{rate:g}" for rate in has[model]] if model in has else [model])
    ]

"""``sqcodec study``: compares quantizers on one backbone."""

from __future__ import annotations

import argparse

from sqcodec.extras import require

from .options import add_options, show_log


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "study",
        help="compare quantizers on one small network",
        description="Trains one network with every quantizer of a study, and writes tables and plots. The same command "
        "started again goes on where it stopped.",
        epilog="example: sqcodec study recipes/study.toml --data corpus/manifest.tsv --out runs/study",
    )
    parser.add_argument("study", help="study file (.toml), or the name of an installed one (study)")
    add_options(parser, "--data")
    add_options(parser, "--out", help="results, tables and plots")
    add_options(parser, "--cache", help="where decoded audio is kept; default: in --out")
    add_options(parser, "--set", "--device")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="run and report these rows only")
    parser.add_argument("--retry", action="store_true", help="run again what failed")
    parser.add_argument("--report-only", action="store_true", help="write tables and plots of what there is")
    parser.add_argument("--no-plots", action="store_true", help="tables only (plots need matplotlib)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import logging

    from sqcodec.study.plan import load_plan
    from sqcodec.study.report import write_report
    from sqcodec.study.run import fit_to_corpus, read_results, run_study
    from sqcodec.training.recipes import find_recipe

    show_log()
    logging.getLogger("sqcodec.training").setLevel(logging.WARNING)
    overrides = list(arguments.set)
    if arguments.data:
        overrides.append(f"data.manifest={arguments.data}")
    plots = not arguments.no_plots
    if plots:
        require("matplotlib", "study", "A plot", "Or give --no-plots.")
    plan = load_plan(find_recipe(arguments.study), overrides, arguments.only)
    if not arguments.report_only:
        try:
            run_study(fit_to_corpus(plan), arguments.out, arguments.cache, arguments.device, arguments.retry)
        except KeyboardInterrupt:
            if read_results(arguments.out):
                write_report(plan, arguments.out, plots=False)
            raise
    for path in write_report(plan, arguments.out, plots=plots):
        print(path)
    return 0

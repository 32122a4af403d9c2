"""``sqcodec codebook``: fits the codebook of a vector quantizer after its training."""

from __future__ import annotations

import argparse

from .common import add_options, positive, set_threads, show_log


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "codebook",
        help="fit the codebook of a trained vector quantizer (vp) anew",
        description="Fits a codebook by K-means++ on latents of the training set and puts it into the run's model, as "
        "`sqcodec train` does at the end of a run. Started again it continues where it stopped; torchrun spreads it "
        "over processes.",
        epilog="example: sqcodec codebook runs/first --data corpus/manifest.tsv",
    )
    parser.add_argument("run_folder", metavar="RUN", help="run folder of `sqcodec train`")
    add_options(parser, "--data", help="training data; default: as the run had it")
    add_options(parser, "--cache")
    parser.add_argument("--iterations", type=positive, default=20, metavar="N", help="of K-means; default: 20")
    parser.add_argument("--latents-per-code", type=positive, default=32, metavar="N", help="default: 32")
    add_options(parser, "--threads", "--device")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import contextlib
    import dataclasses
    from pathlib import Path

    from sqcodec.distributed import set_up, tear_down, world
    from sqcodec.runs import trainer_lock
    from sqcodec.training.corpus import build_data
    from sqcodec.training.recipe import load_run_recipe
    from sqcodec.training.vp import finish

    show_log()
    set_threads(arguments.threads)
    folder = Path(arguments.run_folder)
    recipe = load_run_recipe(folder)
    if arguments.data:
        recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, manifest=arguments.data))
    lock = contextlib.ExitStack()
    try:
        device = set_up(arguments.device)
        if world()[0] == 0:
            lock.enter_context(trainer_lock(folder))
        sampler, _ = build_data(recipe, arguments.cache or folder / "cache")
        finish(folder, sampler, device, recipe.train.seed, arguments.latents_per_code, arguments.iterations)
    finally:
        lock.close()
        tear_down()
    return 0

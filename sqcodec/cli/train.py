"""``sqcodec train``: trains a codec from a recipe."""

from __future__ import annotations

import argparse
import sys

from .common import add_options, set_threads, show_log


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "train",
        help="train a codec from a recipe",
        description="Trains a codec. The same command started again resumes where the run stopped.",
        epilog="example: sqcodec train recipes/mini_speech.toml --data corpus/manifest.tsv --out runs/first "
        "--set train.steps=20000",
    )
    parser.add_argument("recipe", help="recipe file (.toml), or the name of an installed one (sqcodec recipes)")
    add_options(parser, "--data")
    add_options(parser, "--out", help="run folder")
    parser.add_argument("--minutes", type=float, metavar="M", help="train so long, in all (train.minutes)")
    parser.add_argument("--init-from", metavar="MODEL", help="name or folder of a model that a new run starts from")
    add_options(parser, "--cache", "--set", "--threads", "--device")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from tqdm.contrib.logging import logging_redirect_tqdm

    from sqcodec.distributed import set_up, tear_down
    from sqcodec.registry import find_model
    from sqcodec.training.loop import Trainer
    from sqcodec.training.recipe import load_recipe
    from sqcodec.training.recipes import find_recipe

    show_log()
    set_threads(arguments.threads)
    overrides = list(arguments.set)
    if arguments.data:
        overrides.append(f"data.manifest={arguments.data}")
    if arguments.minutes is not None:
        overrides.append(f"train.minutes={arguments.minutes}")
    recipe = load_recipe(find_recipe(arguments.recipe), overrides)
    if not recipe.data.manifest:
        raise ValueError("No corpus: give --data MANIFEST or FOLDER (or data.manifest in the recipe).")
    try:
        trainer = Trainer(recipe, arguments.out, arguments.cache, set_up(arguments.device))
        if not trainer.resume() and arguments.init_from:
            source = Path(arguments.init_from)
            trainer.initialise_from(source if source.is_dir() else find_model(arguments.init_from))
        with logging_redirect_tqdm():
            trainer.run()
    except FloatingPointError as error:
        print(f"sqcodec: error: {error}", file=sys.stderr)
        return 1
    finally:
        tear_down()
    return 0

"""``sqcodec train``, ``recipes`` and ``codebook``: codecs from recipes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .options import add_options, positive, set_threads, show_log


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verbs."""
    train = subparsers.add_parser(
        "train",
        help="train a codec from a recipe",
        description="Trains a codec. The same command started again resumes where the run stopped.",
        epilog="example: sqcodec train recipes/mini_speech.toml --data corpus/manifest.tsv --out runs/first "
        "--set train.steps=20000",
    )
    train.add_argument("recipe", help="recipe file (.toml), or the name of an installed one (sqcodec recipes)")
    add_options(train, "--data")
    add_options(train, "--out", help="run folder")
    train.add_argument("--minutes", type=float, metavar="M", help="train so long, in all (train.minutes)")
    train.add_argument("--init-from", metavar="MODEL", help="name or folder of a model that a new run starts from")
    add_options(train, "--cache", "--set", "--threads", "--device")
    train.set_defaults(run=run_train)

    recipes = subparsers.add_parser(
        "recipes",
        help="list the recipes for training, or copy one",
        description="Lists the recipes that come with the package: `sqcodec train NAME` trains one. With --copy, "
        "copies one, and those that it builds on, to be changed.",
        epilog="example: sqcodec recipes --copy base --out my_recipes",
    )
    recipes.add_argument("--copy", metavar="NAME", help="copy this recipe")
    add_options(recipes, "--out", required=False, default=".", help="where to; default: this folder")
    add_options(recipes, "--force")
    recipes.set_defaults(run=run_recipes)

    codebook = subparsers.add_parser(
        "codebook",
        help="fit the codebook of a trained vector quantizer (vp) anew",
        description="Fits a codebook by K-means on latents of the training set and puts it into the run's model, as "
        "`sqcodec train` does at the end of a run. Started again it continues where it stopped; torchrun spreads it "
        "over processes.",
        epilog="example: sqcodec codebook runs/first --data corpus/manifest.tsv",
    )
    codebook.add_argument("run_folder", metavar="RUN", help="run folder of `sqcodec train`")
    add_options(codebook, "--data", help="training data; default: as the run had it")
    add_options(codebook, "--cache")
    codebook.add_argument("--iterations", type=positive, default=20, metavar="N", help="of K-means; default: 20")
    codebook.add_argument("--latents-per-code", type=positive, default=32, metavar="N", help="default: 32")
    add_options(codebook, "--threads", "--device")
    codebook.set_defaults(run=run_codebook)


def run_train(arguments: argparse.Namespace) -> int:
    """Train, or go on with a run; exit status."""
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


def run_recipes(arguments: argparse.Namespace) -> int:
    """List or copy; exit status."""
    from sqcodec.training.recipes import copy_recipe, recipe_names, recipe_summary

    if arguments.copy:
        for path in copy_recipe(arguments.copy, arguments.out, arguments.force):
            print(path)
        return 0
    names = recipe_names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {recipe_summary(name)}")
    return 0


def run_codebook(arguments: argparse.Namespace) -> int:
    """Fit the codebook; exit status."""
    import contextlib
    import dataclasses

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

"""``sqcodec recipes``: what can be trained, and copies to change."""

from __future__ import annotations

import argparse

from .common import add_options


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "recipes",
        help="list the recipes for training, or copy one",
        description="Lists the recipes that come with the package: `sqcodec train NAME` trains one. With --copy, "
        "copies one, and those that it builds on, to be changed.",
        epilog="example: sqcodec recipes --copy base --out my_recipes",
    )
    parser.add_argument("--copy", metavar="NAME", help="copy this recipe")
    add_options(parser, "--out", required=False, default=".", help="where to; default: this folder")
    add_options(parser, "--force")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
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

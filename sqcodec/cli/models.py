"""`sqcodec models`: the models that `--model` knows by name."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from .common import add_options

if TYPE_CHECKING:
    from sqcodec.registry import ModelInfo


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "models",
        help="list the models that are installed",
        description="List the models that ship with the package and those that were imported.",
    )
    add_options(parser, "--json")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the list; exit status."""
    from sqcodec.registry import list_models

    rows = [("name", "kbit/s", "tokens/s", "Hz", "licence", "from", "")]
    for model in list_models():
        if arguments.json:
            print(
                json.dumps(
                    {
                        "name": model.name,
                        "bit_rate": model.bit_rate,
                        "bits": [model.rates.lowest, model.rates.highest] if model.rates else None,
                        "kbps": list(model.rates.table().values()) if model.rates else [model.bit_rate / 1000],
                        "token_rate": model.token_rate,
                        "sample_rate": model.sample_rate,
                        "licence": model.licence,
                        "shipped": model.shipped,
                        "path": str(model.path),
                        "summary": model.summary,
                    }
                )
            )
        rows.append(
            (
                model.name,
                _rate(model),
                f"{model.token_rate:.2f}",
                str(model.sample_rate),
                model.licence,
                "package" if model.shipped else "user",
                model.summary,
            )
        )
    if not arguments.json:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _rate(model: ModelInfo) -> str:
    """'2.807', or '1.500-4.000' of a model with several rates."""
    if model.rates is None:
        return f"{model.bit_rate / 1000:.3f}"
    return "-".join(f"{model.rates.kbps(bits):.3f}" for bits in (model.rates.lowest, model.rates.highest))

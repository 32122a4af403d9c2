"""`sqcodec import`: models published by others, to our format."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path

from .common import UsageError

HUB = "hub:"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "import",
        help="take in a published SQCodec or L3AC model",
        description="Convert the authors' five .pt files and TOML (nothing in them is executed) to a model "
        "that --model knows by name.",
        epilog="examples: sqcodec import downloads/3kbps.v0 --as my-3k | "
        "sqcodec import hub:sqcodec-3kbps --as sqcodec-3kbps",
    )
    parser.add_argument(
        "source", nargs="+", metavar="FOLDER|FILES|hub:NAME", help="a folder, the files, or a published model"
    )
    parser.add_argument("--as", dest="name", required=True, metavar="NAME", help="name to give the model")
    parser.add_argument("--config", metavar="TOML|NAME", help="the authors' TOML, or a published model's name")
    parser.add_argument("--force", action="store_true", help="replace a model of this name")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert and store; exit status."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", arguments.name):
        raise UsageError(f"--as {arguments.name!r}: use letters, digits, '.', '_' and '-', 64 at most")

    from sqcodec import checkpoint, compat, registry

    if any(model.name == arguments.name and model.shipped for model in registry.list_models()):
        raise ValueError(f"{arguments.name!r} is a model of the package; give the import another name")
    folder = Path(registry.user_models_dir()) / arguments.name
    if folder.exists() and not arguments.force:
        raise FileExistsError(f"There is a model {arguments.name!r} in {folder}; --force replaces it")
    source: str | list[str] = arguments.source if len(arguments.source) > 1 else arguments.source[0]
    config_path = arguments.config
    if isinstance(source, str) and source.startswith(HUB):
        from sqcodec import hub

        published = source.removeprefix(HUB)
        source, config_path = str(hub.fetch_published(published)), config_path or published
    config, state = compat.load_published(source, config_path)
    config = dataclasses.replace(config, name=arguments.name)  # the name that code files will carry
    metadata = {"source": " ".join(arguments.source)}
    checkpoint.save_model(folder, config, state, metadata)
    size = sum(tensor.numel() for tensor in state.values())
    print(
        f"{arguments.name}: {size / 1e6:.1f} M parameters, {config.sample_rate} Hz, "
        f"{config.token_rate:.2f} tokens/s, {config.bit_rate / 1000:.3f} kbit/s, in {folder}"
    )
    return 0

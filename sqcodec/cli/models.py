"""`sqcodec models` and `import`: the models that `--model` knows by name, and a name for another one."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .options import add_options
from .parser import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sqcodec.config import ModelConfig
    from sqcodec.registry import ModelInfo

HUB = "hub:"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verbs."""
    parser = subparsers.add_parser(
        "models",
        help="list the models that are installed",
        description="List the models that ship with the package and those that were imported.",
    )
    add_options(parser, "--json")
    parser.set_defaults(run=run_models)

    parser = subparsers.add_parser(
        "import",
        help="register a model of your own, or a published SQCodec or L3AC model, under a name",
        description="Copy a run folder or a model folder, or convert the authors' five .pt files and TOML (nothing in "
        "them is executed), to a model that --model knows by name and whose .sqc files decode without --model.",
        epilog="examples:\n  sqcodec import runs/mine --as mine\n  sqcodec import downloads/3kbps.v0 --as my-3k\n"
        "  sqcodec import hub:sqcodec-3kbps --as sqcodec-3kbps",
    )
    parser.add_argument(
        "source", nargs="+", metavar="FOLDER|FILES|hub:NAME",
        help="a run or model folder, the folder or files of a published model, or its name",
    )  # fmt: skip
    parser.add_argument("--as", dest="name", required=True, metavar="NAME", help="name to give the model")
    parser.add_argument("--config", metavar="TOML|NAME", help="the authors' TOML, or a published model's name")
    add_options(parser, "--force", help="replace a model of this name")
    parser.set_defaults(run=run_import)


def run_models(arguments: argparse.Namespace) -> int:
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
        numbers = _rate(model), f"{model.token_rate:.2f}", str(model.sample_rate)
        rows.append((model.name, *numbers, model.licence, "package" if model.shipped else "user", model.summary))
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


def run_import(arguments: argparse.Namespace) -> int:
    """Convert and store; exit status."""
    from sqcodec import checkpoint, registry
    from sqcodec.config import SHIPPED_DIR

    name = arguments.name
    if not registry.NAME.fullmatch(name):
        raise UsageError(f"--as {name!r}: use letters, digits, '.', '_' and '-', 64 at most")
    if (SHIPPED_DIR / name).is_dir():
        raise ValueError(f"{name!r} is a model of the package; give the import another name")
    folder = registry.user_models_dir() / name
    if folder.exists() and not arguments.force:
        raise FileExistsError(f"There is a model {name!r} in {folder}; --force replaces it")
    config, state, metadata, others = _read(arguments)
    config = dataclasses.replace(config, name=name)
    with _replaced(folder) as partial:
        model_hash = checkpoint.save_model(partial, config, state, metadata)
        for place in others:
            (shutil.copytree if place.is_dir() else shutil.copyfile)(place, partial / place.name)
    size = sum(tensor.numel() for tensor in state.values())
    print(
        f"{name}: {size / 1e6:.1f} M parameters, {config.sample_rate} Hz, {config.token_rate:.2f} tokens/s, "
        f"{config.bit_rate / 1000:.3f} kbit/s, hash {model_hash[:16]}, in {folder}"
    )
    return 0


def _read(arguments: argparse.Namespace) -> tuple[ModelConfig, dict[str, Tensor], dict[str, str], list[Path]]:
    """Configuration, tensors, metadata, and what else belongs to the model: its discriminators and predictor."""
    from sqcodec import checkpoint, compat
    from sqcodec.config import WEIGHTS_NAME
    from sqcodec.entropy import PREDICTOR_NAME

    source: str | list[str] = arguments.source if len(arguments.source) > 1 else arguments.source[0]
    config_path = arguments.config
    if isinstance(source, str):
        for folder in (Path(source), Path(source) / "model"):
            if (folder / WEIGHTS_NAME).is_file():
                if config_path:
                    raise UsageError("--config is for published models: this folder has its own configuration")
                beside = [place / "discriminator" for place in (folder, Path(source))]
                found = [place for place in beside if place.is_dir()][:1]
                found += [place for place in [folder / PREDICTOR_NAME] if place.is_file()]
                return (*checkpoint.load_model(folder), found)
        if source.startswith(HUB):
            from sqcodec import hub

            published = source.removeprefix(HUB)
            source, config_path = str(hub.fetch_published(published)), config_path or published
    config, state = compat.load_published(source, config_path)
    return config, state, {"source": " ".join(arguments.source)}, []


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of ``folder`` when the block ends without an exception."""
    from sqcodec.files import partial_path

    partial = partial_path(folder)
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)

"""Where models are: those shipped in the package, those the user imported, and any model folder."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from sqcodec.checkpoint import CONFIG_NAME, WEIGHTS_NAME
from sqcodec.config import ModelConfig, published_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHIPPED_DIR = Path(__file__).parent / "models"
DEFAULT_MODEL = "speech-3k"
TOKEN_MODEL = "speech-1k"
"""For language models."""


@dataclass(frozen=True)
class ModelInfo:
    """A model that can be loaded by name. ``bit_rate`` in bit/s, ``token_rate`` and ``sample_rate`` in Hz."""

    name: str
    summary: str
    bit_rate: float
    token_rate: float
    sample_rate: int
    licence: str
    shipped: bool
    path: Path
    sha256: str = ""


def user_models_dir() -> Path:
    """Folder of imported models: ``$SQCODEC_HOME``, or ``~/.cache/sqcodec``, then ``models``."""
    home = os.environ.get("SQCODEC_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "sqcodec") / "models"


def list_models() -> list[ModelInfo]:
    """Shipped models, then imported ones, each by name."""
    index = read_index()
    found = []
    for folder, shipped in ((SHIPPED_DIR, True), (user_models_dir(), False)):
        for path in sorted(folder.glob("*/" + CONFIG_NAME)) if folder.is_dir() else []:
            if not (path.parent / WEIGHTS_NAME).is_file():
                continue
            config, entry = ModelConfig.from_toml(path), index.get(path.parent.name, {}) if shipped else {}
            found.append(
                ModelInfo(
                    name=path.parent.name,
                    summary=entry.get("summary", "imported model"),
                    bit_rate=config.bit_rate,
                    token_rate=config.token_rate,
                    sample_rate=config.sample_rate,
                    licence=entry.get("licence", "see its source"),
                    shipped=shipped,
                    path=path.parent,
                    sha256=entry.get("sha256", ""),
                )
            )
    return found


def find_model(model: str | Path) -> Path:
    """The folder of a model given by name, model folder or run folder.

    Raises:
        ValueError: nothing of that name; the message lists what there is.
    """
    for folder in (SHIPPED_DIR / str(model), user_models_dir() / str(model)):
        if isinstance(model, str) and "/" not in model and (folder / CONFIG_NAME).is_file():
            return folder
    for folder in (Path(model), Path(model) / "model"):
        if (folder / CONFIG_NAME).is_file():
            return folder
    names = ", ".join(info.name for info in list_models()) or "none is installed"
    hint = ""
    if str(model) in published_names():
        hint = f" '{model}' is a published model: get its weights with 'sqcodec import hub:{model} --as {model}'."
    raise ValueError(f"Unknown model '{model}'. Choose one of: {names}; or give a model folder.{hint}")


def read_index() -> dict[str, dict[str, str]]:
    """What models/index.toml says of the shipped models: summary, licence and sha256, by name."""
    path = SHIPPED_DIR / "index.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

"""Where models are: those shipped in the package, those the user imported, and any model folder."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqcodec.config import CONFIG_NAME, SHIPPED_DIR, WEIGHTS_NAME, ModelConfig, published_names
from sqcodec.identity import hash_file, is_same
from sqcodec.rates import BitRates
from sqcodec.tables import read_toml

DEFAULT_MODEL = "speech-3k"
TOKEN_MODEL = "speech-1k"
"""For language models."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a registered model may be called."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelInfo:
    """A model that can be loaded by name. ``bit_rate`` in bit/s, ``token_rate`` and ``sample_rate`` in Hz; ``rates``
    where it has several."""

    name: str
    summary: str
    bit_rate: float
    token_rate: float
    sample_rate: int
    licence: str
    shipped: bool
    path: Path
    sha256: str = ""
    rates: BitRates | None = None


def user_models_dir() -> Path:
    """Folder of imported models: ``$SQCODEC_HOME``, or ``~/.cache/sqcodec``, then ``models``."""
    home = os.environ.get("SQCODEC_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "sqcodec") / "models"


def list_models() -> list[ModelInfo]:
    """Shipped models, then imported ones, each by name. An imported one that cannot be read is left out."""
    index = read_index()
    found = []
    for path, shipped in _folders():
        try:
            config = ModelConfig.from_toml(path / CONFIG_NAME)
        except ValueError as error:
            log.warning("the model in '%s' is left out: %s", path, error)
            continue
        entry = index.get(path.name, {}) if shipped else {}
        found.append(
            ModelInfo(
                name=path.name,
                summary=entry.get("summary", "imported model"),
                bit_rate=config.bit_rate,
                token_rate=config.token_rate,
                sample_rate=config.sample_rate,
                licence=entry.get("licence", "see its source"),
                shipped=shipped,
                path=path,
                sha256=entry.get("sha256", ""),
                rates=config.rates,
            )
        )
    return found


def find_registered(name: str) -> Path | None:
    """The folder of a shipped or imported model of this name; never another folder, whatever the name says."""
    if NAME.fullmatch(name):
        for folder in (SHIPPED_DIR / name, user_models_dir() / name):
            if (folder / CONFIG_NAME).is_file():
                return folder
    return None


def find_by_hash(hash: str) -> Path | None:
    """The folder of a shipped or imported model by its hash (hex, 16 digits or more), or by one of before."""
    for name, entry in read_index().items():
        if any(is_same(known, hash) for known in (entry["hash"], *entry["also"])):
            return SHIPPED_DIR / name
    for folder, shipped in _folders():
        try:
            if not shipped and any(is_same(known, hash) for known in hashes(folder)):
                return folder
        except (ValueError, OSError) as error:
            log.warning("the model in '%s' is left out: %s", folder, error)
    return None


def hashes(folder: Path, hash: str = "") -> tuple[str, ...]:
    """All that files may call a model by: its hash (``hash``, where it is known already); the sha256 of its weights
    file, which older files carry; what models/index.toml lists."""
    from sqcodec.checkpoint import hash_folder  # torch, which no other function here needs

    hash = hash or hash_folder(folder)
    entries = [entry for entry in read_index().values() if entry["hash"] == hash]
    return (hash, hash_file(folder / WEIGHTS_NAME), *(former for entry in entries for former in entry["also"]))


def find_model(model: str | Path) -> Path:
    """The folder of a model given by name, model folder or run folder.

    Raises:
        ValueError: nothing of that name; the message lists what there is.
    """
    registered = find_registered(model) if isinstance(model, str) else None
    if registered is not None:
        return registered
    for folder in (Path(model), Path(model) / "model"):
        if (folder / CONFIG_NAME).is_file():
            return folder
    names = ", ".join(info.name for info in list_models()) or "none is installed"
    hint = ""
    if str(model) in published_names():
        hint = f" '{model}' is a published model: get its weights with 'sqcodec import hub:{model} --as {model}'."
    raise ValueError(f"Unknown model '{model}'. Choose one of: {names}; or give a model folder.{hint}")


def read_index() -> dict[str, dict[str, Any]]:
    """What models/index.toml says of the shipped models, by name: summary, licence, sha256 of the weights file, the
    model's hash, and the hashes that it had before (``also``)."""
    path = SHIPPED_DIR / "index.toml"
    return read_toml(path) if path.is_file() else {}


def _folders() -> Iterator[tuple[Path, bool]]:
    """Folders of the registered models, and whether they ship."""
    for folder, shipped in ((SHIPPED_DIR, True), (user_models_dir(), False)):
        for path in sorted(folder.glob("*/" + CONFIG_NAME)) if folder.is_dir() else []:
            if NAME.fullmatch(path.parent.name) and (path.parent / WEIGHTS_NAME).is_file():
                yield path.parent, shipped

"""Shard files: one module per format, each with ``write(path, records, info, first)`` and ``read(path)``."""

from __future__ import annotations

import importlib
from types import ModuleType

FORMATS = ("parquet", "webdataset", "npz", "hf")

_MODULES = {"parquet": "parquet", "webdataset": "tar", "npz": "npz", "hf": "arrow"}


def shard_format(name: str) -> ModuleType:
    """The module of a format.

    Raises:
        ValueError: no such format.
        ImportError: its package is not installed; the message names the extra.
    """
    if name not in _MODULES:
        raise ValueError(f"Unknown format {name!r}. Choose one of: {', '.join(FORMATS)}")
    try:
        return importlib.import_module(f"sqcodec.tokens.formats.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"Tokens as {name} need the package '{error.name}': pip install 'sqcodec[tokens]'. "
            "The format npz needs nothing more."
        ) from error

"""Shard files: one module per format, each with ``write(path, records, info, first)`` and ``read(path)``."""

from __future__ import annotations

from types import ModuleType

from sqcodec.extras import require

_MODULES = {"parquet": "parquet", "webdataset": "tar", "npz": "npz", "hf": "arrow"}


def shard_format(name: str) -> ModuleType:
    """The module of a format.

    Raises:
        ValueError: no such format.
        ImportError: its package is not installed; the message names the extra.
    """
    if name not in _MODULES:
        raise ValueError(f"Unknown format {name!r}. Choose one of: {', '.join(_MODULES)}")
    module = f"sqcodec.tokens.formats.{_MODULES[name]}"
    return require(module, "tokens", f"The format {name}", "The format npz needs nothing more.")

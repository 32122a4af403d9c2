"""What makes two models the same: one hash of their configuration and tensors, however the files were written.

docs/code-file.md specifies it. Code files, stream states and token corpora carry it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqcodec.config import ModelConfig
from sqcodec.tables import Table

if TYPE_CHECKING:
    from torch import Tensor

SHORTEST = 16
"""Hex digits of a hash that are kept in a code file: the fewest that name a model."""


def hash_model(config: ModelConfig, tensors: Mapping[str, Tensor]) -> str:
    """sha256 (hex) of a model: its settings (``canonical_settings``) and its tensors by name.

    Floating tensors count as the float32 that they are loaded as: a copy in another dtype that holds the same values
    is the same model.
    """
    import torch

    digest = hashlib.sha256(canonical_settings(config).encode("ascii") + b"\n")
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        tensor = (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
        about = {"dtype": str(tensor.dtype).removeprefix("torch."), "name": name, "shape": list(tensor.shape)}
        digest.update(_dumps(about).encode("ascii") + b"\n")
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def canonical_settings(config: ModelConfig) -> str:
    """The settings as one line of JSON: keys such as ``encoder.kernel_size``, sorted, without the name and what has its
    default. Defaults are part of the hash's definition: they never change, and a setting that is added has the one that
    means "as before"."""
    settings = {"family": config.family} | dict(_settings(config))
    settings.pop("name", None)
    return _dumps(settings)


def hash_file(path: str | Path) -> str:
    """sha256 (hex) of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_same(known: str, hash: str) -> bool:
    """Whether two hashes (hex) of which one may be cut short, to 16 digits or more, name the same model."""
    length = min(len(known), len(hash))
    return length >= SHORTEST and known[:length].lower() == hash[:length].lower()


def _settings(table: Table, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(table):  # type: ignore[arg-type]
        value = getattr(table, field.name)
        if isinstance(value, Table):
            yield from _settings(value, f"{prefix}{field.name}.")
        elif field.name == "kind" or value != field.default:
            yield prefix + field.name, value


def _dumps(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"))

"""Optional packages and tools: what to say when one is not there."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from types import ModuleType


class MissingExtra(ImportError):
    """A package, tool or file that a metric or a system needs is not there. The message says what to do."""


def require(module: str, extra: str, what: str) -> ModuleType:
    """Imports `module`, which the extra `sqcodec[extra]` installs and `what` needs.

    Raises:
        MissingExtra: it cannot be imported; the message names the extra and the import's own error.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, AttributeError) as error:
        raise MissingExtra(
            f"{what} needs the package '{module.split('.')[0]}' ({error}). "
            f"Install it with: pip install 'sqcodec[{extra}]'"
        ) from error


def version(package: str) -> str:
    """The installed version of a distribution, or 'missing'."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"

"""Optional packages and tools: what to say when one is not there."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType


class MissingExtra(ImportError):
    """A package, tool or file that a metric or a system needs is not there. The message says what to do."""


def require(module: str, extra: str, what: str, otherwise: str = "") -> ModuleType:
    """Imports `module`, which the extra `sqcodec[extra]` installs, or whose imports it does, and `what` needs.

    Raises:
        MissingExtra: it cannot be imported; the message names the package, the import's own error, the extra, and what
            to do `otherwise`.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, AttributeError) as error:
        missing = (isinstance(error, ImportError) and error.name) or module
        raise MissingExtra(
            f"{what} needs the package '{missing.split('.')[0]}' ({error}). "
            f"Install it with: pip install 'sqcodec[{extra}]'" + (f". {otherwise}" if otherwise else "")
        ) from error


def require_all(modules: Iterable[str], extra: str, what: str) -> None:
    """``require`` for each of the modules."""
    for module in modules:
        require(module, extra, what)


def version(package: str) -> str:
    """The installed version of a distribution, or 'missing'."""
    from importlib import metadata  # takes a command line's start a tenth longer

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


@contextlib.contextmanager
def stand_in(name: str) -> Iterator[None]:
    """An empty module under `name` while the real one cannot be imported: for packages that import it in vain."""
    if name in sys.modules or _imports(name):
        yield
        return
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]


def _imports(name: str) -> bool:
    if importlib.util.find_spec(name) is None:
        return False
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError):
        return False
    return True

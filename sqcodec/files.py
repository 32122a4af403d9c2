"""Files that appear whole or not at all, also where two processes write the same one, or the disk is full."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
PACKAGE = Path(__file__).parent


def beside(name: str) -> Path:
    """A folder of the repository that comes with the package: inside it if it is installed, else beside it."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name


def partial_path(path: Path) -> Path:
    """A name beside ``path`` that nobody else writes to."""
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}{PARTIAL}")


@contextlib.contextmanager
def published(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; synced and renamed when the block ends, removed when it fails.

    A link is followed; a device or a named pipe is given as it is. An OSError about the temporary file names ``path``.
    """
    target = Path(os.path.realpath(path))
    whole = target.is_file() or not target.exists()  # a folder is refused when it is opened
    partial = partial_path(target) if whole else target
    try:
        yield partial
        if whole:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, target)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial), partial):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        if whole:
            with contextlib.suppress(OSError):
                partial.unlink()


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes bytes, or text as UTF-8."""
    with published(path) as partial:
        partial.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)


def append_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Adds JSON objects to a file, one a line, on disk when this returns. A line that a crash cut off ends before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            file.write(b"" if file.read(1) == b"\n" else b"\n")
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file, one a line, without one that a crash cut off; none where there is no file."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return [row for row in found if isinstance(row, dict)]


def remove_partial(folder: Path) -> None:
    """Removes what killed processes left in a folder that nobody else writes to now."""
    for path in folder.glob(f".*{PARTIAL}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

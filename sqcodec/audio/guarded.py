"""A file object for libsndfile's callbacks, through which no Python exception can pass."""

from __future__ import annotations

from errno import EIO
from typing import IO


class GuardedFile:
    """Wraps a binary file; keeps the first exception of a read or write for `raise_error`.

    Any exception: Ctrl-C may come inside a callback too. A seek that the file refuses (a damaged header sent
    libsndfile nowhere) leaves the position as it was.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self._error: BaseException | None = None

    def raise_error(self, name: str) -> None:
        """Raise what went wrong, if anything did; an OSError with the name of the file."""
        if isinstance(self._error, OSError):
            code = self._error.errno or EIO
            raise OSError(code, self._error.strerror or str(self._error), name) from None
        if self._error is not None:
            raise self._error

    def read(self, size: int) -> bytes:
        try:
            return self.file.read(size)
        except BaseException as error:
            self._error = self._error or error
            return b""

    def write(self, data: bytes) -> int:
        done = 0
        try:
            while done < len(data):
                done += self.file.write(data[done:])
        except BaseException as error:
            self._error = self._error or error
        return done

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self.file.seek(offset, whence)
        except (OSError, ValueError):
            return self.file.tell()

    def tell(self) -> int:
        return self.file.tell()

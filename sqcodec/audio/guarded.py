"""A file object for libsndfile's callbacks, through which no Python exception can pass."""

from __future__ import annotations

from typing import IO


class GuardedFile:
    """Wraps a binary file; keeps the first OSError of a read or write in `error` instead of raising it.

    A seek that the file refuses (a damaged header sent libsndfile nowhere) leaves the position as it was.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def read(self, size: int) -> bytes:
        try:
            return self.file.read(size)
        except OSError as error:
            self.error = self.error or error
            return b""

    def write(self, data: bytes) -> int:
        done = 0
        try:
            while done < len(data):
                done += self.file.write(data[done:])
        except OSError as error:
            self.error = self.error or error
        return done

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self.file.seek(offset, whence)
        except (OSError, ValueError):
            return self.file.tell()

    def tell(self) -> int:
        return self.file.tell()

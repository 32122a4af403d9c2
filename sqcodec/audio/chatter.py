"""What libmpg123 prints on stderr while libsndfile decodes an mp3: caught, so that it becomes one warning a file."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()  # there is one stderr
_STARTS = (
    b"[src/libmpg123", b"Note: Illegal Audio-MPEG", b"Note: Trying to resync", b"Note: Skipped", b"Note: Hit end",
    b"Warning: Xing stream size", b"Warning: Big change", b"Warning: Encountered",
)  # fmt: skip


class Chatter:
    """``lines`` that the library printed inside ``caught``. What others print there is passed on.

    Args:
        start: the first bytes of the file; of another kind than mp3, nothing is caught.
    """

    def __init__(self, start: bytes) -> None:
        self.lines: list[str] = []
        self._is_mp3 = start[:3] == b"ID3" or (len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0)

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Around a call of the library, no longer: stderr is elsewhere meanwhile, for all threads."""
        if not self._is_mp3 or sys.stderr is None:  # closed from the start: 2 may be any file
            yield
            return
        with _LOCK, tempfile.TemporaryFile(buffering=0) as spool:
            saved = os.dup(2)
            os.dup2(spool.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(saved, 2)
                os.close(saved)
                spool.seek(0)
                for line in spool.read().splitlines(keepends=True):
                    if line.startswith(_STARTS):
                        self.lines.append(line.decode("utf-8", "replace").strip())
                    elif line.strip():
                        os.write(2, line)

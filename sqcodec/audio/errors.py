"""What all of `sqcodec.audio` shares: its error, and the type of a path."""

from __future__ import annotations

import os

AudioPath = str | os.PathLike[str]


class AudioError(ValueError):
    """The file is not audio that can be read, holds nothing usable, or cannot hold what it is given."""


class CutAudioError(AudioError):
    """The file promises more than it holds: a copy or a recording that ended early."""


def reason(error: BaseException) -> str:
    """A library's error as the second half of a sentence."""
    text = getattr(error, "error_string", "") or str(error)
    return text.strip().rstrip(".") or "the data are damaged"

"""Reading audio files in blocks of bounded size, whatever their header claims."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO

import numpy as np
import soundfile

from .chatter import Chatter
from .cut import find_cut
from .errors import AudioError, AudioPath, CutAudioError, reason
from .guarded import GuardedFile
from .rates import StreamResampler

log = logging.getLogger(__name__)

BLOCK_SECONDS = 10.0
SUFFIXES = frozenset(
    ".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .caf .w64 .rf64 .voc .nist .sph".split()
)
"""What is taken for audio in folders, in lower case. A file that is named is read whatever its suffix."""
_MAX_BLOCK_VALUES = 2**23  # C x t of one block: 32 MiB, whatever rate and channels a header claims


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file's header says. `num_samples` is per channel; `sample_rate` in Hz."""

    path: str
    sample_rate: int
    num_channels: int
    num_samples: int
    format: str
    subtype: str

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate


def info(path: AudioPath) -> AudioInfo:
    """The header of an audio file. Raises AudioError or OSError, naming the file."""
    with AudioReader(path) as reader:
        return reader.info


def load(path: AudioPath, sample_rate: int | None = None, *, allow_cut: bool = False) -> tuple[np.ndarray, int]:
    """Samples float32 [C, T] and their rate in Hz: the file's, or `sample_rate` after resampling.

    Raises AudioError (unreadable, cut off, no samples, NaN or infinite samples) or OSError, naming the file.
    `allow_cut` takes what is there of a file that was cut off, with a warning.
    """
    with AudioReader(path, allow_cut=allow_cut) as reader:
        blocks = list(reader.blocks(sample_rate))
        return np.concatenate(blocks, axis=1), sample_rate or reader.sample_rate


def read_blocks(
    path: AudioPath, sample_rate: int | None = None, block_seconds: float = BLOCK_SECONDS
) -> Iterator[np.ndarray]:
    """Blocks float32 [C, t] of a file, resampled; the file is never held. Together ceil(T * b / a) samples.

    Raises AudioError or OSError as `load` does, possibly after some blocks.
    """
    with AudioReader(path) as reader:
        yield from reader.blocks(sample_rate, block_seconds)


class AudioReader:
    """An open audio file, read in blocks. `source` is a path, or a binary file (a pipe is spooled to disk).

    `sample_rate` (Hz) and `num_channels` are the file's; `samples_read` counts samples per channel so far, at
    the file's rate: only after the last block is it the true length, whatever the header says. A file that was cut
    off is a CutAudioError when its blocks are read, or with `allow_cut` a warning in the log.
    """

    def __init__(self, source: AudioPath | BinaryIO, name: str | None = None, *, allow_cut: bool = False) -> None:
        self.name = name or (str(source) if isinstance(source, (str, os.PathLike)) else "stdin")
        self.samples_read = 0
        self._allow_cut = allow_cut
        self._file = _open_seekable(source)
        self._guarded = GuardedFile(self._file)
        try:
            self._chatter = Chatter(self._guarded.read(4))
            self._file.seek(0)
            with self._chatter.caught():
                self._sound = soundfile.SoundFile(self._guarded)
        except soundfile.SoundFileError as error:
            self._file.close()
            self._guarded.raise_error(self.name)
            raise AudioError(f"{self.name}: not readable as audio: {reason(error)}") from None
        except BaseException:
            self._file.close()
            raise
        self.sample_rate: int = self._sound.samplerate
        self.num_channels: int = self._sound.channels
        self.info = AudioInfo(
            self.name,
            self.sample_rate,
            self.num_channels,
            self._sound.frames,
            self._sound.format,
            self._sound.subtype,
        )
        if self.sample_rate < 1 or self.num_channels < 1:
            self.close()
            raise AudioError(f"{self.name}: the header says {self.num_channels} x {self.sample_rate} Hz")

    def blocks(self, sample_rate: int | None = None, block_seconds: float = BLOCK_SECONDS) -> Iterator[np.ndarray]:
        """Blocks float32 [C, t], resampled to `sample_rate`. Once per reader.

        Raises AudioError: no samples, NaN or infinite samples, damaged data, or data that were cut off.
        """
        if sample_rate is not None and sample_rate < 1:
            raise ValueError(f"sample_rate is {sample_rate}; needed is 1 Hz or more")
        cut = find_cut(self._file, self.info.format, self.info.num_samples)
        if cut:
            self._report_cut(cut)
        resampler = StreamResampler(self.sample_rate, sample_rate or self.sample_rate, self.num_channels)
        frames = int(min(block_seconds * self.sample_rate, _MAX_BLOCK_VALUES // self.num_channels))
        while (block := self._read(max(frames, 1))).shape[1]:
            resampled = resampler.process(block)
            if resampled.shape[1]:
                yield resampled
        self._check_end()
        rest = resampler.flush()
        if rest.shape[1]:
            yield rest

    def _read(self, frames: int) -> np.ndarray:
        try:
            with self._chatter.caught():
                block = self._sound.read(frames, dtype="float32", always_2d=True)
            self._guarded.raise_error(self.name)
        except soundfile.SoundFileError as error:
            self._guarded.raise_error(self.name)
            raise AudioError(
                f"{self.name}: damaged after {self.samples_read / self.sample_rate:.3f} s: {reason(error)}"
            ) from None
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            seconds = (self.samples_read + int(np.argmin(finite))) / self.sample_rate
            raise AudioError(f"{self.name}: a sample at {seconds:.3f} s is NaN or infinite")
        self.samples_read += block.shape[0]
        return np.ascontiguousarray(block.T)

    def _check_end(self) -> None:
        if not self.samples_read:
            raise AudioError(f"{self.name}: holds no samples")
        # mp3 headers count encoder delay; a header for a pipe says 'unknown' with a huge number
        declared = self.info.num_samples
        least = 0.99 * declared - 4608 if self.info.format == "MP3" else declared
        if declared < 2**40 and self.samples_read < least:
            self._report_cut(f"{self.samples_read} of {declared} samples could be read")
        if lines := self._chatter.lines:
            log.warning("%s: the mp3 decoder complained %d times, first: %s", self.name, len(lines), lines[0])

    def _report_cut(self, what: str) -> None:
        text = f"{self.name}: cut off or damaged: {what}"
        if not self._allow_cut:
            raise CutAudioError(text)
        log.warning("%s", text)

    def close(self) -> None:
        with contextlib.suppress(soundfile.SoundFileError):
            self._sound.close()
        self._file.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_seekable(source: AudioPath | BinaryIO) -> IO[bytes]:
    """The file itself, or a copy on disk (removed when closed) of what cannot be rewound."""
    if isinstance(source, (str, os.PathLike)):
        file: IO[bytes] = open(source, "rb")
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
    else:
        file = source
    spool = tempfile.TemporaryFile()
    shutil.copyfileobj(file, spool, 2**20)
    spool.seek(0)
    return spool

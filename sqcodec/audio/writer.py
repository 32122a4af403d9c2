"""Writing audio files in blocks; a file appears under its name whole or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from errno import EIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO

import numpy as np
import soundfile

from sqcodec.files import partial_path

from .errors import AudioError, AudioPath, reason
from .guarded import GuardedFile
from .rates import StreamResampler

_WRITE_FRAMES = 2**15  # libsndfile's Vorbis encoder puts a whole write on the stack
_MAX_WAV_BYTES = 2**32 - 2**16  # above this a .wav is written as RF64
_INTEGER_BITS = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")

NOTED_PEAK = 10 ** (1 / 20)
"""A warning is logged where clipping takes off more than 1 dB: above that it can be heard."""

log = logging.getLogger(__name__)

# extension -> container format, default subtype
FORMATS: dict[str, tuple[str, str]] = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aif": ("AIFF", "PCM_16"),
    ".aiff": ("AIFF", "PCM_16"),
    ".au": ("AU", "PCM_16"),
    ".caf": ("CAF", "PCM_16"),
    ".w64": ("W64", "PCM_16"),
    ".rf64": ("RF64", "PCM_16"),
}


def save(path: AudioPath, samples: np.ndarray, sample_rate: int, subtype: str | None = None) -> None:
    """Write float samples [T] or [C, T]; format by extension, PCM_16 by default, clipped to -1..1.

    Raises AudioError on a format, shape or value that cannot be written, OSError where the system refuses.
    """
    samples = np.atleast_2d(np.asarray(samples))
    with AudioWriter(path, sample_rate, samples.shape[0], subtype=subtype) as writer:
        writer.write(samples)


class AudioWriter:
    """Writes blocks to an audio file that appears under its name only when it is whole.

    `target` is a path whose extension says the format, or a binary file such as a pipe (`extension` says it).
    `sample_rate` (Hz) is the file's; blocks may come at `source_rate` and are resampled. `length` is the
    exact number of samples per channel: more are cut, fewer are an error. Use it as a context manager: an
    exception inside leaves no file. Raises AudioError on formats and values, OSError on a full disk etc.
    What is beyond -1..1 is clipped, except in float subtypes, and counted (`num_clipped`, `peak`).
    """

    def __init__(
        self,
        target: AudioPath | BinaryIO,
        sample_rate: int,
        num_channels: int,
        *,
        source_rate: int | None = None,
        length: int | None = None,
        subtype: str | None = None,
        extension: str = ".wav",
    ) -> None:
        self._pipe: BinaryIO | None = None
        self._temporary: Path | None = None
        if isinstance(target, (str, os.PathLike)):
            self.name = str(target)
            extension = Path(target).suffix.lower() or (extension if _is_device(Path(target)) else "")
        else:
            self.name = "stdout"
            self._pipe = target
        if extension not in FORMATS:
            raise AudioError(f"{self.name}: no audio format for {extension!r}; use one of {', '.join(FORMATS)}")
        file_format, default = FORMATS[extension]
        self.subtype = (subtype or default).upper()
        if not soundfile.check_format(file_format, self.subtype):
            allowed = ", ".join(soundfile.available_subtypes(file_format))
            raise AudioError(f"{self.name}: subtype {self.subtype!r} in {file_format}; allowed: {allowed}")
        num_bytes = (length or 0) * num_channels * _sample_bytes(self.subtype)
        if file_format == "WAV" and num_bytes > _MAX_WAV_BYTES:
            file_format = "RF64"
        self._num_channels, self._length, self._written = num_channels, length, 0
        self.peak, self.num_clipped = 0.0, 0
        self._resampler = StreamResampler(source_rate or sample_rate, sample_rate, num_channels)
        try:
            self._sink = GuardedFile(self._open(target))
        except BaseException:  # a signal, too, may come after the file is there
            self._discard()
            raise
        try:
            self._sound = soundfile.SoundFile(
                self._sink, "w", sample_rate, num_channels, self.subtype, format=file_format
            )
        except (soundfile.SoundFileError, ValueError, TypeError) as error:
            self._discard()
            self._sink.raise_error(self.name)
            raise AudioError(
                f"{self.name}: {num_channels} channels at {sample_rate} Hz do not go into {file_format} "
                f"{self.subtype}: {reason(error)}"
            ) from None
        except BaseException:
            self._discard()
            raise

    def write(self, block: np.ndarray) -> None:
        """Append [C, t] (at `source_rate`). Values beyond -1..1 are clipped, except in float subtypes."""
        block = np.asarray(block, np.float32)
        if block.ndim != 2 or block.shape[0] != self._num_channels:
            expected = f"[{self._num_channels}, t]"
            raise AudioError(f"{self.name}: a block of shape {list(block.shape)}, not {expected}")
        if not np.isfinite(block).all():
            raise AudioError(f"{self.name}: a sample to write is NaN or infinite")
        for piece in self._resampler.pieces(block):
            self._append(piece)

    def close(self) -> None:
        """Finish the file and give it its name. On an error nothing is left."""
        try:
            self._append(self._resampler.flush())
            if self._length is not None and self._written < self._length:
                raise AudioError(f"{self.name}: only {self._written} of {self._length} samples were given")
            self._guarded(self._sound.close)
            self._publish()
            if self.peak > NOTED_PEAK:
                log.warning("%s: %d of %d samples were above full scale and are clipped (peak %.2f); the subtype FLOAT "
                            "of wav keeps them", self.name, self.num_clipped, self._written * self._num_channels,
                            self.peak)  # fmt: skip
        except BaseException:
            self._discard()
            raise

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()

    def _append(self, block: np.ndarray) -> None:
        if self._length is not None:
            block = block[:, : self._length - self._written]
        if self.subtype not in _FLOAT_SUBTYPES and block.size:
            loudest = max(float(block.max()), -float(block.min()))
            if loudest > 1:
                self.peak, self.num_clipped = max(self.peak, loudest), self.num_clipped + int((abs(block) > 1).sum())
        if self.subtype in _INTEGER_BITS:
            block = _to_integers(block, _INTEGER_BITS[self.subtype])
        elif self.subtype not in _FLOAT_SUBTYPES:
            block = np.clip(block, -1.0, 1.0)
        for start in range(0, block.shape[1], _WRITE_FRAMES):
            self._guarded(self._sound.write, np.ascontiguousarray(block[:, start : start + _WRITE_FRAMES].T))
        self._written += block.shape[1]

    def _guarded(self, function: Any, *arguments: Any) -> None:
        """Call into soundfile; what went wrong below it is raised as the system's own error."""
        failure: Exception | None = None
        try:
            function(*arguments)
        except (soundfile.SoundFileError, AssertionError) as error:
            failure = error
        self._sink.raise_error(self.name)
        if failure:
            raise OSError(EIO, f"could not be written: {reason(failure)}", self.name) from None

    def _open(self, target: AudioPath | BinaryIO) -> IO[bytes]:
        if self._pipe is not None:
            return tempfile.TemporaryFile(buffering=0)
        assert isinstance(target, (str, os.PathLike))
        path = Path(os.path.realpath(target))
        try:
            if path.exists() and not path.is_file():  # a device or a named pipe; a folder is refused here
                self._pipe = open(path, "wb")
                return tempfile.TemporaryFile(buffering=0)
            self._final = path
            self._temporary = partial_path(path)
            return open(self._temporary, "xb+", buffering=0)
        except OSError as error:
            self._temporary = None
            raise self._os_error(error) from None

    def _publish(self) -> None:
        file = self._sink.file
        try:
            if self._pipe is not None:
                file.seek(0)
                shutil.copyfileobj(file, self._pipe, 2**20)
                self._pipe.flush()
                file.close()
                return
            assert self._temporary is not None
            os.fsync(file.fileno())
            file.close()
            os.replace(self._temporary, self._final)
            self._temporary = None
        except OSError as error:
            raise self._os_error(error) from None

    def _discard(self) -> None:
        with contextlib.suppress(AttributeError, soundfile.SoundFileError, AssertionError, OSError):
            self._sound.close()
        with contextlib.suppress(AttributeError, OSError):
            self._sink.file.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def __del__(self) -> None:
        """A signal may come between the making of a writer and its `with`."""
        if getattr(self, "_temporary", None) is not None:
            self._discard()

    def _os_error(self, error: OSError) -> OSError:
        return OSError(error.errno or EIO, error.strerror or str(error), self.name)


def _is_device(path: Path) -> bool:
    """Whether it exists and is neither a file nor a folder: /dev/null, a named pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _to_integers(block: np.ndarray, bits: int) -> np.ndarray:
    """To the nearest integer, clipped, as int16 or in the upper bits of int32; in WAV libsndfile would round down."""
    peak = 2.0 ** (bits - 1)
    values = np.clip(np.rint(block.astype(np.float64) * peak), -peak, peak - 1)
    return values.astype(np.int16) if bits == 16 else values.astype(np.int32) * 2 ** (32 - bits)


def _sample_bytes(subtype: str) -> int:
    return {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}.get(subtype, 1)

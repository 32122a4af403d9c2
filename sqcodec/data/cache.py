"""The decoded-audio cache: a corpus as one memory-mapped int16 array at the model's sample rate.

Decoding compressed clips at every step would cost more than a CPU training step can spare. The cache is written
once (to a temporary name, then renamed) and keyed by the clips' paths, sizes and times of change and by the sample
rate, so that a changed corpus is decoded again and an unchanged one is not.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from sqcodec.audio import AudioError, load
from sqcodec.data.manifest import Clip
from sqcodec.files import published, write_atomically

log = logging.getLogger(__name__)

UNREADABLE = (soundfile.LibsndfileError, OSError, ValueError)


@dataclass(frozen=True)
class AudioCache:
    """``samples`` int16 [total]; clip i is ``samples[starts[i] : starts[i + 1]]``.

    ``digest`` is of the samples and where clips start, whatever the files are called.
    """

    samples: np.ndarray
    starts: np.ndarray
    sample_rate: int
    digest: str = ""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def clip(self, index: int) -> np.ndarray:
        """Samples of one clip, float32 [T] in [-1, 1)."""
        return self.samples[self.starts[index] : self.starts[index + 1]].astype(np.float32) / 32768.0

    def read(self, start: int, length: int) -> np.ndarray:
        """float32 [length] in [-1, 1) from sample ``start``; it may run over the border of clips."""
        return self.samples[start : start + length].astype(np.float32) / 32768.0

    @property
    def total(self) -> int:
        """Samples of all clips."""
        return len(self.samples)

    @property
    def seconds(self) -> float:
        return float(self.starts[-1]) / self.sample_rate


def build_cache(clips: list[Clip], folder: str | Path, sample_rate: int) -> AudioCache:
    """Decodes clips to mono int16 at ``sample_rate`` under ``folder``, or opens what an earlier call wrote.

    A clip that cannot be read, or is empty, is reported in the log and left out; the next call tries it again.

    Raises:
        ValueError: none of the clips can be read.
    """
    folder = Path(folder)
    described = [[str(clip.path), *_size_and_time(clip.path)] for clip in clips]
    key = hashlib.sha256(json.dumps([described, sample_rate]).encode()).hexdigest()[:16]
    audio_path, index_path = folder / f"{key}.i16", folder / f"{key}.json"
    if not _is_whole(audio_path, index_path, sample_rate):
        folder.mkdir(parents=True, exist_ok=True)
        _write(clips, audio_path, index_path, sample_rate)
    index = json.loads(index_path.read_text(encoding="utf-8"))
    samples = np.memmap(audio_path, dtype=np.int16, mode="r")
    return AudioCache(samples, np.asarray(index["starts"], dtype=np.int64), sample_rate, index["digest"])


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _is_whole(audio_path: Path, index_path: Path, sample_rate: int) -> bool:
    """Whether a cache was written as a whole, and lacks no clip that can be read by now."""
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
        size = audio_path.stat().st_size
    except (OSError, ValueError):
        return False
    if size != 2 * index["starts"][-1]:
        return False
    for path in index["left_out"]:
        try:
            read_mono(path, sample_rate)
        except UNREADABLE as error:
            log.warning("left out '%s': %s", path, error)
        else:
            return False
    return True


def _write(clips: list[Clip], audio_path: Path, index_path: Path, sample_rate: int) -> None:
    starts, left_out, digest = [0], [], hashlib.sha256()
    with published(audio_path) as partial, partial.open("wb") as file:
        for number, clip in enumerate(clips):
            try:
                samples = read_mono(clip.path, sample_rate)
            except UNREADABLE as error:
                log.warning("left out '%s': %s", clip.path, error)
                left_out.append(str(clip.path))
                continue
            data = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16).tobytes()
            file.write(data)
            digest.update(data)
            starts.append(starts[-1] + len(samples))
            if number % 500 == 499:
                log.info("decoded %d of %d clips", number + 1, len(clips))
        if starts[-1] == 0:
            raise ValueError(f"None of the {len(clips)} clips could be read.")
    digest.update(json.dumps([starts, sample_rate]).encode())
    write_atomically(index_path, json.dumps({"starts": starts, "digest": digest.hexdigest(), "left_out": left_out}))


def read_mono(path: str | Path, sample_rate: int) -> np.ndarray:
    """A whole clip as float32 [T] at ``sample_rate``, channels averaged.

    Raises AudioError (a ValueError) where it is empty, cut off or not finite, OSError where it is not there.
    """
    samples, rate = load(path)
    mono = samples.mean(axis=0)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    if not mono.size:
        raise AudioError(f"{path}: holds no samples at {sample_rate} Hz")
    return np.asarray(mono, dtype=np.float32)

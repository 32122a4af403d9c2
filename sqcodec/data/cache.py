"""The decoded-audio cache: a corpus as one memory-mapped int16 array at the model's sample rate.

Decoding compressed clips at every step would cost more than a CPU training step can spare. The cache is written
once (to a temporary name, then renamed) and keyed by the clips and the sample rate, so that a changed corpus is
decoded again and an unchanged one is not.
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

from sqcodec.data.manifest import Clip
from sqcodec.files import published

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioCache:
    """``samples`` int16 [total]; clip i is ``samples[starts[i] : starts[i + 1]]``."""

    samples: np.ndarray
    starts: np.ndarray
    sample_rate: int

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

    A clip that cannot be read, or is empty, is reported in the log and left out.
    """
    folder = Path(folder)
    digest = hashlib.sha256(json.dumps([str(c.path) for c in clips] + [sample_rate]).encode()).hexdigest()[:16]
    audio_path, index_path = folder / f"{digest}.i16", folder / f"{digest}.starts.npy"
    if not index_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(clips, audio_path, index_path, sample_rate)
    return AudioCache(np.memmap(audio_path, dtype=np.int16, mode="r"), np.load(index_path), sample_rate)


def _write(clips: list[Clip], audio_path: Path, index_path: Path, sample_rate: int) -> None:
    starts = [0]
    with published(audio_path) as partial, partial.open("wb") as file:
        for number, clip in enumerate(clips):
            try:
                samples = read_mono(clip.path, sample_rate)
            except (soundfile.LibsndfileError, OSError, ValueError) as error:
                log.warning("left out '%s': %s", clip.path, error)
                continue
            file.write(np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16).tobytes())
            starts.append(starts[-1] + len(samples))
            if number % 500 == 499:
                log.info("decoded %d of %d clips", number + 1, len(clips))
        if starts[-1] == 0:
            raise ValueError(f"None of the {len(clips)} clips could be read.")
    with published(index_path) as partial, partial.open("wb") as file:
        np.save(file, np.asarray(starts, dtype=np.int64))


def read_mono(path: str | Path, sample_rate: int) -> np.ndarray:
    """A whole clip as float32 [T] at ``sample_rate``, channels averaged. Empty or non-finite is a ValueError."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    if mono.size == 0 or not np.isfinite(mono).all():
        raise ValueError("no samples" if mono.size == 0 else "samples are not finite numbers")
    return np.asarray(mono, dtype=np.float32)

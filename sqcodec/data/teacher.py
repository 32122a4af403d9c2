"""Features of a teacher, a speech encoder, for a whole corpus: computed once, kept beside the decoded audio.

They lie in one memory-mapped float16 array at the teacher's own rate, keyed by what the teacher and the corpus contain.
Parts of it are written first, each as a whole, so that an interrupted run goes on behind the last one.

Letters: T samples, M frames of the teacher, N tokens, D dimensions.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from sqcodec.data.cache import AudioCache
from sqcodec.files import published, write_atomically

log = logging.getLogger(__name__)

PART = 128
"""Clips of a part."""
LONGEST = 28
"""Seconds that a teacher hears at once, a whole number; what is longer is cut."""


@dataclass(frozen=True)
class Teacher:
    """``features`` maps samples float32 [T] at ``sample_rate`` to [M, D]; frame m is about the moment
    ``first`` + m / ``rate`` (s)."""

    features: Callable[[np.ndarray], np.ndarray]
    sample_rate: int
    rate: float
    first: float


@dataclass(frozen=True)
class Features:
    """Of all clips of a corpus, one after the other: ``values`` float16 [M, D]; clip i has ``values[starts[i] :
    starts[i + 1]]``, and begins at sample ``clips[i]`` of the corpus. ``mean``, ``deviation``: [D]."""

    values: np.ndarray
    starts: np.ndarray
    clips: np.ndarray
    sample_rate: int
    rate: float
    first: float
    mean: np.ndarray
    deviation: np.ndarray

    def at(self, places: np.ndarray) -> np.ndarray:
        """Between frames, at places [N] of the corpus (samples), each dimension standardised: float16 [N, D]."""
        clip = np.searchsorted(self.clips, places, side="right").clip(1, len(self.clips) - 1) - 1
        frame = ((places - self.clips[clip]) / self.sample_rate - self.first) * self.rate
        last = self.starts[clip + 1] - self.starts[clip] - 1
        frame = frame.clip(0, last)
        below = frame.astype(np.int64)
        share = (frame - below)[:, None]
        rows = self.starts[clip] + below
        after = np.minimum(rows + 1, self.starts[clip + 1] - 1)
        found = self.values[rows] * (1 - share) + self.values[after] * share
        return ((found - self.mean) / self.deviation).astype(np.float16)


@dataclass(frozen=True)
class TokenTargets:
    """What the tokens of a segment are to tell of the teacher. Token n is about what comes ``first`` + n
    ``hop_length`` samples behind the segment's first."""

    corpora: Sequence[Features]
    hop_length: int
    first: float

    @property
    def dim(self) -> int:
        return self.corpora[0].values.shape[1]

    def of(self, corpus: int, start: int, length: int, speed: float, heard: int) -> np.ndarray:
        """float16 [N, D] for a segment of ``length`` samples that begins at sample ``start`` of a corpus and is played
        at a speed; NaN for tokens about what comes before it, or after its first ``heard`` samples."""
        moments = np.arange(length // self.hop_length) * self.hop_length + self.first
        found = self.corpora[corpus].at(start + moments * speed)
        found[(moments < 0) | (moments >= heard)] = np.nan
        return found


def build_features(corpus: AudioCache, folder: str | Path, identity: str, load: Callable[[], Teacher]) -> Features:
    """Computes the features of a corpus under ``folder``, or opens what an earlier call wrote.

    Args:
        identity: of the teacher, the same where its features are the same.
        load: gives the teacher; called only where there is something to compute.
    Raises:
        ValueError: a feature is not finite.
    """
    folder = Path(folder)
    key = "teacher-" + hashlib.sha256(json.dumps([corpus.digest, identity]).encode()).hexdigest()[:16]
    values_path, index_path = folder / f"{key}.f16", folder / f"{key}.json"
    if not _is_whole(values_path, index_path):
        folder.mkdir(parents=True, exist_ok=True)
        _compute(corpus, folder, key, load)
    index = json.loads(index_path.read_text(encoding="utf-8"))
    values = np.memmap(values_path, dtype=np.float16, mode="r").reshape(index["starts"][-1], -1)
    mean, deviation = (np.asarray(index[name], dtype=np.float32) for name in ("mean", "deviation"))
    return Features(
        values, np.asarray(index["starts"]), corpus.starts, corpus.sample_rate, index["rate"], index["first"],
        mean, deviation,
    )  # fmt: skip


def _is_whole(values_path: Path, index_path: Path) -> bool:
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
        return values_path.stat().st_size == 2 * index["starts"][-1] * len(index["mean"])
    except (OSError, ValueError):
        return False


def _compute(corpus: AudioCache, folder: Path, key: str, load: Callable[[], Teacher]) -> None:
    teacher = load()
    groups = [range(first, min(first + PART, len(corpus))) for first in range(0, len(corpus), PART)]
    parts = [folder / f"{key}.part-{number:05}.npz" for number in range(len(groups))]
    for path, clips in zip(parts, groups, strict=True):
        if path.exists():
            continue
        found = [_of_clip(teacher, corpus.clip(clip), corpus.sample_rate) for clip in clips]
        with published(path) as partial, partial.open("wb") as file:
            np.savez(file, values=np.concatenate(found), frames=[len(values) for values in found])
        log.info("features of the teacher: %d of %d clips", clips.stop, len(corpus))
    counts: list[int] = []
    total, squares = np.zeros(1), np.zeros(1)
    with published(folder / f"{key}.f16") as partial, partial.open("wb") as file:
        for path in parts:
            with np.load(path) as part:
                values = part["values"]
                counts += part["frames"].tolist()
            file.write(values.tobytes())
            total = total + values.sum(axis=0, dtype=np.float64)
            squares = squares + np.square(values, dtype=np.float64).sum(axis=0)
    mean = total / sum(counts)
    deviation = np.sqrt(np.maximum(squares / sum(counts) - mean**2, 1e-12))
    starts = np.concatenate([[0], np.cumsum(counts)]).tolist()
    index = {"starts": starts, "rate": teacher.rate, "first": teacher.first}
    index |= {"mean": mean.tolist(), "deviation": deviation.tolist()}
    write_atomically(folder / f"{key}.json", json.dumps(index))
    for path in parts:
        path.unlink(missing_ok=True)


def _of_clip(teacher: Teacher, samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """[T] to float16 [M, D], M 1 or more."""
    if sample_rate != teacher.sample_rate:
        samples = soxr.resample(samples, sample_rate, teacher.sample_rate)
    length, found = LONGEST * teacher.sample_rate, []
    for start in range(0, len(samples), length):
        piece = samples[start : start + length]
        short = max(0, teacher.sample_rate // 10 - len(piece))
        values = np.asarray(teacher.features(np.pad(piece, (0, short))), dtype=np.float32)
        if start + length < len(samples):  # the next piece begins a whole number of frames later
            count = round(LONGEST * teacher.rate)
            values = np.pad(values[:count], ((0, max(0, count - len(values))), (0, 0)), mode="edge")
        found.append(values)
    values = np.concatenate(found)
    if not np.isfinite(values).all() or np.abs(values).max() > 60000:
        raise ValueError("The teacher gives features that are not finite, or too large for float16.")
    return values.astype(np.float16)

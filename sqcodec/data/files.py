"""A corpus as one long recording that is read from its files piece by piece, resampled on the fly.

It sounds as the decoded cache does (``sqcodec.data.cache``), needs no disk space beside the files, and no decoding
before training; but every segment is sought, decoded and resampled again.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

from sqcodec.data.manifest import Clip

log = logging.getLogger(__name__)

MARGIN = 0.05
"""Seconds that are read before and behind a piece, so that the resampler's filter sees what it would in the whole."""

PIECE = 4096
"""Bytes that are read of a file to know it again."""


class AudioFiles:
    """Clips one after the other, mono at ``sample_rate`` Hz. A clip that cannot be opened is reported and left out."""

    def __init__(self, clips: Sequence[Clip], sample_rate: int, jobs: int = 8) -> None:
        self.sample_rate = sample_rate
        with ThreadPoolExecutor(jobs) as pool:
            found = list(pool.map(_frames_and_rate, [clip.path for clip in clips]))
        self.paths, self.rates, lengths, digest = [], [], [0], hashlib.sha256()
        for clip, (frames, rate, piece) in zip(clips, found, strict=True):
            if frames:
                digest.update(f"{frames} {rate} {piece} ".encode())
                self.paths.append(clip.path)
                self.rates.append(rate)
                lengths.append(frames if rate == sample_rate else frames * sample_rate // rate)
        self.starts = np.cumsum(lengths)
        self.digest = digest.hexdigest()
        """Of the clips' lengths, rates, sizes and of a piece of each file, whatever they are called."""
        if not self.paths:
            raise ValueError(f"None of the {len(clips)} clips could be read.")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def total(self) -> int:
        """Samples of all clips."""
        return int(self.starts[-1])

    @property
    def seconds(self) -> float:
        return self.total / self.sample_rate

    def read(self, start: int, length: int) -> np.ndarray:
        """float32 [length] from sample ``start``; it may run over the border of clips."""
        parts, end = [], start + length
        index = int(np.searchsorted(self.starts, start, side="right")) - 1
        while start < end:
            first, last = int(self.starts[index]), int(self.starts[index + 1])
            stop = min(end, last)
            parts.append(read_part(self.paths[index], self.rates[index], self.sample_rate, start - first, stop - start))
            start, index = stop, index + 1
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


def read_part(path: Path, rate: int, sample_rate: int, start: int, length: int) -> np.ndarray:
    """float32 [length] of a file of ``rate`` Hz, from sample ``start`` counted at ``sample_rate``, mono.

    What the file lacks (a truncated one, or the last sample of a resampled one) is silence.
    """
    common = math.gcd(rate, sample_rate)
    from_group, to_group = rate // common, sample_rate // common
    margin = 0 if rate == sample_rate else math.ceil(MARGIN * sample_rate / to_group)
    # Groups of whole samples at both rates: the resampled piece falls on the grid of the whole file.
    first = max(0, start // to_group - margin)
    last = -(-(start + length) // to_group) + margin
    with soundfile.SoundFile(path) as file:
        file.seek(min(first * from_group, file.frames))
        samples = file.read((last - first) * from_group, dtype="float32", always_2d=True).mean(axis=1)
    if rate != sample_rate:
        samples = soxr.resample(samples, rate, sample_rate)
    offset = start - first * to_group
    piece = np.zeros(length, dtype=np.float32)
    found = np.clip(samples[offset : offset + length], -1.0, 1.0)
    piece[: len(found)] = found
    return piece


def _frames_and_rate(path: Path) -> tuple[int, int, str]:
    """(frames, Hz, a digest of the size and the middle of the file); (0, 0, "") where it cannot be read."""
    try:
        info = soundfile.info(path)
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(size // 2)
            piece = hashlib.sha256(f"{size} ".encode() + file.read(PIECE)).hexdigest()
    except (soundfile.LibsndfileError, OSError) as error:
        log.warning("left out '%s': %s", path, error)
        return 0, 0, ""
    if not info.frames:
        log.warning("left out '%s': no samples", path)
    return info.frames, info.samplerate, piece

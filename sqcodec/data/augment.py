"""Augmentation of training segments: noise, narrower bandwidth, speed. All off by default.

A codec is to reproduce what it is given, so input and target are augmented alike. Random numbers come from the
caller, so that a batch stays a pure function of (seed, step).

Letters: B batch, T samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr


@dataclass(frozen=True)
class Augmentation:
    """Which segments change, and how far."""

    noise_rate: float = 0.0
    """Share of the segments that get white noise."""
    noise_db: tuple[float, float] = (20.0, 50.0)
    """Range of their signal-to-noise ratio."""
    bandwidth_rate: float = 0.0
    """Share of the segments that lose what lies above a random frequency."""
    bandwidth_hz: tuple[float, float] = (3400.0, 8000.0)
    speed_rate: float = 0.0
    """Share of the segments that are played faster or slower, pitch included."""
    speed: tuple[float, float] = (0.9, 1.1)

    @property
    def longest(self) -> float:
        """Seconds of audio that a second of segment may need."""
        return max(1.0, self.speed[1]) if self.speed_rate > 0 else 1.0

    @property
    def enabled(self) -> bool:
        return max(self.noise_rate, self.bandwidth_rate, self.speed_rate) > 0


def augment(
    segment: np.ndarray, length: int, sample_rate: int, options: Augmentation, random: np.random.Generator
) -> np.ndarray:
    """float32 [T], T at least ``length`` times ``options.longest``, to an augmented [length]."""
    chances = random.random(3)
    if chances[0] < options.speed_rate:
        segment = change_speed(segment, random.uniform(*options.speed))
    segment = segment[:length]
    if chances[1] < options.bandwidth_rate:
        segment = limit_bandwidth(segment, random.uniform(*options.bandwidth_hz), sample_rate)
    if chances[2] < options.noise_rate:
        segment = add_noise(segment, random.uniform(*options.noise_db), random)
    return segment.astype(np.float32)


def change_speed(segment: np.ndarray, factor: float) -> np.ndarray:
    """[T] played ``factor`` times as fast: [about T / factor]."""
    return soxr.resample(segment, round(10000 * factor), 10000)


def limit_bandwidth(segment: np.ndarray, highest: float, sample_rate: int) -> np.ndarray:
    """Without what lies above ``highest`` Hz, faded out over a tenth of it."""
    frequency = np.fft.rfftfreq(len(segment), 1.0 / sample_rate)
    gain = np.clip((1.1 * highest - frequency) / (0.1 * highest), 0.0, 1.0)
    return np.fft.irfft(np.fft.rfft(segment) * gain, len(segment))


def add_noise(segment: np.ndarray, ratio_db: float, random: np.random.Generator) -> np.ndarray:
    """With white noise ``ratio_db`` below the segment's own level."""
    level = float(np.sqrt(np.mean(np.square(segment)))) * 10.0 ** (-ratio_db / 20.0)
    return segment + level * random.standard_normal(len(segment))

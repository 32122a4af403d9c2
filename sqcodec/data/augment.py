"""Augmentation of training segments: noise, bandwidth, speed, rooms, second speakers, tones. All off by default.

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

    reverb_rate: float = 0.0
    """Share of the segments that are heard in a room."""
    mix_rate: float = 0.0
    """Share of the segments that another segment, softer by up to 15 dB, is added to."""
    tone_rate: float = 0.0
    """Share of the segments whose second half is steady tones alone."""

    @property
    def longest(self) -> float:
        """Seconds of audio that a second of segment may need."""
        return max(1.0, self.speed[1]) if self.speed_rate > 0 else 1.0

    @property
    def enabled(self) -> bool:
        rates = (self.noise_rate, self.bandwidth_rate, self.speed_rate, self.reverb_rate, self.mix_rate, self.tone_rate)
        return max(rates) > 0


def draw_changes(options: Augmentation, random: np.random.Generator) -> tuple[np.ndarray, float]:
    """What ``augment`` draws first: a chance [6] for each change, and the speed."""
    chances = random.random(6)
    return chances, random.uniform(*options.speed) if chances[0] < options.speed_rate else 1.0


def augment(
    segment: np.ndarray,
    length: int,
    sample_rate: int,
    options: Augmentation,
    random: np.random.Generator,
    other: np.ndarray | None = None,
) -> np.ndarray:
    """float32 [T], T at least ``length`` times ``options.longest``, to an augmented [length]. ``other`` is what may be
    mixed in, [length] or longer."""
    chances, speed = draw_changes(options, random)
    if speed != 1.0:
        segment = change_speed(segment, speed)
    segment = segment[:length]
    if other is not None and chances[3] < options.mix_rate:
        segment = segment + other[:length] * 10.0 ** (random.uniform(-15.0, 0.0) / 20.0)
    if chances[4] < options.reverb_rate:
        segment = reverberate(segment, sample_rate, random)
    if chances[5] < options.tone_rate:
        segment = with_tones(segment, sample_rate, random)
    if chances[1] < options.bandwidth_rate:
        segment = limit_bandwidth(segment, random.uniform(*options.bandwidth_hz), sample_rate)
    if chances[2] < options.noise_rate:
        segment = add_noise(segment, random.uniform(*options.noise_db), random)
    return segment.astype(np.float32)


def change_speed(segment: np.ndarray, factor: float) -> np.ndarray:
    """[T] played ``factor`` times as fast: [about T / factor]."""
    return soxr.resample(segment, round(10000 * factor), 10000)


def reverberate(segment: np.ndarray, sample_rate: int, random: np.random.Generator) -> np.ndarray:
    """In a made-up room: the sound itself, then noise that decays by 60 dB in .15 to .8 s, as in Moorer (1979)."""
    decay, direct = random.uniform(0.15, 0.8), random.uniform(0.0, 12.0)
    time = np.arange(round(decay * sample_rate)) / sample_rate
    tail = random.standard_normal(len(time)) * 10.0 ** (-3.0 * time / decay)
    tail[: round(random.uniform(0.002, 0.02) * sample_rate)] = 0.0
    tail *= 10.0 ** (-direct / 20.0) / np.sqrt(np.square(tail).sum())
    size = 1 << (len(segment) + len(tail)).bit_length()
    late = np.fft.irfft(np.fft.rfft(segment, size) * np.fft.rfft(tail, size), size)
    return segment + late[: len(segment)]


def with_tones(segment: np.ndarray, sample_rate: int, random: np.random.Generator) -> np.ndarray:
    """One to three steady tones of 60 Hz to 7 kHz in place of the second half, with a fade of 5 ms."""
    time = np.arange(len(segment)) / sample_rate
    tones = np.zeros(len(segment))
    for _ in range(int(random.integers(1, 4))):
        frequency = np.exp(random.uniform(np.log(60.0), np.log(min(7000.0, 0.45 * sample_rate))))
        tones += np.sin(2 * np.pi * (frequency * time + random.random()))
    tones *= 10.0 ** (random.uniform(-30.0, -3.0) / 20.0) / np.abs(tones).max()
    share = np.clip((time - time[len(time) // 2]) / 0.005, 0.0, 1.0)
    return segment * (1 - share) + tones * share


def limit_bandwidth(segment: np.ndarray, highest: float, sample_rate: int) -> np.ndarray:
    """Without what lies above ``highest`` Hz, faded out over a tenth of it."""
    frequency = np.fft.rfftfreq(len(segment), 1.0 / sample_rate)
    gain = np.clip((1.1 * highest - frequency) / (0.1 * highest), 0.0, 1.0)
    return np.fft.irfft(np.fft.rfft(segment) * gain, len(segment))


def add_noise(segment: np.ndarray, ratio_db: float, random: np.random.Generator) -> np.ndarray:
    """With white noise ``ratio_db`` below the segment's own level."""
    level = float(np.sqrt(np.mean(np.square(segment)))) * 10.0 ** (-ratio_db / 20.0)
    return segment + level * random.standard_normal(len(segment))

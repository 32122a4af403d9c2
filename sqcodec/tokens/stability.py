"""Whether a token stays the same when what is said does: under a small shift, another level, light noise.

Stable tokens make shorter descriptions of the same speech, and prompts that mean the same on every microphone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import numpy as np

from sqcodec.codec import Codec
from sqcodec.evaluation.statistics import bootstrap_mean
from sqcodec.vocabulary.factors import split_tokens

SHIFTS = (0.125, 0.25, 0.5)
"""Of a hop."""
GAINS = (1.0, -1.0)
"""dB."""
NOISES = (40.0, 30.0)
"""White noise: dB below the clip's own power."""


@dataclass(frozen=True)
class Stability:
    """Shares under one change: of tokens that stay, with their interval over speakers, and of digits (equal to
    ``tokens`` without levels)."""

    tokens: float
    digits: float
    low: float
    high: float


def measure_stability(
    codec: Codec,
    clips: Sequence[np.ndarray],
    seed: int = 0,
    bits: int | None = None,
    speakers: Sequence[str] | None = None,
) -> dict[str, Stability]:
    """By the name of the change, such as "gain +1 dB". Clips float32 [T], at the model's rate, and who speaks."""
    generator = np.random.default_rng(seed)
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for share in SHIFTS:
        later = slice(max(round(share * codec.hop_length), 1), None)
        changes[f"shift of {share:g} hop"] = itemgetter(later)
    for gain in GAINS:
        changes[f"gain {gain:+g} dB"] = partial(_louder, decibels=gain)
    for level in NOISES:
        changes[f"noise at -{level:g} dB"] = partial(_noisier, decibels=-level, generator=generator)
    plain = [tokens.numpy() for tokens in codec.encode_batch(list(clips), bits=bits)]
    levels = codec.config.digit_levels(bits)
    results = {}
    for name, change in changes.items():
        changed = [tokens.numpy() for tokens in codec.encode_batch([change(clip) for clip in clips], bits=bits)]
        same, equal, counts = [], [], []
        for old, new in zip(plain, changed, strict=True):
            length = min(len(old), len(new))
            same.append((old[:length] == new[:length]).mean())
            equal.append((split_tokens(old[:length], levels) == split_tokens(new[:length], levels)).mean())
            counts.append(length)
        stay = bootstrap_mean(np.array(same), speakers, np.array(counts))
        results[name] = Stability(stay.mean, float(np.average(equal, weights=counts)), stay.low, stay.high)
    return results



def _louder(clip: np.ndarray, decibels: float) -> np.ndarray:
    return np.asarray(clip * 10 ** (decibels / 20), np.float32)


def _noisier(clip: np.ndarray, decibels: float, generator: np.random.Generator) -> np.ndarray:
    """With noise ``decibels`` above the clip's own power."""
    noise = generator.standard_normal(len(clip)) * np.sqrt(np.mean(clip**2)) * 10 ** (decibels / 20)
    return np.asarray(clip + noise, np.float32)

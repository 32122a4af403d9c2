"""Means with bootstrap intervals, and paired comparison of two systems on the same clips."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

_RESAMPLES = 2000
_SEED = 2026


@dataclass(frozen=True)
class Interval:
    """A mean over `count` clips with its 95 % percentile bootstrap interval (clips resampled with return)."""

    mean: float
    low: float
    high: float
    count: int

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def bootstrap_mean(values: np.ndarray, resamples: int = _RESAMPLES, seed: int = _SEED) -> Interval:
    """The mean of values [n] and its interval. Raises ValueError where there are none."""
    values = np.asarray(values, np.float64)
    if not len(values):
        raise ValueError("No values to average.")
    draws = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    return Interval(float(values.mean()), float(low), float(high), len(values))


@dataclass(frozen=True)
class Comparison:
    """How `first` differs from `second` on clips that both have: mean difference, interval, p value, wins.

    `p_value` is two-sided, of the sign-flip permutation test; `wins` the share of clips where first is better.
    """

    first: str
    second: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    wins: float
    count: int


def compare_paired(
    first: dict[str, float], second: dict[str, float], names: tuple[str, str], metric: str, higher_is_better: bool
) -> Comparison:
    """Compares two systems' values by clip name. Raises ValueError where they share no clip."""
    shared = sorted(first.keys() & second.keys())
    difference = np.array([first[name] - second[name] for name in shared])
    interval = bootstrap_mean(difference)
    signs = np.random.default_rng(_SEED).choice((-1.0, 1.0), (_RESAMPLES, len(difference)))
    flipped = np.abs((signs * difference).mean(axis=1))
    extreme = int((flipped >= abs(interval.mean) - 1e-12).sum())
    better = difference > 0 if higher_is_better else difference < 0
    return Comparison(
        *names,
        metric,
        interval.mean,
        interval.low,
        interval.high,
        (extreme + 1) / (_RESAMPLES + 1),
        float((better + 0.5 * (difference == 0)).mean()),
        len(shared),
    )

"""Means with bootstrap intervals over speakers, and paired comparison of two systems on the same clips.

Clips of one speaker resemble each other: speakers are drawn with replacement and then, of each, as many clips as it has
(the two-stage bootstrap of Davison and Hinkley 1997, section 3.8). Of a single speaker only clips are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000
_SEED = 2026


@dataclass(frozen=True)
class Interval:
    """A mean over `count` clips of `speakers` speakers with its 95 % percentile bootstrap interval."""

    mean: float
    low: float
    high: float
    count: int
    speakers: int


def bootstrap_mean(
    values: np.ndarray, speakers: Sequence[str] | None = None, weights: np.ndarray | None = None
) -> Interval:
    """The mean of values [n] and its interval.

    Args:
        speakers: whose each value is; an empty name, or none at all: a speaker of its own.
        weights: what each counts [n]; of errors a word, the number of words.
    Raises:
        ValueError: there are no values.
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        raise ValueError("No values to average.")
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    owners = _owners(speakers, len(values))
    drawn = _draw(owners) * weights
    low, high = np.quantile(drawn @ values / drawn.sum(axis=1), (0.025, 0.975))
    return Interval(
        float(np.average(values, weights=weights)), float(low), float(high), len(values), int(owners.max()) + 1
    )


def _owners(speakers: Sequence[str] | None, count: int) -> np.ndarray:
    """The number of each value's speaker, [count], from 0 on."""
    names = [name or f"\0{index}" for index, name in enumerate(speakers or [""] * count)]
    return np.unique(names, return_inverse=True)[1]


def _draw(owners: np.ndarray) -> np.ndarray:
    """How often each value is drawn, [resamples, n]."""
    rng = np.random.default_rng(_SEED)
    sizes = np.bincount(owners)
    times = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), _RESAMPLES)
    drawn = np.empty((_RESAMPLES, len(owners)))
    for speaker, size in enumerate(sizes):
        drawn[:, owners == speaker] = rng.multinomial(times[:, speaker] * size, np.full(size, 1 / size))
    return drawn


@dataclass(frozen=True)
class Comparison:
    """How `first` differs from `second` on clips that both have: mean difference, interval, p value, wins.

    `p_value` is two-sided, of the permutation test that flips the signs of all of a speaker's clips together (so few
    speakers cannot give a small one); `wins` is the share of clips where first is better.
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
    speakers: int


def compare_paired(
    first: dict[str, float],
    second: dict[str, float],
    names: tuple[str, str],
    metric: str,
    higher_is_better: bool,
    speakers: dict[str, str] | None = None,
    weights: dict[str, float] | None = None,
) -> Comparison:
    """Compares two systems' values by clip name; `speakers` and `weights` by clip name, as in `bootstrap_mean`.

    Raises ValueError where they share no clip.
    """
    shared = sorted(first.keys() & second.keys())
    difference = np.array([first[name] - second[name] for name in shared])
    whose = [(speakers or {}).get(name, "") for name in shared]
    weight = np.array([(weights or {}).get(name, 1.0) for name in shared])
    interval = bootstrap_mean(difference, whose, weight)
    sums = np.bincount(_owners(whose, len(shared)), difference * weight)
    signs = np.random.default_rng(_SEED).choice((-1.0, 1.0), (_RESAMPLES, len(sums)))
    extreme = int((np.abs(signs @ sums) >= np.abs(sums.sum()) - 1e-12 * weight.sum()).sum())
    better = difference > 0 if higher_is_better else difference < 0
    return Comparison(
        *names,
        metric,
        interval.mean,
        interval.low,
        interval.high,
        (extreme + 1) / (_RESAMPLES + 1),
        float((better + 0.5 * (difference == 0)).mean()),
        interval.count,
        interval.speakers,
    )

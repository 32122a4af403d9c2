"""Metrics by name: which exist, what each needs, and scoring one pair of signals with a chosen few.

A `Scorer` gives one or more metrics of a `Pair` at once. It is a function with `@scorer` above it, which says what it
gives and needs; packages are imported when it is first called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from sqcodec.extras import MissingExtra, version

REFERENCE_RATE = 16000


@dataclass(frozen=True)
class Pair:
    """What is scored: reference and decoded signal [T], equally long, aligned, both at `sample_rate` Hz.

    `text` is the transcript or empty. `cache` outlives the pair: it is shared by all systems of one utterance.
    """

    reference: np.ndarray
    decoded: np.ndarray
    sample_rate: int = REFERENCE_RATE
    text: str = ""
    cache: dict = field(default_factory=dict, compare=False, repr=False)


class NotScorable(ValueError):
    """This pair has no such score (silence, too short, ...). The message is the reason."""


@dataclass(frozen=True)
class Metric:
    """A number of the table. `higher_is_better` None: neither (a rate, a count).

    `weight` names a value that the scorer gives too: what a clip counts in the mean (of errors a word, its words).
    """

    name: str
    label: str
    higher_is_better: bool | None
    unit: str = ""
    digits: int = 2
    weight: str = ""


@dataclass(frozen=True)
class Scorer:
    """Gives `metrics` by calling `function(pair) -> dict of name to value`.

    `packages` are the distributions behind it, whose versions are recorded; `extra` installs them. `check` raises
    MissingExtra where it cannot run here. `is_core`: runs unless asked otherwise.
    """

    function: Callable[[Pair], dict[str, float]]
    metrics: tuple[Metric, ...]
    packages: tuple[str, ...]
    extra: str
    is_core: bool
    check: Callable[[], object] | None

    def load(self) -> Callable[[Pair], dict[str, float]]:
        """The function. Raises MissingExtra where its package is not there."""
        for package in self.packages:
            if version(package) == "missing":
                raise MissingExtra(
                    f"{self.metrics[0].label} needs the package '{package}': pip install 'sqcodec[{self.extra}]'"
                )
        if self.check is not None:
            self.check()
        return self.function


_SCORERS: list[Scorer] = []
_MODULES = ("metrics", "opinion", "recognition")
_Function = TypeVar("_Function", bound=Callable[[Pair], dict[str, float]])


def scorer(
    *metrics: Metric, packages: tuple[str, ...] = (), extra: str = "", check: Callable[[], object] | None = None
) -> Callable[[_Function], _Function]:
    """Registers the function below it. Its module is in `_MODULES`, or imported by its user.

    Args: as of `Scorer`; without `extra` it is one of the core, which the extra 'eval' installs.
    """

    def register(function: _Function) -> _Function:
        _SCORERS.append(Scorer(function, metrics, packages, extra or "eval", not extra, check))
        return function

    return register


def all_scorers() -> list[Scorer]:
    """Those that are registered, in the order of the table."""
    modules = [importlib.import_module(f"{__package__}.{module}").__name__ for module in _MODULES]
    own = [scorer for module in modules for scorer in _SCORERS if scorer.function.__module__ == module]
    return own + [scorer for scorer in _SCORERS if scorer.function.__module__ not in modules]


def all_metrics() -> dict[str, Metric]:
    """Every metric by name, in the order of the table."""
    return {metric.name: metric for scorer in all_scorers() for metric in scorer.metrics}


def core_metrics() -> list[str]:
    """The names of those that run unless asked otherwise."""
    return [metric.name for scorer in all_scorers() if scorer.is_core for metric in scorer.metrics]


def scorers_for(names: Iterable[str]) -> list[Scorer]:
    """The scorers that give the named metrics. Raises ValueError naming an unknown one."""
    wanted, known = list(names), all_metrics()
    for name in wanted:
        if name not in known:
            raise ValueError(f"Unknown metric '{name}'. Choose from: {', '.join(known)}.")
    return [scorer for scorer in all_scorers() if any(metric.name in wanted for metric in scorer.metrics)]


def score(pair: Pair, names: Iterable[str]) -> tuple[dict[str, float], dict[str, str]]:
    """The named metrics of one pair, and why the ones that are missing are missing.

    Raises:
        MissingExtra: a package is not installed. Everything else that goes wrong is a reason, not an error.
    """
    wanted = list(names)
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    problem = _problem(pair)
    for scorer in scorers_for(wanted):
        own = [metric.name for metric in scorer.metrics if metric.name in wanted]
        weights = [metric.weight for metric in scorer.metrics if metric.name in wanted and metric.weight]
        if problem:
            reasons.update(dict.fromkeys(own, problem))
            continue
        function = scorer.load()
        try:
            found = function(pair)
        except Exception as error:  # third parties raise anything; one bad clip must not end a run
            reasons.update(dict.fromkeys(own, str(error) or type(error).__name__))
            continue
        for name in own:
            if np.isfinite(found[name]):
                values[name] = float(found[name])
            else:
                reasons[name] = f"the result is {found[name]}"
        values.update((name, float(found[name])) for name in weights)
    return values, reasons


def _problem(pair: Pair) -> str:
    """Why nothing can be scored, or an empty string."""
    if len(pair.reference) != len(pair.decoded):
        return f"lengths differ: {len(pair.reference)} and {len(pair.decoded)} samples"
    if not len(pair.reference):
        return "no samples"
    if not np.isfinite(pair.decoded).all():
        return "NaN or infinite samples in the decoded signal"
    if not np.isfinite(pair.reference).all():
        return "NaN or infinite samples in the reference"
    return ""

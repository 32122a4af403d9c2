"""From the runs of a study to means and spreads: one line for each quantizer, size and number of steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sqcodec.study.plan import Plan


@dataclass(frozen=True)
class Column:
    """A number of the tables. ``scale`` multiplies what the store has."""

    name: str
    label: str
    digits: int = 2
    scale: float = 1.0


COLUMNS = (
    Column("mel", "mel distance", 3),
    Column("pesq_wb", "PESQ-WB", 3),
    Column("stoi", "STOI", 3),
    Column("cvu", "CVU", 3),
    Column("perplexity", "perplexity", 0),
    Column("dead", "dead codes %", 1, 100),
    Column("bit_rate", "bit/s", 0),
    Column("coded_bit_rate", "bit/s entropy-coded", 0),
    Column("gradient_norm", "encoder gradient norm", 2),
    Column("gradient_variance", "encoder gradient variance", 2),
    Column("step_seconds", "CPU ms a step", 0, 1000),
    Column("quantizer_seconds", "of it quantizer forward", 1, 1000),
    Column("memory_mib", "memory MiB", 0),
    Column("collapses", "collapses", 1),
)


@dataclass(frozen=True)
class Line:
    """The runs of one quantizer at one size, over seeds. ``failed``: reasons of those that gave nothing."""

    row: str
    label: str
    size: int
    steps: int
    runs: list[dict[str, Any]]
    failed: list[str] = field(default_factory=list)

    def values(self, name: str) -> np.ndarray:
        """The numbers of the runs that have one."""
        found = [run[name] for run in self.runs if run.get(name) is not None]
        return np.array([value for value in found if np.isfinite(value)], dtype=np.float64)

    def mean(self, name: str) -> float | None:
        values = self.values(name)
        return float(values.mean()) if len(values) else None

    def spread(self, name: str) -> float | None:
        """Standard deviation over seeds; None for fewer than two."""
        values = self.values(name)
        return float(values.std(ddof=1)) if len(values) > 1 else None


def summarise(plan: Plan, results: Iterable[dict[str, Any]]) -> list[Line]:
    """Lines in the order of the plan's rows, by size and steps. Results of rows that the plan lacks are left out."""
    steps_of_base = plan.recipe(plan.jobs()[0]).train.steps
    groups: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for result in results:
        if result["row"] in plan.rows:
            key = (result["row"], result["size"], result["steps"] or steps_of_base)
            groups.setdefault(key, []).append(result)
    order = list(plan.rows)
    lines = []
    for (row, size, steps), found in sorted(groups.items(), key=lambda g: (g[0][1], g[0][2], order.index(g[0][0]))):
        runs = sorted((run for run in found if "failed" not in run), key=lambda run: run["seed"])
        failed = [run["failed"] for run in found if "failed" in run]
        lines.append(Line(row, plan.rows[row].label, size, steps, runs, failed))
    return lines


def over_sizes(lines: Iterable[Line], name: str) -> Line | None:
    """Lines of one row at several sizes as one: a number of each seed is its mean over the sizes.

    Seeds that lack a size are left out: all have the same sizes. None where nothing is left.
    """
    found = list(lines)
    by_seed = [{run["seed"]: run.get(name) for run in line.runs} for line in found]
    seeds = set.intersection(*(set(numbers) for numbers in by_seed)) if by_seed else set()
    runs = []
    for seed in sorted(seeds):
        known = [float(number) for number in (numbers[seed] for numbers in by_seed) if number is not None]
        if len(known) == len(found):
            runs.append({"seed": seed, name: float(np.mean(known))})
    return Line(found[0].row, found[0].label, 0, found[0].steps, runs) if runs else None


def difference(first: Line, second: Line, name: str) -> tuple[float, float, float, int] | None:
    """Mean difference of two lines over the seeds that both have, with its 95 % interval and their number.

    Student's t over paired seeds; None for fewer than two seeds.
    """
    from scipy.stats import t

    one, two = ({run["seed"]: run.get(name) for run in line.runs} for line in (first, second))
    pairs = [(one[seed], two[seed]) for seed in one.keys() & two.keys()]
    gaps = np.array([a - b for a, b in pairs if a is not None and b is not None])
    if len(gaps) < 2:
        return None
    half = float(t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / len(gaps) ** 0.5)
    return float(gaps.mean()), float(gaps.mean()) - half, float(gaps.mean()) + half, len(gaps)

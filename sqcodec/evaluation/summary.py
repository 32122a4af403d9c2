"""Rows summed up: means with intervals, rates, codebook use, breakdowns, paired comparisons.

All means and comparisons of a metric are over the same clips, those that every system has a score for; a system without
a single one is passed over.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .codebook import codebook_use
from .results import Row
from .scorers import all_metrics
from .statistics import bootstrap_mean, compare_paired
from .work import tokens_path

Systems = dict[str, dict[str, Any]]


def summarise(rows: list[Row], systems: Systems, metrics: list[str], folder: Path) -> dict[str, dict[str, Any]]:
    """By system: `metrics` (interval each), counts, rates in bit/s, speed, codebook use.

    Rates are over all clips together (bits / seconds). Speeds are seconds of audio a second of one worker, while
    other workers were busy: `sqcodec profile` measures them alone.
    """
    summary, shared = {}, _shared(rows, metrics)
    for system, info in systems.items():
        own = [row for row in rows if row.system == system]
        good = [row for row in own if row.status == "ok"]
        values: dict[str, Any] = {
            "clips": len(own),
            "failed": len(own) - len(good),
            "failures": [row.utterance for row in own if row.status != "ok"],
            "seconds": sum(row.seconds for row in good),
            "metrics": _means(own, shared),
            "payload_bit_rate": _ratio(good, "payload_bits", "seconds"),
            "file_bit_rate": _ratio(good, "file_bits", "seconds"),
            "compact_bit_rate": _ratio(good, "compact_bits", "seconds"),
            "token_rate": _ratio(good, "num_tokens", "seconds"),
            "encode_speed": _ratio(good, "seconds", "encode_seconds"),
            "decode_speed": _ratio(good, "seconds", "decode_seconds"),
            "median_delay": float(np.median([row.delay for row in good])) if good else 0.0,
            "codebook": None,
        }
        if info.get("codebook_size"):
            paths = [tokens_path(folder, system, row.utterance) for row in good]
            streams = [np.load(path, allow_pickle=False) for path in paths if path.exists()]
            if streams:
                values["codebook"] = asdict(codebook_use(streams, info["codebook_size"]))
        summary[system] = values
    return summary


def break_down(rows: list[Row], systems: Systems, metrics: list[str], by: str) -> dict[str, dict[str, Any]]:
    """Value of the row's field `by` -> system -> metric -> interval."""
    shared, groups = _shared(rows, metrics), defaultdict(list)
    for row in rows:
        groups[getattr(row, by) or "-"].append(row)
    return {
        name: {system: _means([row for row in group if row.system == system], shared) for system in systems}
        for name, group in sorted(groups.items())
    }


def compare(rows: list[Row], first: str, systems: Systems, metrics: list[str]) -> list[dict[str, Any]]:
    """The first system against each other one, for every metric with a direction."""
    known, comparisons = all_metrics(), []
    speakers = {row.utterance: row.speaker for row in rows}
    for name, clips in _shared(rows, metrics).items():
        metric = known[name]
        values: dict[str, dict[str, float]] = defaultdict(dict)
        for row in rows:
            if row.utterance in clips and name in row.scores:
                values[row.system][row.utterance] = row.scores[name]
        weights = {row.utterance: row.scores[metric.weight] for row in rows if metric.weight in row.scores}
        for system in systems:
            if system != first and metric.higher_is_better is not None and values[first] and values[system]:
                pair = values[first], values[system], (first, system)
                comparisons.append(compare_paired(*pair, name, metric.higher_is_better, speakers, weights))
    order = list(systems)
    return [asdict(pair) for pair in sorted(comparisons, key=lambda pair: order.index(pair.second))]


def _shared(rows: list[Row], metrics: list[str]) -> dict[str, set[str]]:
    """Metric -> names of the clips that every system has a score for."""
    shared = {}
    for name in metrics:
        scored = defaultdict(set)
        for row in rows:
            if name in row.scores:
                scored[row.system].add(row.utterance)
        shared[name] = set.intersection(*scored.values()) if scored else set()
    return shared


def _means(rows: list[Row], shared: dict[str, set[str]]) -> dict[str, dict[str, float]]:
    known, means = all_metrics(), {}
    for name, clips in shared.items():
        found = [row for row in rows if row.utterance in clips and name in row.scores]
        if found:
            weights = np.array([row.scores.get(known[name].weight, 1.0) for row in found])
            values = np.array([row.scores[name] for row in found])
            means[name] = asdict(bootstrap_mean(values, [row.speaker for row in found], weights))
    return means


def _ratio(rows: list[Row], over: str, under: str) -> float | None:
    """One field by another, each summed over the rows that have both; None where none has."""
    pairs = [(getattr(row, over), getattr(row, under)) for row in rows]
    known = [(top, bottom) for top, bottom in pairs if top is not None and bottom]
    return sum(top for top, _ in known) / sum(bottom for _, bottom in known) if known else None

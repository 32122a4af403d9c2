"""Rows summed up: means with intervals, rates, codebook use, breakdowns, paired comparisons."""

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
    summary = {}
    for system, info in systems.items():
        own = [row for row in rows if row.system == system]
        good = [row for row in own if row.status == "ok"]
        values: dict[str, Any] = {
            "clips": len(own),
            "failed": len(own) - len(good),
            "seconds": sum(row.seconds for row in good),
            "metrics": _means(good, metrics),
            "payload_bit_rate": _rate(good, "payload_bits"),
            "file_bit_rate": _rate(good, "file_bits"),
            "token_rate": _rate(good, "num_tokens"),
            "encode_speed": _speed(good, "encode_seconds"),
            "decode_speed": _speed(good, "decode_seconds"),
            "median_delay": float(np.median([row.delay for row in good])) if good else 0.0,
            "codebook": None,
        }
        if info.get("codebook_size"):
            streams = [
                np.load(path, allow_pickle=False)
                for path in (tokens_path(folder, system, row.utterance) for row in good)
                if path.exists()
            ]
            if streams:
                values["codebook"] = codebook_use(streams, info["codebook_size"]).to_dict()
        summary[system] = values
    return summary


def break_down(rows: list[Row], systems: Systems, metrics: list[str], by: str) -> dict[str, dict[str, Any]]:
    """Value of the row's field `by` -> system -> metric -> interval."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.status == "ok":
            groups[getattr(row, by) or "-"].append(row)
    return {
        name: {system: _means([row for row in group if row.system == system], metrics) for system in systems}
        for name, group in sorted(groups.items())
    }


def compare(rows: list[Row], first: str, systems: Systems, metrics: list[str]) -> list[dict[str, Any]]:
    """The first system against each other, on the clips that both have, for every metric with a direction."""
    known = all_metrics()
    values: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in rows:
        for name, value in row.scores.items():
            values[row.system, name][row.utterance] = value
    comparisons = []
    for system in systems:
        for name in metrics:
            better, shared = known[name].higher_is_better, values[first, name].keys() & values[system, name].keys()
            if system != first and better is not None and len(shared) > 1:
                pair = compare_paired(values[first, name], values[system, name], (first, system), name, better)
                comparisons.append(asdict(pair))
    return comparisons


def _means(rows: list[Row], metrics: list[str]) -> dict[str, dict[str, float]]:
    found = {name: [row.scores[name] for row in rows if name in row.scores] for name in metrics}
    return {name: bootstrap_mean(np.array(values)).to_dict() for name, values in found.items() if values}


def _rate(rows: list[Row], name: str) -> float | None:
    known = [row for row in rows if getattr(row, name) is not None and row.seconds]
    return sum(getattr(row, name) for row in known) / sum(row.seconds for row in known) if known else None


def _speed(rows: list[Row], name: str) -> float | None:
    known = [row for row in rows if getattr(row, name)]
    return sum(row.seconds for row in known) / sum(getattr(row, name) for row in known) if known else None

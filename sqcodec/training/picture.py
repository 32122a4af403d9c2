"""Curves of training runs, from their metrics.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqcodec import plots
from sqcodec.runs import read_metrics

SHOWN = (
    ("mel", "mel distance in training"),
    ("validation_pesq_wb", "PESQ-WB, validation"),
    ("validation_stoi", "STOI, validation"),
)


@plots.style()
def draw_runs(runs: Mapping[str, Path], path: Path) -> None:
    """Draws run folders, by name, as an SVG file: three plots over the step. ImportError without matplotlib."""
    figure, axes = plots.figure(len(SHOWN))
    found = {name: read_metrics(folder) for name, folder in runs.items()}
    for axis, (key, label) in zip(axes, SHOWN, strict=True):
        for number, (name, rows) in enumerate(found.items()):
            points = [(row["step"], row[key]) for row in rows if key in row]
            if points:
                marker = "" if len(points) > 1 else "."
                axis.plot(*zip(*points, strict=True), linewidth=1, marker=marker, label=name, **plots.look(number))
        axis.set(xlabel="step", title=label)
        axis.ticklabel_format(useOffset=False)
    axes[0].set_yscale("log")
    if len(runs) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=6)
    plots.save(figure, path)

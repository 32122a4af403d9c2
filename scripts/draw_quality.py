"""Draws the README's picture, quality against bit rate, from docs/images/quality.toml.

usage: python scripts/draw_quality.py [OUTPUT.svg]
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from sqcodec import plots

IMAGES = Path(__file__).resolve().parent.parent / "docs/images"
OURS, OTHERS, PUBLISHED = "#c2255c", "#495057", "#868e96"
OFFSETS = {
    "speech-1k": (8, -4, "left"),
    "speech-3k": (8, -4, "left"),
    "BigCodec": (0, 9, "center"),
    "MOSS-Nano": (0, 9, "center"),
    "Mimi": (9, -4, "left"),
}
"""Where a label stands beside its point, in points of type; (8, 5, left) for the others."""


@plots.style()
def main(output: Path) -> None:
    text = (IMAGES / "quality.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    figure, (axes,) = plots.figure(1, 8.4, 4.4)
    for model in ("speech-1k", "speech-3k"):
        ours = [system for system in data["measured"]["systems"] if system.get("ours") == model]
        axes.plot([s["kbps"] for s in ours], [s["pesq"] for s in ours], color=OURS, linewidth=1.5, zorder=2)
    for system in data["measured"]["systems"]:
        color = OURS if system.get("ours") else OTHERS
        axes.errorbar(system["kbps"], system["pesq"], system["half"], fmt="o", color=color, capsize=3, zorder=3)
        label(axes, system["name"], system["kbps"], system["pesq"], color, bool(system.get("ours")))
    for curve in data["published"]["curves"]:
        axes.plot(curve["kbps"], curve["pesq"], "D:", color=PUBLISHED, markerfacecolor="white", zorder=1)
        label(axes, curve["name"], curve["kbps"][-1], curve["pesq"][-1], PUBLISHED, False)
    axes.plot([], [], "o", color=OURS, label="sqcodec: " + data["measured"]["title"])
    axes.plot([], [], "o", color=OTHERS, label="others, same clips")
    axes.plot([], [], "D:", color=PUBLISHED, markerfacecolor="white", label=data["published"]["title"])
    axes.set(xscale="log", xlim=(0.45, 11), ylim=(1.1, 3.2), xlabel="bit rate (kbit/s)", ylabel="PESQ-WB (quality)")
    axes.set_xticks([0.5, 1, 2, 3, 4, 6, 8], ["0.5", "1", "2", "3", "4", "6", "8"])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    plots.save(figure, output, Description=digest(text))


def digest(text: str) -> str:
    """Says in the picture which data it is of."""
    return "quality.toml " + hashlib.sha256(text.encode()).hexdigest()


def label(axes: Any, text: str, kbps: float, pesq: float, color: str, bold: bool) -> None:
    right, up, align = OFFSETS.get(text, (8, 5, "left"))
    weight = "bold" if bold else "normal"
    axes.annotate(
        text, (kbps, pesq), (right, up), textcoords="offset points", ha=align, color=color, weight=weight, fontsize=9
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES / "quality.svg")

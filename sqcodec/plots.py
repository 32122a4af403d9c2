"""Plots as SVG with matplotlib: one style, and the same numbers give the same file."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqcodec.extras import require

PALETTE = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#78716c")
_INK, _LINE = "#1c1916", "#e2ddd7"  # what a page replaces by its own colours
_STYLE: Any = {
    "svg.hashsalt": "sqcodec", "svg.fonttype": "none", "font.size": 8, "axes.grid": True, "axes.titlesize": 9,
    "axes.axisbelow": True, "grid.color": _LINE, "grid.linewidth": 0.8, "axes.edgecolor": _LINE, "text.color": _INK,
    "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK, "xtick.major.size": 0, "ytick.major.size": 0,
}  # fmt: skip


@contextlib.contextmanager
def style() -> Iterator[None]:
    """What is drawn inside looks as it does everywhere here; also a decorator of functions that draw."""
    with require("matplotlib", "eval", "A plot").rc_context(_STYLE):
        yield


def figure(columns: int = 1, width: float = 3.3, height: float = 3.0) -> tuple[Any, Any]:
    """A figure of so many plots in a row, each of `width` by `height` inches, and their axes."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width * columns, height), layout="constrained")
    return drawn, drawn.subplots(1, columns, squeeze=False)[0]


def save(drawn: Any, path: Path, **metadata: str) -> Path:
    """Writes a figure as an SVG file; `metadata` such as Description="..."."""
    drawn.savefig(path, format="svg", metadata={"Date": None, **metadata})
    return path


def inline(drawn: Any) -> str:
    """A figure as an <svg class="plot"> for a page, in the page's colours; what has a gid 'tip:TEXT' tells TEXT."""
    out = io.StringIO()
    drawn.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor").replace(_LINE, "var(--line)")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg class="plot" role="img" \1>', text, count=1)
    return re.sub(r'<g id="tip:([^"]*)">', r"<g><title>\1</title>", text)


def look(number: int) -> dict[str, Any]:
    """Colour and line of the n-th of up to 30 curves."""
    return {"color": f"C{number % 10}", "linestyle": ("-", "--", ":")[number // 10 % 3]}


def log_scale(axes: Any, name: str, values: list[float]) -> list[float]:
    """Makes an axis, 'x' or 'y', logarithmic: a margin around the values, and three round ticks or more (returned)."""
    from matplotlib.ticker import MaxNLocator

    low, high = min(values) / 1.4, max(values) * 1.6
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), tuple(range(1, 10))):
        ticks = [tick for d in decades for step in steps if low <= (tick := float(f"{step}e{d}")) <= high]
        if len(ticks) >= 3:
            break
    else:
        ticks = [float(tick) for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    axes.set(**{f"{name}scale": "log", f"{name}lim": (low, high)})
    axis = getattr(axes, f"{name}axis")
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)
    return ticks


def label_points(axes: Any, points: list[tuple[float, float, str, str, bool]]) -> None:
    """Writes texts beside points (x, y, text, colour, is bold), moved down where they would lie on one another.

    The axes must have their final limits.
    """
    drawn = axes.figure
    drawn.draw_without_rendering()
    taken: list[Any] = []
    for x, y, text, color, is_bold in points:
        written = axes.annotate(text, (x, y), (6, 0), textcoords="offset points", va="center", color=color,
                                weight="bold" if is_bold else "normal")  # fmt: skip
        written.set_in_layout(False)
        if written.get_window_extent().x1 > drawn.bbox.x1:
            written.set(ha="right", position=(-6, 0))
        while any(written.get_window_extent().overlaps(other) for other in taken):
            written.set_position((written.get_position()[0], written.get_position()[1] - 3))
        taken.append(written.get_window_extent())


def spectrogram(levels: Any) -> bytes:
    """Levels [bins, frames] from 0, black, to 1, the brightest, low bins first -> PNG."""
    import matplotlib
    import numpy as np
    from PIL import Image

    image = Image.fromarray((255 * np.clip(levels, 0, 1)).astype(np.uint8)[::-1])
    image.putpalette((255 * matplotlib.colormaps["inferno"](range(256))[:, :3]).astype(np.uint8).tobytes())
    out = io.BytesIO()
    image.save(out, "png", optimize=True)
    return out.getvalue()

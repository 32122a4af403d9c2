"""Plots as SVG text, without a plotting package. Colours come from the page's style (`currentColor`, classes).

A plot is a list of `Series` on two axes, linear or logarithmic; points may have vertical error bars.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

PALETTE = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#78716c")
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 30, 44


@dataclass(frozen=True)
class Point:
    """`low` and `high` are the ends of an error bar; `label` is written beside the mark."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    label: str = ""


@dataclass(frozen=True)
class Series:
    """Points of one colour, joined by a line where `is_line`; `is_strong` draws them larger."""

    name: str
    points: list[Point]
    color: str
    is_line: bool = True
    is_strong: bool = False
    has_marks: bool = True


@dataclass(frozen=True)
class Axis:
    """A labelled axis from `low` to `high`."""

    label: str
    low: float
    high: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round numbers between the ends; three or more, as a rule."""
        if self.is_log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1,), (1, 2, 5), tuple(range(1, 10))):
                ticks = self._inside(step * 10.0**decade for decade in decades for step in steps)
                if len(ticks) >= 3:
                    return ticks
        step = _nice((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return self._inside(step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1))

    def _inside(self, values: Iterable[float]) -> list[float]:
        return [value for value in values if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]


def axis_for(values: list[float], label: str, is_log: bool = False) -> Axis:
    """An axis with a margin around the values."""
    low, high = min(values), max(values)
    if is_log:
        return Axis(label, low / 1.4, high * 1.6, is_log=True)
    margin = 0.08 * (high - low) or abs(high) * 0.1 or 1.0
    return Axis(label, low - margin, high + margin)


def plot(series: list[Series], x: Axis, y: Axis, title: str, width: int = 460, height: int = 320) -> str:
    """The plot as an <svg> element with a legend-free layout: points carry their labels."""
    inner_width, inner_height = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def at(px: float, py: float) -> tuple[float, float]:
        return _LEFT + inner_width * x.place(px), _TOP + inner_height * (1 - y.place(py))

    parts = [f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title, quote=True)}">']
    parts.append(f'<text class="title" x="{_LEFT}" y="18">{escape(title)}</text>')
    for tick in x.ticks():
        px, _ = at(tick, y.high)
        parts.append(f'<path class="grid" d="M{px:.1f} {_TOP}V{_TOP + inner_height}"/>')
        parts.append(f'<text class="tick" x="{px:.1f}" y="{height - 26}" text-anchor="middle">{_number(tick)}</text>')
    for tick in y.ticks():
        _, py = at(x.high, tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {py:.1f}H{_LEFT + inner_width}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{py + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    parts.append(
        f'<text class="axis" x="{_LEFT + inner_width / 2}" y="{height - 8}" text-anchor="middle">'
        f"{escape(x.label)}</text>"
    )
    labels = _Labels(width)
    for one in series:
        parts += _series(one, at, labels)
    return "".join([*parts, *labels.parts, "</svg>"])


def strips(groups: list[tuple[str, list[float], str]], label: str, title: str, width: int = 940) -> str:
    """A row a group: a dot a value, a box from the lower to the upper quartile, a line at the median."""
    row, left = 30, 170
    height = _TOP + row * len(groups) + _BOTTOM
    axis = axis_for([value for _, values, _ in groups for value in values], label)

    def at(value: float) -> float:
        return left + (width - left - _RIGHT) * axis.place(value)

    parts = [f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title, quote=True)}">']
    parts.append(f'<text class="title" x="12" y="18">{escape(title)}</text>')
    for tick in axis.ticks():
        parts.append(f'<path class="grid" d="M{at(tick):.1f} {_TOP}V{height - _BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{at(tick):.1f}" y="{height - 26}" text-anchor="middle">{_number(tick)}</text>'
        )
    for index, (name, values, color) in enumerate(groups):
        middle = _TOP + row * (index + 0.5)
        parts.append(f'<text class="tick" x="{left - 10}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>')
        ordered = sorted(values)
        lower, median, upper = (ordered[round(q * (len(ordered) - 1))] for q in (0.25, 0.5, 0.75))
        for number, value in enumerate(ordered):
            y = middle + (number * 7 % 15 - 7) * 0.9
            parts.append(f'<circle cx="{at(value):.1f}" cy="{y:.1f}" r="2" fill="{color}" opacity=".45"/>')
        parts.append(
            f'<rect x="{at(lower):.1f}" y="{middle - 9}" width="{max(at(upper) - at(lower), 1):.1f}" height="18" '
            f'fill="none" stroke="{color}"/><path d="M{at(median):.1f} {middle - 9}v18" stroke="{color}" '
            'stroke-width="3"/>'
        )
    parts.append(f'<text class="axis" x="{width / 2}" y="{height - 8}" text-anchor="middle">{escape(label)}</text>')
    return "".join([*parts, "</svg>"])


class _Labels:
    """Texts beside points, moved down where they would lie on one another."""

    def __init__(self, width: int) -> None:
        self.parts: list[str] = []
        self._width = width
        self._taken: list[tuple[float, float, float]] = []

    def add(self, x: float, y: float, text: str, color: str, is_strong: bool) -> None:
        length = 6.2 * len(text)
        anchor, start = ("start", x + 7) if x + 9 + length < self._width else ("end", x - 7 - length)
        while any(abs(y - other) < 11 and start < b and a < start + length for a, b, other in self._taken):
            y += 5
        self._taken.append((start, start + length, y))
        px = start if anchor == "start" else start + length
        weight = ' font-weight="700"' if is_strong else ""
        self.parts.append(
            f'<text class="label" x="{px:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}" fill="{color}"{weight}>'
            f"{escape(text)}</text>"
        )


def _series(series: Series, at, labels: _Labels) -> list[str]:  # noqa: ANN001 - a closure of `plot`
    parts = []
    places = [at(point.x, point.y) for point in series.points]
    if series.is_line and len(places) > 1:
        line = "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
        parts.append(f'<path d="M{line}" fill="none" stroke="{series.color}" stroke-width="1.5"/>')
    for point, (px, py) in zip(series.points, places, strict=True):
        if point.low is not None and point.high is not None:
            low, high = at(point.x, point.low)[1], at(point.x, point.high)[1]
            parts.append(
                f'<path class="error-bar" d="M{px:.1f} {low:.1f}V{high:.1f}M{px - 4:.1f} {low:.1f}h8'
                f'M{px - 4:.1f} {high:.1f}h8" stroke="{series.color}"/>'
            )
        if series.has_marks:
            radius = 6 if series.is_strong else 4
            name = escape(f"{series.name} {point.label}: {_number(point.x)}, {point.y:.3f}")
            parts.append(
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius}" fill="{series.color}"><title>{name}</title></circle>'
            )
        if point.label:
            labels.add(px, py, point.label, series.color, series.is_strong)
    return parts


def _nice(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= step * 0.999)


def _number(value: float) -> str:
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        digits, power = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.6g}"

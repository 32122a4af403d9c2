"""report.html wrote 1e-3, 1e-4, 1e-4 at 5e-4, 2e-4, 1e-4, and had one tick on the axis of rates."""

from __future__ import annotations

import pytest

from sqcodec import plots

pytest.importorskip("matplotlib")


def ticks(values: list[float]) -> list[float]:
    """The numbers written at the axis of a plot, which are where they say."""
    with plots.style():
        figure, (axes,) = plots.figure()
        places = plots.log_scale(axes, "x", values)
        written = [float(tick.get_text()) for tick in axes.get_xticklabels()]
        assert all(f">{tick:g}</text>" in plots.inline(figure) for tick in places)
    assert written == pytest.approx(places)
    return written


@pytest.mark.parametrize("values", [[2.81], [2.81, 1.05], [2.81, 6.0], [0.75, 24.0], [1e-4, 5e-4], [1e-5, 1.0]])
def test_three_ticks_that_say_where_they_are(values):
    found = ticks(values)
    assert len(found) >= 3 and found == sorted(set(found))
    assert min(values) / 1.41 <= found[0] and found[-1] <= max(values) * 1.61


def test_small_numbers_keep_their_digits():
    assert ticks([1e-4, 5e-4]) == [1e-4, 2e-4, 5e-4]

"""The tables of a predictor that is made; one that is read brings its own, so that no rounding of a library matters."""

from __future__ import annotations

import numpy as np

from .predictor import GATE_STEP, GATES, HIGHEST_FREQUENCY, ODDS, ODDS_STEP, STATE_BITS, SUM_BITS


def make_tables() -> dict[str, np.ndarray]:
    """``sigmoid``, ``tanh`` and ``odds``, each entry the value in the middle of its step."""
    x = (np.arange(GATES) - GATES // 2 + 0.5) * GATE_STEP / 2**SUM_BITS
    below = (np.arange(ODDS) + 0.5) * ODDS_STEP / 2**SUM_BITS
    one = 2**STATE_BITS - 1
    tables = {
        "sigmoid": one / (1 + np.exp(-x)),
        "tanh": one * np.tanh(x),
        "odds": np.maximum(1, HIGHEST_FREQUENCY * np.exp(-below)),
    }
    return {name: np.rint(table).astype(np.int16) for name, table in tables.items()}

"""A small predictor with random weights."""

from __future__ import annotations

import numpy as np

from sqcodec.entropy import Predictor
from sqcodec.entropy.tables import make_tables


def random_predictor(alphabets: tuple[int, ...], seed: int = 0, units: int = 12, each: int = 5) -> Predictor:
    rng = np.random.default_rng(seed)
    symbols, rows, wide = len(alphabets), sum(alphabets), len(alphabets) * each

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 400, shape).round().astype(np.int16)

    within = draw(rows, wide)
    return Predictor(
        alphabets=np.array(alphabets, np.int32),
        input=draw(rows, 3 * units),
        phase=draw(2, 3 * units),
        count=draw(symbols, 3 * units),
        recurrent=draw(3 * units, units),
        recurrent_bias=draw(units),
        hidden=draw(wide, units),
        hidden_bias=draw(wide),
        within=within,
        output=draw(symbols, max(alphabets), each),
        output_bias=draw(symbols, max(alphabets)),
        **make_tables(),
    )

"""Predicted opinion scores from packages that bring their weights: ViSQOL, DNSMOS, DistillMOS.

ViSQOL compares with the reference; DNSMOS and DistillMOS hear the decoded signal alone, so they also praise speech
that is clean but not what was said. All take 16 kHz.
"""

from __future__ import annotations

import contextlib
import io
from functools import lru_cache
from typing import Any

import numpy as np

from .extras import require, stand_in
from .scorers import Metric, Pair, scorer


@lru_cache(maxsize=1)
def _visqol() -> Any:
    api = require("visqol", "visqol", "ViSQOL").VisqolApi()
    api.create(mode="speech")
    return api


@scorer(Metric("visqol", "ViSQOL", True), packages=("visqol-python",), extra="visqol", check=_visqol)
def visqol(pair: Pair) -> dict[str, float]:
    """ViSQOL in speech mode, MOS-LQO 1 to 5 (Chinen et al. 2020; package `visqol-python`)."""
    signals = (np.asarray(x, np.float64) for x in (pair.reference, pair.decoded))
    return {"visqol": float(_visqol().measure_from_arrays(*signals, pair.sample_rate).moslqo)}


def _dnsmos() -> Any:
    return require("speechmos.dnsmos", "mos", "DNSMOS")


@scorer(Metric("dnsmos", "DNSMOS", True), packages=("speechmos",), extra="mos", check=_dnsmos)
def dnsmos(pair: Pair) -> dict[str, float]:
    """DNSMOS P.835 overall, 1 to 5 (Reddy et al. 2022; package `speechmos`). Clips under 9 s are repeated."""
    decoded = np.clip(pair.decoded, -1, 1).astype(np.float32)
    return {"dnsmos": float(_dnsmos().run(decoded, pair.sample_rate)["ovrl_mos"])}


@lru_cache(maxsize=1)
def _distillmos() -> Any:
    """The model. The package imports torchaudio, which does not load beside a CPU-only PyTorch, for reading files
    only: an empty module stands in for it during the import."""
    with stand_in("torchaudio"):
        package = require("distillmos", "mos", "DistillMOS")
    with contextlib.redirect_stdout(io.StringIO()):
        return package.ConvTransformerSQAModel().eval()


@scorer(Metric("distillmos", "DistillMOS", True), packages=("distillmos",), extra="mos", check=_distillmos)
def distillmos(pair: Pair) -> dict[str, float]:
    """DistillMOS, 1 to 5 (Stahl and Gamper 2025; package `distillmos`)."""
    torch = require("torch", "mos", "DistillMOS")
    with torch.no_grad():
        return {"distillmos": float(_distillmos()(torch.from_numpy(np.float32(pair.decoded))[None]))}

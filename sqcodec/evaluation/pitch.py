"""Errors of pitch and voicing, with librosa's probabilistic YIN (Mauch and Dixon 2014) on both signals."""

from __future__ import annotations

import numpy as np

from .extras import require
from .scorers import Metric, NotScorable, Pair, scorer

_LOWEST, _HIGHEST = 60.0, 500.0  # Hz
_FRAME_SECONDS, _HOP_SECONDS = 0.064, 0.01
_RESOLUTION = 0.2  # semitones a step: five times as fast as librosa's default, and finer than what codecs do


@scorer(
    Metric("f0_rmse", "F0 RMSE", False, "Hz", 1),
    Metric("f0_cents", "F0 error", False, "cent", 0),
    Metric("vuv_error", "V/UV error", False, "%", 1),
    packages=("librosa",),
)
def pitch_errors(pair: Pair) -> dict[str, float]:
    """F0 RMSE in Hz and RMS error in cents over frames voiced in both; V/UV disagreement in %.

    Raises NotScorable where fewer than 5 frames are voiced in both signals.
    """
    if "pitch" not in pair.cache:
        pair.cache["pitch"] = _track(pair.reference, pair.sample_rate)
    reference, reference_voiced = pair.cache["pitch"]
    decoded, decoded_voiced = _track(pair.decoded, pair.sample_rate)
    both = reference_voiced & decoded_voiced
    if both.sum() < 5:
        raise NotScorable("fewer than 5 frames are voiced in both signals")
    cents = 1200 * np.log2(decoded[both] / reference[both])
    return {
        "f0_rmse": float(np.sqrt(np.mean((decoded[both] - reference[both]) ** 2))),
        "f0_cents": float(np.sqrt(np.mean(cents**2))),
        "vuv_error": float(100 * np.mean(reference_voiced != decoded_voiced)),
    }


def _track(samples: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """[T] -> F0 in Hz and voicing, one of each per 10 ms."""
    librosa = require("librosa", "eval", "The F0 error")
    pitch, voiced, _ = librosa.pyin(
        np.float32(samples),
        fmin=_LOWEST,
        fmax=_HIGHEST,
        sr=sample_rate,
        frame_length=round(_FRAME_SECONDS * sample_rate),
        hop_length=round(_HOP_SECONDS * sample_rate),
        resolution=_RESOLUTION,
    )
    return pitch, voiced

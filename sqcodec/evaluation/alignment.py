"""Undoing a codec's delay before scoring.

Codecs that keep the waveform are aligned by cross-correlation. Parametric ones (Codec2) do not keep it: for them
the envelopes of mel-spaced bands are correlated, which is good to about a millisecond.
"""

from __future__ import annotations

import numpy as np
from scipy import signal

MAX_DELAY_SECONDS = 0.1
_NUM_BANDS = 20
_WINDOW_SECONDS = 0.016
_HOP_SECONDS = 0.001
_WAVEFORM_KEPT = 0.5  # a peak of the normalised cross-correlation above this is a waveform that was kept
_MARGIN = 1.02  # how much better than no delay a delay has to be


def estimate_delay(
    reference: np.ndarray, decoded: np.ndarray, sample_rate: int, max_seconds: float = MAX_DELAY_SECONDS
) -> int:
    """How many samples `decoded` [T'] lags behind `reference` [T]; negative if it is early.

    0 where nothing is better by 2 %, and where either of the two is silent.
    """
    length = min(len(reference), len(decoded))
    reference, decoded = (np.asarray(x[:length], np.float64) for x in (reference, decoded))
    if length < _WINDOW_SECONDS * sample_rate * 4 or not reference.any() or not decoded.any():
        return 0
    reach = min(round(max_seconds * sample_rate), length // 2)
    scores = _correlate(reference[None], decoded[None], reach)
    if scores.max() >= _WAVEFORM_KEPT:
        return _best(scores, reach)
    hop = round(_HOP_SECONDS * sample_rate)
    scores = _correlate(
        _band_envelopes(reference, sample_rate, hop), _band_envelopes(decoded, sample_rate, hop), reach // hop
    )
    return _best(scores, reach // hop) * hop


def align(reference: np.ndarray, decoded: np.ndarray, delay: int) -> np.ndarray:
    """`decoded` [T'] moved `delay` samples earlier, cut or padded with silence to the reference's length [T]."""
    if delay >= 0:
        decoded = decoded[delay:]
    else:
        decoded = np.concatenate([np.zeros(-delay, decoded.dtype), decoded])
    decoded = decoded[: len(reference)]
    return np.concatenate([decoded, np.zeros(len(reference) - len(decoded), decoded.dtype)])


def _best(scores: np.ndarray, reach: int) -> int:
    best = int(scores.argmax())
    if scores[best] <= scores[reach] * _MARGIN:
        best = reach
    return best - reach


def _correlate(reference: np.ndarray, decoded: np.ndarray, reach: int) -> np.ndarray:
    """Normalised cross-correlation, summed over rows: [R, T] x [R, T] -> [2 * reach + 1], lag 0 in the middle."""
    length = reference.shape[1]
    full = sum(signal.correlate(d, r, method="fft") for r, d in zip(reference, decoded, strict=True))
    scale = np.sqrt((reference**2).sum() * (decoded**2).sum())
    return full[length - 1 - reach : length + reach] / max(scale, 1e-12)


def _band_envelopes(samples: np.ndarray, sample_rate: int, hop: int) -> np.ndarray:
    """Log magnitude in mel-spaced bands up to 3.5 kHz (all that a narrowband codec keeps), [bands, frames]."""
    window = round(_WINDOW_SECONDS * sample_rate)
    frequencies, _, spectrum = signal.stft(samples, sample_rate, nperseg=window, noverlap=window - hop)
    mels = 2595 * np.log10(1 + frequencies / 700)
    edges = np.linspace(2595 * np.log10(1 + 100 / 700), 2595 * np.log10(1 + 3500 / 700), _NUM_BANDS + 2)
    weights = np.maximum(0.0, np.minimum((mels - edges[:-2, None]), (edges[2:, None] - mels)) / np.diff(edges)[0])
    bands = weights @ np.abs(spectrum)
    bands = np.log(bands + 1e-3 * bands.max())
    return bands - bands.mean(axis=1, keepdims=True)

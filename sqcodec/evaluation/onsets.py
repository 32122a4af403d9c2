"""Are onsets and bursts where they were? The correlation of the spectral flux of both signals.

Spectral flux (Dixon 2006, "Onset detection revisited") is what rises in a log mel spectrogram from one frame to the
next, summed over bands, as librosa's `onset_strength` has it; here with frames of 16 ms every 5 ms, down to 60 dB below
the loudest band. A codec that smears transients lowers it, one that changes levels does not.
"""

from __future__ import annotations

import numpy as np

from .extras import require
from .scorers import Metric, NotScorable, Pair, scorer

_FRAME_SECONDS, _HOP_SECONDS = 0.016, 0.005
_NUM_MELS, _RANGE = 40, 60.0  # dB


@scorer(Metric("onsets", "onsets", True, digits=3), packages=("librosa",))
def onset_correlation(pair: Pair) -> dict[str, float]:
    """Pearson correlation of the onset strengths, 1 at best. Raises NotScorable where one of them is constant."""
    if "onsets" not in pair.cache:
        pair.cache["onsets"] = _strength(pair.reference, pair.sample_rate)
    reference, decoded = pair.cache["onsets"], _strength(pair.decoded, pair.sample_rate)
    if not reference.std() or not decoded.std():
        raise NotScorable("there are no onsets")
    return {"onsets": float(np.corrcoef(reference, decoded)[0, 1])}


def _strength(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """[T] -> onset strength, one a hop."""
    librosa = require("librosa", "eval", "The correlation of onsets")
    window, hop = round(_FRAME_SECONDS * sample_rate), round(_HOP_SECONDS * sample_rate)
    power = librosa.feature.melspectrogram(
        y=np.float32(samples), sr=sample_rate, n_fft=window, hop_length=hop, n_mels=_NUM_MELS
    )
    return librosa.onset.onset_strength(
        S=librosa.power_to_db(power, ref=np.max, top_db=_RANGE), sr=sample_rate, n_fft=window, hop_length=hop
    )

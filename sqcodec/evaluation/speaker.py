"""Speaker similarity: the cosine of Resemblyzer's embeddings (GE2E, Wan et al. 2018; weights in the wheel)."""

from __future__ import annotations

import sys
import types
from functools import lru_cache
from typing import Any

import numpy as np

from .extras import require
from .scorers import Metric, Pair, scorer


@lru_cache(maxsize=1)
def _encoder() -> Any:
    """The encoder. The package imports, for trimming silence only, a voice detector that needs an old setuptools and
    a SciPy module that is gone: stand-ins take their place during the import."""
    names = ("webrtcvad", "scipy.ndimage.morphology")
    added = [name for name in names if name not in sys.modules]
    for name in added:
        sys.modules[name] = types.ModuleType(name)
    sys.modules["scipy.ndimage.morphology"].__dict__.setdefault("binary_dilation", None)
    try:
        package = require("resemblyzer", "speaker", "Speaker similarity")
    finally:
        for name in added:
            del sys.modules[name]
    return package.VoiceEncoder("cpu", verbose=False)


@scorer(Metric("speaker", "speaker", True, digits=3), packages=("resemblyzer",), extra="speaker", check=_encoder)
def speaker_similarity(pair: Pair) -> dict[str, float]:
    """Cosine similarity of reference and decoded signal, 1 for the same voice. Levels are brought to -30 dBFS."""
    if "speaker" not in pair.cache:
        pair.cache["speaker"] = _embed(pair.reference)
    return {"speaker": float(pair.cache["speaker"] @ _embed(pair.decoded))}


def _embed(samples: np.ndarray) -> np.ndarray:
    """A unit vector. Silences stay in: what is compared is the same clip."""
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return _encoder().embed_utterance(np.float32(samples * (10 ** (-30 / 20) / max(level, 1e-9))))

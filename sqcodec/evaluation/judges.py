"""Is it speech? What two judges that need no reference say of a folder of recordings.

DNSMOS P.835 hears quality. Whisper's confidence in its own transcript says whether words are heard at all: the mean
log-probability of its tokens, its chance of "no speech", and how many words a second it writes down.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sqcodec.audio import SUFFIXES, load

from .opinion import dnsmos
from .recognition import normalise, recogniser
from .scorers import REFERENCE_RATE, Pair


def judge_folder(folder: str | Path) -> dict[str, float]:
    """Means over the recordings right under a folder; 95 % intervals of the means (normal) as ``..._interval``.

    Raises:
        ValueError: no recordings.
        MissingExtra: a judge is not installed.
    """
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"No recordings in '{folder}'.")
    rows = [_judge(load(path, REFERENCE_RATE)[0].mean(axis=0)) for path in paths]
    result: dict[str, float] = {"clips": float(len(rows))}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        result[name] = float(values.mean())
        result[f"{name}_interval"] = float(1.96 * values.std(ddof=1) / np.sqrt(len(values))) if len(rows) > 1 else 0.0
    return result


def _judge(samples: np.ndarray) -> dict[str, float]:
    pair = Pair(samples, samples, REFERENCE_RATE)
    segments, _ = recogniser().transcribe(
        np.float32(samples), beam_size=1, temperature=0.0, condition_on_previous_text=False,
        language="en", no_speech_threshold=None, log_prob_threshold=None, compression_ratio_threshold=None,
    )  # fmt: skip
    found = list(segments)
    seconds = np.array([max(segment.end - segment.start, 0.1) for segment in found] or [1.0])
    logs = np.array([segment.avg_logprob for segment in found] or [-5.0])
    silent = np.array([segment.no_speech_prob for segment in found] or [1.0])
    words = len(normalise(" ".join(segment.text for segment in found)).split())
    return {
        **dnsmos(pair),
        "log_probability": float((logs * seconds).sum() / seconds.sum()),
        "no_speech": float((silent * seconds).sum() / seconds.sum()),
        "words_per_second": words / (len(samples) / REFERENCE_RATE),
    }

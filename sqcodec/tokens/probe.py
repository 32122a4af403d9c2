"""What a linear classifier reads out of tokens: who speaks.

Each stretch of three seconds is described by what tokens alone give without training: the frequencies of the digits of
each dimension, and the mean and deviation of the quantizer's codes and of their steps. Stretches of a speaker's clips
train a logistic regression (`scikit-learn`), those of his other clips test it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sqcodec.codec import Codec
from sqcodec.evaluation.statistics import bootstrap_mean
from sqcodec.extras import require
from sqcodec.quantizers import NestedFSP
from sqcodec.quantizers.nested import bits_by_dimension
from sqcodec.vocabulary.factors import split_tokens

SECONDS = 3.0
MOST_DIGITS = 64
"""Levels above this are no frequencies: the codes alone describe such a codebook."""


@dataclass(frozen=True)
class SpeakerProbe:
    """Share of test stretches whose speaker was told, with its interval over speakers; ``chance``: of the speaker with
    the most of them."""

    accuracy: float
    low: float
    high: float
    chance: float
    speakers: int
    stretches: int


def probe_speakers(
    codec: Codec, streams: Sequence[np.ndarray], speakers: Sequence[str], bits: int | None = None
) -> SpeakerProbe | None:
    """Tokens [N] and speaker of each clip. None where fewer than two speakers have two clips that are long enough.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    require("sklearn", "lm", "The speaker probe")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    length = round(SECONDS * codec.token_rate)
    clips: dict[str, list[list[np.ndarray]]] = {}
    for stream, speaker in zip(streams, speakers, strict=True):
        parts = [stream[start : start + length] for start in range(0, len(stream) - length + 1, length)]
        if speaker and parts:
            clips.setdefault(speaker, []).append([_describe(codec, part, bits) for part in parts])
    clips = {speaker: found for speaker, found in clips.items() if len(found) > 1}
    if len(clips) < 2:
        return None
    sets: tuple[list[tuple[np.ndarray, str]], list[tuple[np.ndarray, str]]] = ([], [])
    for speaker, found in clips.items():
        for index, parts in enumerate(found):
            sets[index % 2].extend((part, speaker) for part in parts)
    (x, y), (test_x, test_y) = ((np.stack([v for v, _ in part]), np.array([s for _, s in part])) for part in sets)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    model.fit(x, y)
    _, counts = np.unique(test_y, return_counts=True)
    told = bootstrap_mean(model.predict(test_x) == test_y, list(test_y))
    return SpeakerProbe(told.mean, told.low, told.high, float(counts.max() / counts.sum()), len(clips), len(test_y))


def _describe(codec: Codec, tokens: np.ndarray, bits: int | None) -> np.ndarray:
    """Numbers for a stretch of tokens [N]."""
    codes, values = codes_of(codec, tokens, bits), numbers(codec, tokens, bits)
    return np.concatenate([values.mean(axis=0), codes.std(axis=0), np.diff(codes, axis=0).std(axis=0)])


def numbers(codec: Codec, tokens: np.ndarray, bits: int | None = None) -> np.ndarray:
    """What a linear classifier may read of tokens [N], [N, F]: their codes, and 1 for the digit of each dimension."""
    levels, digits = dimension_levels(codec, bits), np.zeros((len(tokens), 0), np.int64)
    quantizer = codec.network.quantizer
    if isinstance(quantizer, NestedFSP):
        indices = torch.from_numpy(np.int64(tokens)).to(codec.device)
        digits = quantizer.split(indices, quantizer.checked_bits(bits)).long().cpu().numpy()
    elif levels:
        digits = split_tokens(tokens, levels)
    hot = [np.eye(count)[digits[:, place]] for place, count in enumerate(levels) if count <= MOST_DIGITS]
    return np.concatenate([codes_of(codec, tokens, bits), *hot], axis=1)


def dimension_levels(codec: Codec, bits: int | None = None) -> tuple[int, ...]:
    """Levels of each dimension of the quantizer; none of a codebook."""
    quantizer = codec.network.quantizer
    if isinstance(quantizer, NestedFSP):
        return tuple(2**n for n in bits_by_dimension(quantizer.checked_bits(bits), quantizer.dim))
    return tuple(codec.levels or ())


@torch.inference_mode()
def codes_of(codec: Codec, tokens: np.ndarray, bits: int | None = None) -> np.ndarray:
    """Of tokens [N]: [N, D]."""
    quantizer = codec.network.quantizer.at(bits)
    return quantizer.lookup(torch.from_numpy(np.int64(tokens))[None].to(codec.device))[0].cpu().numpy()

"""What a language model must beat: unigram and bigram models of the same tokens.

With K in the hundred thousands a count of tokens alone says little, so both are mixtures of everything that counting
can give, down to the digits, with the weights that suit a held-out tenth of the training clips best (EM):

    unigram   token counts, a product of digit counts, uniform
    bigram    those, token pairs, and a product over digits of p(digit | the same digit of the token before)

What they score on other clips is a cross-entropy, comparable with the language model's, unlike the entropy of counts,
which falls short where there are few tokens for each code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sqcodec.vocabulary.factors import split_tokens

HELD_OUT = 10


@dataclass(frozen=True)
class Baselines:
    """Bits a token of validation clips; ``entropy``: of the training counts (plug-in, an underestimate)."""

    unigram: float
    bigram: float
    entropy: float


def score_baselines(train: Sequence[np.ndarray], validation: Sequence[np.ndarray], levels: Sequence[int]) -> Baselines:
    """Fits on token streams [N] of training clips, scores validation clips. First tokens of clips are not scored by
    either, for they have no token before."""
    held = [stream for index, stream in enumerate(train) if index % HELD_OUT == 0]
    rest = [stream for index, stream in enumerate(train) if index % HELD_OUT]
    counts = _Counts(rest, levels)
    fitted = [_fit(counts.parts(held, bigram)) for bigram in (False, True)]
    full = _Counts(train, levels)
    bits = [
        float(-np.log2(full.parts(validation, bigram) @ weights).mean())
        for bigram, weights in zip((False, True), fitted, strict=True)
    ]
    _, occurrences = np.unique(np.concatenate(list(train)), return_counts=True)
    shares = occurrences / occurrences.sum()
    return Baselines(bits[0], bits[1], float(-(shares * np.log2(shares)).sum()))


class _Counts:
    """Counts of tokens, digits, and pairs of each."""

    def __init__(self, streams: Sequence[np.ndarray], levels: Sequence[int]) -> None:
        self.levels, self.size = levels, math.prod(levels)
        tokens = np.concatenate([np.asarray(stream, np.int64) for stream in streams])
        self.tokens = np.bincount(tokens, minlength=self.size)
        digits = split_tokens(tokens, levels)
        self.digits = [_share(np.bincount(digits[:, d], minlength=count)) for d, count in enumerate(levels)]
        before, after = _pairs(streams)
        self.pairs, self.pair_counts = np.unique(before * self.size + after, return_counts=True)
        self.before = np.bincount(before, minlength=self.size)
        old, new = split_tokens(before, levels), split_tokens(after, levels)
        self.digit_pairs = []
        for d, count in enumerate(levels):
            table = np.bincount(old[:, d] * count + new[:, d], minlength=count * count).reshape(count, count)
            self.digit_pairs.append(_share(table))

    def parts(self, streams: Sequence[np.ndarray], bigram: bool) -> np.ndarray:
        """The probability that each part gives each token with one before it, [tokens, parts]."""
        before, after = _pairs(streams)
        old, new = split_tokens(before, self.levels), split_tokens(after, self.levels)
        dimensions = range(len(self.levels))
        parts = [
            np.full(len(after), 1 / self.size),
            np.prod([self.digits[d][new[:, d]] for d in dimensions], axis=0),
            self.tokens[after] / self.tokens.sum(),
        ]
        if bigram:
            keys = before * self.size + after
            places = np.minimum(np.searchsorted(self.pairs, keys), len(self.pairs) - 1)
            found = np.where(self.pairs[places] == keys, self.pair_counts[places], 0)
            parts.append(found / np.maximum(self.before[before], 1))
            parts.append(np.prod([self.digit_pairs[d][old[:, d], new[:, d]] for d in dimensions], axis=0))
        return np.stack(parts, axis=1)


def _pairs(streams: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    arrays = [np.asarray(stream, np.int64) for stream in streams]
    return np.concatenate([array[:-1] for array in arrays]), np.concatenate([array[1:] for array in arrays])


def _share(counts: np.ndarray) -> np.ndarray:
    """Add-one estimates along the last axis."""
    return (counts + 1) / (counts + 1).sum(axis=-1, keepdims=True)


def _fit(parts: np.ndarray, rounds: int = 50) -> np.ndarray:
    """Mixture weights of highest likelihood, by EM; a trace stays with the uniform part, so that nothing is
    impossible."""
    weights = np.full(parts.shape[1], 1 / parts.shape[1])
    for _ in range(rounds):
        joint = parts * weights
        weights = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
        weights = np.maximum(weights, 1e-6)
        weights /= weights.sum()
    return weights

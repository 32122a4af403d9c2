"""What is left to say of a token when the one or two before it are known: ideal codes of order 0, 1 and 2.

With K in the hundred thousands a count of tokens alone says little: most pairs are new. So the code of each order is a
mixture of everything that counting can give, down to the digits of the quantizer, with the weights that suit a held-out
tenth of the training clips best (EM):

    order 0   uniform, a product of digit counts, token counts
    order 1   those, pairs of tokens, and a product over digits of p(digit | the same digit of the token before)
    order 2   those, triples of tokens, and p(digit | the same digit of the two tokens before)

Its cost on other clips is a cross-entropy: a code that exists. The entropy of the counts themselves (plug-in) is what
is often quoted; it falls short where there are few tokens for each code. A clip's first two tokens are not scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sqcodec.evaluation.codebook import entropy
from sqcodec.vocabulary.factors import split_tokens

HELD_OUT = 10
MOST_CELLS = 2**22
"""Tables of digits larger than this are left out: the digits of a large codebook without levels are its tokens."""

Streams = Sequence[np.ndarray]


@dataclass(frozen=True)
class Orders:
    """Bits a token of the validation clips at order 0, 1, 2; ``plug_in``: entropies of the training clips' counts."""

    bits: tuple[float, float, float]
    plug_in: tuple[float, float, float]
    tokens: int


def score_orders(train: Streams, validation: Streams, levels: Sequence[int]) -> Orders:
    """Fits on token streams [N] of some clips, scores others.

    Args:
        levels: of the quantizer; (K,) for a codebook without.
    Raises:
        ValueError: fewer than two training clips of three tokens, or no such validation clip.
    """
    usable = [[np.asarray(s, np.int64) for s in part if len(s) > 2] for part in (train, validation)]
    if len(usable[0]) < 2 or not usable[1]:
        raise ValueError(
            f"{len(usable[0])} clips to count and {len(usable[1])} to score, of 3 tokens or more: 2 and 1 are needed."
        )
    held = [s for index, s in enumerate(usable[0]) if index % HELD_OUT == 0]
    rest = [s for index, s in enumerate(usable[0]) if index % HELD_OUT]
    trial, full = _Counts(rest, levels), _Counts(usable[0], levels)
    bits = []
    for order in range(3):
        weights = _fit(trial.parts(held, order))
        bits.append(float(-np.log2(full.parts(usable[1], order) @ weights).mean()))
    plug_in = tuple(_plug_in(usable[0], order) for order in range(3))
    scored = sum(len(s) - 2 for s in usable[1])
    return Orders((bits[0], bits[1], bits[2]), (plug_in[0], plug_in[1], plug_in[2]), scored)


class _Counts:
    """N-grams of tokens, and of each digit, for n = 1, 2, 3."""

    def __init__(self, streams: Streams, levels: Sequence[int]) -> None:
        self.levels, self.size = tuple(levels), math.prod(levels)
        self.tokens = [_Table(_grams(streams, n), self.size) for n in (1, 2, 3)]
        self.digits = []
        for n in (1, 2, 3):
            small = all(count**n <= MOST_CELLS for count in levels)
            digits = split_tokens(_grams(streams, n), levels) if small else None
            self.digits.append(None if digits is None else [
                _dense(digits[..., d], count) for d, count in enumerate(levels)
            ])  # fmt: skip

    def parts(self, streams: Streams, order: int) -> np.ndarray:
        """What each part of the mixture gives each token from the third on, [tokens, parts]."""
        grams = _grams(streams, 3)
        digits = split_tokens(grams, self.levels)
        parts = [np.full(len(grams), 1 / self.size)]
        for n in range(1, order + 2):
            parts.append(self.tokens[n - 1].chances(grams[:, 3 - n :]))
            if (tables := self.digits[n - 1]) is not None:
                factors = [table[tuple(digits[:, 3 - n :, d].T)] for d, table in enumerate(tables)]
                parts.append(np.prod(factors, axis=0))
        return np.stack(parts, axis=1)


class _Table:
    """Counts of n-grams [M, n] as sorted keys."""

    def __init__(self, grams: np.ndarray, size: int) -> None:
        self._size = size
        self._keys, self._counts = np.unique(_key(grams, size), return_counts=True)
        self._before, self._totals = np.unique(_key(grams[:, :-1], size), return_counts=True)

    def chances(self, grams: np.ndarray) -> np.ndarray:
        """count(gram) / count(all but its last); 0 where that was never seen."""
        found = _look_up(self._keys, self._counts, _key(grams, self._size))
        return found / np.maximum(_look_up(self._before, self._totals, _key(grams[:, :-1], self._size)), 1)


def _key(grams: np.ndarray, size: int) -> np.ndarray:
    """One number for each gram. Of three tokens of a K above 2 million it would overflow: none is that large."""
    key = np.zeros(len(grams), np.int64)
    for column in grams.T:
        key = key * size + column
    return key


def _look_up(keys: np.ndarray, counts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, counts[places], 0)


def _grams(streams: Streams, n: int) -> np.ndarray:
    """All runs of n tokens within clips, [M, n]."""
    windows = [np.lib.stride_tricks.sliding_window_view(stream, n) for stream in streams if len(stream) >= n]
    return np.concatenate(windows)


def _dense(grams: np.ndarray, count: int) -> np.ndarray:
    """p(last | the others) as a table of n dimensions, add-one."""
    n = grams.shape[1]
    cells = np.bincount(_key(grams, count), minlength=count**n).reshape((count,) * n) + 1.0
    return cells / cells.sum(axis=-1, keepdims=True)


def _fit(parts: np.ndarray, rounds: int = 60) -> np.ndarray:
    """Mixture weights of highest likelihood, by EM; a trace stays with every part, so that nothing is impossible."""
    weights = np.full(parts.shape[1], 1 / parts.shape[1])
    for _ in range(rounds):
        joint = parts * weights
        weights = np.maximum((joint / joint.sum(axis=1, keepdims=True)).mean(axis=0), 1e-6)
        weights /= weights.sum()
    return weights


def _plug_in(streams: Streams, order: int) -> float:
    """Entropy of a token given ``order`` tokens before it, of the counts themselves, in bits."""
    grams = _grams(streams, order + 1)
    return entropy(grams) - (entropy(grams[:, :-1]) if order else 0.0)

"""A token as digits: with FSQ and FSP levels (7, 7, 7, 7, 7, 7), one of 117,649 codes is six symbols of 7 values.

Digit d of a token is (token // (L_1 ... L_(d-1))) mod L_d, as in the quantizer. *Symbols* number the digits of all
dimensions through: digit v of dimension d is the symbol L_1 + ... + L_(d-1) + v, so that 42 numbers write any token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def split_tokens(tokens: np.ndarray, levels: Sequence[int]) -> np.ndarray:
    """Tokens [...] to digits int64 [..., D]. ValueError for a token outside 0 to K - 1."""
    tokens = np.asarray(tokens, np.int64)
    check_range(tokens, math.prod(levels), "token")
    return tokens[..., None] // _basis(levels) % np.asarray(levels)


def join_digits(digits: np.ndarray, levels: Sequence[int]) -> np.ndarray:
    """Digits [..., D] to tokens int64 [...]. ValueError for a digit outside its levels."""
    digits = np.asarray(digits, np.int64)
    if digits.shape[-1:] != (len(levels),):
        raise ValueError(f"Digits have shape {list(digits.shape)}: the last dimension must be {len(levels)}.")
    for position, count in enumerate(levels):
        check_range(digits[..., position], count, f"digit {position}")
    return (digits * _basis(levels)).sum(axis=-1)


def to_symbols(tokens: np.ndarray, levels: Sequence[int]) -> np.ndarray:
    """Tokens [N] to symbols int64 [N D], the digits of each token in their order."""
    return (split_tokens(tokens, levels) + symbol_offsets(levels)).reshape(-1)


def from_symbols(symbols: np.ndarray, levels: Sequence[int]) -> np.ndarray:
    """Symbols [N D] to tokens int64 [N]. ValueError where they are not whole tokens."""
    symbols = np.asarray(symbols, np.int64).reshape(-1)
    if len(symbols) % len(levels):
        raise ValueError(f"{len(symbols)} symbols are not whole tokens of {len(levels)}.")
    return join_digits(symbols.reshape(-1, len(levels)) - symbol_offsets(levels), levels)


def symbol_offsets(levels: Sequence[int]) -> np.ndarray:
    """The first symbol of each dimension, int64 [D]."""
    return np.cumsum([0, *levels[:-1]])


def check_range(values: np.ndarray, count: int, what: str) -> None:
    """ValueError unless all values lie in 0 to count - 1."""
    if values.size and not (0 <= values.min() and values.max() < count):
        raise ValueError(f"A {what} lies outside 0 to {count - 1}: they span {values.min()} to {values.max()}.")


def _basis(levels: Sequence[int]) -> np.ndarray:
    return np.cumprod([1, *levels[:-1]])

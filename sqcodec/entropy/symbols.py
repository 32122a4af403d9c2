"""A token as a sequence of symbols: the digits of its levels, or its bits from the highest.

Letters: S symbols of a token, A symbols of an alphabet.
"""

from __future__ import annotations

import math

import numpy as np

from sqcodec.config import ModelConfig

LARGEST_ALPHABET = 256
MOST_SYMBOLS = 64


def alphabets_of(config: ModelConfig) -> tuple[int, ...]:
    """Symbols of the finest tokens of a model. Raises ValueError where its tokens have none."""
    quantizer = config.quantizer
    if quantizer.bits:
        return (2,) * quantizer.bits[2]
    if quantizer.kind in ("fsp", "fsq") and max(quantizer.levels) <= LARGEST_ALPHABET:
        return tuple(quantizer.levels)
    raise ValueError(
        f"tokens of the quantizer {quantizer.kind!r} cannot be entropy coded: allowed are fsp and fsq of at most "
        f"{LARGEST_ALPHABET} levels, nested and vp_tree"
    )


def symbol_count(alphabets: tuple[int, ...], codebook_size: int, levels: tuple[int, ...] | None) -> int | None:
    """How many of the symbols tokens of K codes have: all of the levels, or the leading bits; None if neither."""
    if levels and math.prod(levels) == codebook_size and tuple(levels) == alphabets:
        return len(alphabets)
    bits = codebook_size.bit_length() - 1
    if set(alphabets) == {2} and codebook_size == 2**bits and 1 <= bits <= len(alphabets):
        return bits
    return None


def split(tokens: np.ndarray, alphabets: tuple[int, ...], count: int) -> np.ndarray:
    """Tokens [...] of ``count`` symbols to symbols int64 [..., count]."""
    radix, basis = _radix(alphabets, count)
    return tokens[..., None] // basis % radix


def join(symbols: np.ndarray, alphabets: tuple[int, ...]) -> np.ndarray:
    """Symbols [..., count] to tokens int64 [...]."""
    _, basis = _radix(alphabets, symbols.shape[-1])
    return (symbols * basis).sum(axis=-1)


def _radix(alphabets: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Alphabets [count] and what a symbol of each is worth: levels have the lowest digit first, bits the highest."""
    radix = np.array(alphabets[:count], np.int64)
    basis = np.concatenate([[1], np.cumprod(radix)[:-1]])
    return radix, basis[::-1].copy() if set(alphabets) == {2} else basis

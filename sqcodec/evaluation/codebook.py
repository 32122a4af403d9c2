"""How a system uses its codebook: the tokens of a whole run, counted.

K is the codebook's size; H the entropy of the token frequencies. CVU = exp(H) / K with H in nats (VP-VAE,
arXiv 2602.17133, section on codebook utilisation) is perplexity / K. With fewer tokens than a few times K all of
these are underestimates: a perplexity cannot exceed the number of tokens counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CURVE_POINTS = 200


@dataclass(frozen=True)
class CodebookUse:
    """`used` codes of K occurred among `num_tokens`; `entropy` in bits a token; `bigram_entropy`, in bits a token,
    that of a token given the one before. `curve`: rank of a code, most frequent first, and its share of the tokens,
    at ranks spread evenly on a logarithmic scale."""

    codebook_size: int
    num_tokens: int
    used: int
    entropy: float
    perplexity: float
    cvu: float
    bigram_entropy: float
    curve: list[tuple[int, float]]


def codebook_use(streams: list[np.ndarray], codebook_size: int) -> CodebookUse:
    """Counts token streams [N]. Raises ValueError for no tokens, or one outside [0, K)."""
    streams = [np.asarray(stream, np.int64).reshape(-1) for stream in streams]
    tokens = np.concatenate(streams) if streams else np.zeros(0)
    if not len(tokens):
        raise ValueError("No tokens to count.")
    if tokens.min() < 0 or tokens.max() >= codebook_size:
        raise ValueError(f"Tokens {tokens.min()} to {tokens.max()} do not fit a codebook of {codebook_size}.")
    before, after = (np.concatenate([stream[part] for stream in streams]) for part in (slice(-1), slice(1, None)))
    _, counts = np.unique(tokens, return_counts=True)
    bits = entropy(tokens)
    shares = np.sort(counts)[::-1] / len(tokens)
    points = np.unique(np.geomspace(1, len(counts), _CURVE_POINTS).astype(int))
    return CodebookUse(
        codebook_size=codebook_size,
        num_tokens=len(tokens),
        used=len(counts),
        entropy=bits,
        perplexity=float(2**bits),
        cvu=float(2**bits / codebook_size),
        bigram_entropy=entropy(before * codebook_size + after) - entropy(before),
        curve=[(int(rank), float(shares[rank - 1])) for rank in points],
    )


def entropy(values: np.ndarray) -> float:
    """Of how often each of them, or each row of [M, n], occurs: bits; 0 of none."""
    _, counts = np.unique(values, axis=0 if values.ndim > 1 else None, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())

"""How a system uses its codebook: the tokens of a whole run, counted.

K is the codebook's size; H the entropy of the token frequencies. CVU = exp(H) / K with H in nats (VP-VAE,
arXiv 2602.17133, section on codebook utilisation) is perplexity / K. With fewer tokens than a few times K all of
these are underestimates: a perplexity cannot exceed the number of tokens counted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

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

    def to_dict(self) -> dict:
        return asdict(self)


def codebook_use(streams: list[np.ndarray], codebook_size: int) -> CodebookUse:
    """Counts token streams [N]. Raises ValueError for no tokens, or one outside [0, K)."""
    empty = np.zeros(0, np.int64)
    tokens = np.concatenate([empty, *(np.asarray(stream, np.int64).reshape(-1) for stream in streams)])
    if not len(tokens):
        raise ValueError("No tokens to count.")
    if tokens.min() < 0 or tokens.max() >= codebook_size:
        raise ValueError(f"Tokens {tokens.min()} to {tokens.max()} do not fit a codebook of {codebook_size}.")
    _, counts = np.unique(tokens, return_counts=True)
    entropy = _entropy(counts)
    pairs = np.concatenate([_pairs(stream, codebook_size) for stream in streams])
    first = np.concatenate([np.asarray(stream).reshape(-1)[:-1] for stream in streams])
    conditional = 0.0
    if len(pairs):
        conditional = _entropy(np.unique(pairs, return_counts=True)[1]) - _entropy(
            np.unique(first, return_counts=True)[1]
        )
    shares = np.sort(counts)[::-1] / len(tokens)
    points = np.unique(np.geomspace(1, len(counts), _CURVE_POINTS).astype(int))
    return CodebookUse(
        codebook_size=codebook_size,
        num_tokens=len(tokens),
        used=len(counts),
        entropy=entropy,
        perplexity=float(2**entropy),
        cvu=float(2**entropy / codebook_size),
        bigram_entropy=conditional,
        curve=[(int(rank), float(shares[rank - 1])) for rank in points],
    )


def _pairs(stream: np.ndarray, codebook_size: int) -> np.ndarray:
    flat = np.asarray(stream, np.int64).reshape(-1)
    return flat[:-1] * codebook_size + flat[1:]


def _entropy(counts: np.ndarray) -> float:
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())

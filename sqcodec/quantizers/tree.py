"""Vector quantizer for many bit rates: VP (arXiv 2602.17133) whose codes are the leaves of a binary tree.

A token of b bits is a node at depth b; its code is the mean of the leaves below, its first bits are the nodes above. So
tokens can be cut as those of ``NestedFSP`` can. In training each segment draws a number of bits, and is perturbed as
among so many codes. Letters: B batch, N tokens, C feature channels, D code dimensions, K = 2^highest leaves.
"""

from __future__ import annotations

from torch import Tensor

from sqcodec.quantizers.base import ManyRates
from sqcodec.quantizers.kmeans import halved
from sqcodec.quantizers.vector import VectorQuantizer


class TreeQuantizer(ManyRates, VectorQuantizer):
    """VP with 2^b codes, for any b from ``lowest`` to ``highest`` bits a token.

    Args:
        feature_dim: C.
        code_dim: D.
        bits: (lowest, default, highest); ``encode`` gives default bits where nobody asks for others.
    """

    def __init__(self, feature_dim: int, code_dim: int, bits: tuple[int, int, int]) -> None:
        super().__init__(feature_dim, code_dim, 2 ** bits[2])
        self.set_bits(bits)

    def set_codebook(self, codes: Tensor) -> None:
        """Use these codes [K, D], in an order of its own."""
        super().set_codebook(codes[halved(codes, len(codes))] if codes.shape == self.codebook.shape else codes)

    def _sizes(self, latents: Tensor) -> Tensor:
        return self.powers[self.drawn_bits(latents)].flatten()

    def nearest(self, latents: Tensor, bits: int | None = None) -> Tensor:
        """Latents [B, N, D] to tokens [B, N] of ``bits``: the node above the nearest leaf."""
        return VectorQuantizer.nearest(self, latents) // 2 ** (self.highest - self.checked_bits(bits))

    def lookup(self, indices: Tensor, bits: int | None = None) -> Tensor:
        """Tokens [B, N] of ``bits`` to codes [B, N, D]."""
        self.check_fitted()
        bits = self.checked_bits(bits)
        self.check_indices(indices, 2**bits)
        return self.codebook.float().view(2**bits, -1, self.codebook.shape[1]).mean(dim=1)[indices.long()]

"""Nested FSP: one scalar quantizer for many bit rates, whose tokens can be cut to fewer bits.

Finite scalar perturbation (arXiv 2602.17133) cuts the unit interval into equal cells. Where their number is a power
of two, the cells of a coarse grid are unions of those of a fine one: floor(8 a) >> 1 = floor(4 a). So a token that
holds the leading bits of every dimension first is an embedded code: its first b bits are the token at b bits. In
training each segment draws a number of bits.

Letters: B batch, N tokens, C feature channels, D code dimensions, b bits of a token.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sqcodec.distributed import shared_rand
from sqcodec.quantizers.base import ManyRates, QuantizerOutput, straight_through
from sqcodec.quantizers.scalar import FSP


def bits_by_dimension(bits: int, dim: int) -> tuple[int, ...]:
    """Bits of each dimension in a token of ``bits``: one after the other gets its next, the first ones first."""
    return tuple(bits // dim + (index < bits % dim) for index in range(dim))


class NestedFSP(ManyRates, FSP):
    """FSP with 2^b codes, for any b from ``lowest`` to ``highest`` bits a token.

    Bit r of a token, the highest being bit 0, is bit r // D (again from the highest) of dimension r % D. The code is
    the middle of the cell, and beside it the decoder is told the cell's size in each dimension: both are projected to
    features. A dimension without bits has code 0 and size 1, and so has every dimension of a token that was lost.

    Args:
        feature_dim: C.
        dim: D.
        bits: (lowest, default, highest); ``encode`` gives default bits where nobody asks for others.
        noise_rate, activation: as of ``FSP``.
    """

    lost_rate, lost_burst = 0.0, 1
    """Share of the training segments that lose tokens, and how many in a row at most; the trainer sets them."""
    level_table: Tensor
    spread: Tensor
    dimensions: Tensor
    worth: Tensor

    def __init__(
        self,
        feature_dim: int,
        dim: int,
        bits: tuple[int, int, int],
        noise_rate: float = 0.5,
        activation: str = "tanh",
    ) -> None:
        levels = tuple(2**count for count in bits_by_dimension(bits[2], dim))
        super().__init__(feature_dim, levels, noise_rate, activation)
        self.set_bits(bits)
        self.dim = dim
        # What the decoder is told of the cells starts at zero, so that a network that was not told can go on.
        wide = torch.zeros(feature_dim, 2 * dim)
        wide[:, :dim] = self.project_out.weight.detach()
        self.project_out = torch.nn.Linear(2 * dim, feature_dim)
        with torch.no_grad():
            self.project_out.weight.copy_(wide)
        table = [[float(2**count) for count in bits_by_dimension(number, dim)] for number in range(self.highest + 1)]
        self.register_buffer("level_table", torch.tensor(table), persistent=False)
        # What each bit of a finest token, the lowest first, is worth in the digit of its dimension.
        worth = torch.zeros(self.highest, dim)
        for rank in range(self.highest):
            worth[self.highest - 1 - rank, rank % dim] = levels[rank % dim] >> (rank // dim + 1)
        self.register_buffer("worth", worth, persistent=False)
        # What each digit contributes to a token: its bits at their places.
        spread = torch.zeros(dim, max(levels), dtype=torch.int64)
        for rank in range(self.highest):
            digit = torch.arange(levels[rank % dim])
            bit = digit // (levels[rank % dim] >> (rank // dim + 1)) % 2
            spread[rank % dim, : len(digit)] += bit << (self.highest - 1 - rank)
        self.register_buffer("spread", spread, persistent=False)
        self.register_buffer("dimensions", torch.arange(dim), persistent=False)

    @property
    def lost_code(self) -> Tensor:
        nothing = torch.zeros(self.dim, device=self.powers.device)
        return self.with_sizes(nothing, torch.ones_like(nothing))

    def levels_of(self, bits: int | Tensor) -> Tensor:
        """Levels [..., D], float32, of tokens with so many bits (int64 [...])."""
        return self.level_table.float()[bits]

    def forward(self, features: Tensor, blend: Tensor | None = None) -> QuantizerOutput:
        with torch.autocast(features.device.type, enabled=False):
            latents = self.latents(features)
            counts = self.levels_of(self.drawn_bits(latents) if self.training else self.default)
            positions = self.positions(latents, counts)
            digits = self.digits(positions, counts)
            seen = self.perturb(positions, digits, counts) if self.training else straight_through(digits, positions)
            if blend is not None:
                seen = positions + blend * (seen - positions)
            if self.training and self.lost_rate:
                lost = self._lost(latents)[..., None]
                counts = torch.where(lost, 1.0, counts)
                seen = torch.where(lost, 0.0, seen)
            output = self.features(self.with_sizes(self.codes(seen, counts), counts), features.dtype)
            metrics = {
                "latent_mean": latents.detach().mean(),
                "latent_deviation": latents.detach().std(correction=0),
            }
            return QuantizerOutput(output, self.nearest(latents.detach()), self.norm_loss(latents, positions), metrics)

    def cut(self, features: Tensor, bits: int) -> Tensor:
        """Features [B, N, C] to what the decoder sees of their tokens of ``bits`` [B, N, C], with a straight-through
        gradient."""
        with torch.autocast(features.device.type, enabled=False):
            counts = self.levels_of(self.checked_bits(bits))
            positions = self.positions(self.latents(features), counts)
            seen = straight_through(self.digits(positions, counts), positions)
            return self.features(self.with_sizes(self.codes(seen, counts), counts), features.dtype)

    def _lost(self, latents: Tensor) -> Tensor:
        """Which tokens [B, N] are lost: bursts of 1 to ``lost_burst``, a burst begins at one token in 25."""
        batch, count, _ = latents.shape
        drawn = shared_rand(batch, count, 2, device=latents.device)
        length = torch.where(drawn[..., 0] < 0.04, 1 + (drawn[..., 1] * self.lost_burst).floor(), 0.0)
        length = length * (shared_rand(batch, 1, device=latents.device) < self.lost_rate)
        lost = length > 0
        for back in range(1, min(self.lost_burst, count)):
            lost = lost | F.pad(length[:, :-back] > back, (back, 0))
        return lost

    def with_sizes(self, codes: Tensor, counts: Tensor) -> Tensor:
        """Codes [B, N, D] and beside them the sizes of their cells [B, N, 2 D]."""
        return torch.cat([codes, counts.reciprocal().expand_as(codes)], dim=-1)

    def norm_loss(self, latents: Tensor, positions: Tensor) -> Tensor:
        assert self.activation != "cauchy"
        return super().norm_loss(latents, positions)

    def nearest(self, latents: Tensor, bits: int | None = None) -> Tensor:
        """Latents [B, N, D] to tokens [B, N] of ``bits`` (default: ``self.default``)."""
        fine = self.digits(self.positions(latents)).long()
        return self.join(fine) // 2 ** (self.highest - self.checked_bits(bits))

    def lookup(self, indices: Tensor, bits: int | None = None) -> Tensor:
        """Tokens [B, N] of ``bits`` to codes and sizes [B, N, 2 D]."""
        bits = self.checked_bits(bits)
        self.check_indices(indices, 2**bits)
        return self.codes_of(indices, bits)

    def codes_of(self, indices: Tensor, bits: int | Tensor) -> Tensor:
        """``lookup`` without its checks."""
        counts = self.levels_of(bits)
        return self.with_sizes(self.codes(self.split(indices, bits), counts), counts)

    def join(self, digits: Tensor) -> Tensor:
        """Digits [..., D] at the highest number of bits to tokens [...]."""
        return self.spread[self.dimensions, digits].sum(dim=-1)

    def split(self, indices: Tensor, bits: int | Tensor) -> Tensor:
        """Tokens [...] of ``bits`` to digits [..., D], float32, each of as many bits as its dimension has."""
        finest = indices * self.powers[self.highest - bits]
        digits = (finest.unsqueeze(-1) // self.powers[:-1] % 2).float() @ self.worth.float()
        return digits * (self.levels_of(bits) / self.levels_of(self.highest))

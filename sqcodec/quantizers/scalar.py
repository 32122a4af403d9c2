"""Scalar quantizers: each latent dimension is rounded to one of a few levels; there is no codebook.

- FSQ, finite scalar quantisation (arXiv 2309.15505) with the hybrid noise of SQCodec ("taae_fsq", after
  arXiv 2411.19842) or of L3AC ("super_fsq"), arXiv 2504.04949: rounded levels reach the edges of the range.
- FSP, finite scalar perturbation (VP-VAE, arXiv 2602.17133): latents are mapped to (0, 1) by a distribution
  function, so that equal cells are equally likely, and levels are the midpoints of the cells.

Letters: B batch, N tokens, C feature channels, D code dimensions, L levels of a dimension.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from sqcodec.distributed import shared_rand
from sqcodec.quantizers.base import Quantizer, QuantizerOutput, join_digits, split_digits, straight_through
from sqcodec.quantizers.norm import norm_loss

TARGET_VARIANCE = {
    "tanh": math.pi**2 / 12,
    "normal": 1.0,
    "sigmoid": math.pi**2 / 3,
    "laplace": 2.0,
    "cauchy": 1.0,
}
"""Variance of a latent that g makes uniform. Cauchy has none: there it is the variance of FSP's code."""

UNIFORM_DEVIATION = math.sqrt(1 / 12)


class ScalarQuantizer(Quantizer):
    """Rounds each latent dimension by itself. A subclass says how latents map to positions and digits.

    A *position* is a latent on the scale where neighbouring levels are 1 apart and the levels of dimension
    i are 0 .. L_i - 1: the digit is the nearest level.
    """

    level_counts: Tensor

    def __init__(self, feature_dim: int, levels: tuple[int, ...], noise_rate: float = 0.5) -> None:
        super().__init__(feature_dim, len(levels), levels)
        self.noise_rate = noise_rate
        self.register_buffer("level_counts", torch.tensor(levels, dtype=torch.float32), persistent=False)

    # ``counts`` are the levels [D], or of each token [B, 1, D]; None: those of the quantizer.

    @abstractmethod
    def positions(self, latents: Tensor, counts: Tensor | None = None) -> Tensor:
        """Latents [B, N, D] to positions [B, N, D], differentiable."""

    @abstractmethod
    def perturb(self, positions: Tensor, digits: Tensor, counts: Tensor | None = None) -> Tensor:
        """Training: positions and their digits to what the decoder sees instead, as positions."""

    @abstractmethod
    def codes(self, positions: Tensor, counts: Tensor | None = None) -> Tensor:
        """Positions [B, N, D] to the codes [B, N, D] that are projected to features."""

    def norm_loss(self, latents: Tensor, positions: Tensor) -> Tensor:
        """What keeps the latents in scale; scalar, 0 unless a subclass has such a loss."""
        return torch.zeros((), device=latents.device)

    def digits(self, positions: Tensor, counts: Tensor | None = None) -> Tensor:
        """The nearest level of each position [B, N, D], as float32."""
        counts = self.counts(positions) if counts is None else counts
        return torch.minimum(positions.detach().round().clamp_min(0), counts - 1)

    def counts(self, like: Tensor) -> Tensor:
        """Levels [D] in float32 (also where the module was cast to bfloat16)."""
        return self.level_counts.to(like.device, torch.float32)

    def forward(self, features: Tensor, blend: Tensor | None = None) -> QuantizerOutput:
        with torch.autocast(features.device.type, enabled=False):
            latents = self.latents(features)
            positions = self.positions(latents)
            digits = self.digits(positions)
            seen = self.perturb(positions, digits) if self.training else straight_through(digits, positions)
            if blend is not None:
                seen = positions + blend * (seen - positions)
            output = self.features(self.codes(seen), features.dtype)
            metrics = {
                "latent_mean": latents.detach().mean(),
                "latent_deviation": latents.detach().std(correction=0),
                "perturbation": (seen - positions).detach().abs().mean(),
            }
            return QuantizerOutput(
                output, join_digits(digits, self.levels), self.norm_loss(latents, positions), metrics
            )

    def nearest(self, latents: Tensor) -> Tensor:
        return join_digits(self.digits(self.positions(latents)), self.levels)

    def lookup(self, indices: Tensor) -> Tensor:
        self.check_indices(indices)
        return self.codes(split_digits(indices, self.levels).float())

    def boundary_distance(self, features: Tensor) -> Tensor:
        """How far each token [B, N] is from becoming another one: the distance of its nearest position to
        a decision boundary, in levels (at most 0.5)."""
        positions = self.positions(self.latents(features))
        return (0.5 - (positions - self.digits(positions)).abs()).amin(dim=-1)


class FSQ(ScalarQuantizer):
    """Finite scalar quantisation as SQCodec ("sqcodec") and L3AC ("l3ac") do it.

    "sqcodec": z -> tanh(z + shift) (L - 1)(1 + 1e-3)/2 - offset, rounded, divided by floor(L/2); training
    replaces each latent, with probability `noise_rate`, by its unrounded value plus U(-1/2, 1/2).
    "l3ac": a = (tanh(z) + 1)/2, levels at l/(L - 1), code 2a - 1; the noise on a is U(-1/2, 1/2)/L.
    """

    def __init__(
        self, feature_dim: int, levels: tuple[int, ...], noise_rate: float = 0.5, variant: str = "sqcodec"
    ) -> None:
        super().__init__(feature_dim, levels, noise_rate)
        if variant not in ("sqcodec", "l3ac"):
            raise ValueError(f"Unknown FSQ variant {variant!r}. Choose one of: sqcodec, l3ac")
        self.variant = variant

    def positions(self, latents: Tensor, counts: Tensor | None = None) -> Tensor:
        counts = self.counts(latents) if counts is None else counts
        if self.variant == "l3ac":
            return (torch.tanh(latents) + 1) / 2 * (counts - 1)
        half = (counts - 1) * (1 + 1e-3) / 2
        offset = torch.where(counts % 2 == 0, 0.5, 0.0)
        shift = (offset / half).atanh()
        return (latents + shift).tanh() * half - offset + torch.floor(counts / 2)

    def perturb(self, positions: Tensor, digits: Tensor, counts: Tensor | None = None) -> Tensor:
        noisy = shared_rand(*positions.shape, device=positions.device) < self.noise_rate
        noise = shared_rand(*positions.shape, device=positions.device) - 0.5
        if self.variant == "l3ac":
            counts = self.counts(positions) if counts is None else counts
            noise = noise * (counts - 1) / counts
        return torch.where(noisy, positions + noise, straight_through(digits, positions))

    def codes(self, positions: Tensor, counts: Tensor | None = None) -> Tensor:
        counts = self.counts(positions) if counts is None else counts
        if self.variant == "l3ac":
            return positions / (counts - 1) * 2 - 1
        centre = torch.floor(counts / 2)
        return (positions - centre) / centre


class FSP(ScalarQuantizer):
    """Finite scalar perturbation (arXiv 2602.17133): midpoints in training half the time, noise otherwise.

    a = g(z) in (0, 1) with g the distribution function `activation`; digit floor(a L), midpoint
    (l + 1/2)/L. In training each token is, with probability `noise_rate`, moved by U(-1/2, 1/2)/L in every
    dimension (not in those where that leaves (0, 1)), and otherwise quantised with a straight-through
    gradient. The code (a - 1/2)/sqrt(1/12) has unit variance where a is uniform. L_norm, in `loss`, is the
    mean over dimensions of 0.1 mean² + 0.07 (variance - target)².
    """

    def __init__(
        self, feature_dim: int, levels: tuple[int, ...], noise_rate: float = 0.5, activation: str = "tanh"
    ) -> None:
        super().__init__(feature_dim, levels, noise_rate)
        if activation not in TARGET_VARIANCE:
            known = ", ".join(TARGET_VARIANCE)
            raise ValueError(f"Unknown activation {activation!r}. Choose one of: {known}")
        self.activation = activation

    def positions(self, latents: Tensor, counts: Tensor | None = None) -> Tensor:
        counts = self.counts(latents) if counts is None else counts
        return distribution(latents, self.activation) * counts - 0.5

    def digits(self, positions: Tensor, counts: Tensor | None = None) -> Tensor:
        counts = self.counts(positions) if counts is None else counts
        lowest = torch.floor(positions.detach() + 0.5).clamp_min(0)
        return torch.minimum(lowest, counts - 1)

    def perturb(self, positions: Tensor, digits: Tensor, counts: Tensor | None = None) -> Tensor:
        counts = self.counts(positions) if counts is None else counts
        moved = positions + (shared_rand(*positions.shape, device=positions.device) - 0.5)
        inside = (moved > -0.5) & (moved < counts - 0.5)
        moved = torch.where(inside, moved, positions)
        noisy = shared_rand(*positions.shape[:-1], device=positions.device).unsqueeze(-1) < self.noise_rate
        return torch.where(noisy, moved, straight_through(digits, positions))

    def codes(self, positions: Tensor, counts: Tensor | None = None) -> Tensor:
        counts = self.counts(positions) if counts is None else counts
        return ((positions + 0.5) / counts - 0.5) / UNIFORM_DEVIATION

    def norm_loss(self, latents: Tensor, positions: Tensor) -> Tensor:
        scaled = self.codes(positions) if self.activation == "cauchy" else latents
        return norm_loss(scaled, TARGET_VARIANCE[self.activation])


def distribution(z: Tensor, activation: str) -> Tensor:
    """The distribution function g(z) in [0, 1] of the named activation."""
    if activation == "tanh":
        return (torch.tanh(z) + 1) / 2
    if activation == "normal":
        return (1 + torch.erf(z / math.sqrt(2))) / 2
    if activation == "sigmoid":
        return torch.sigmoid(z)
    if activation == "laplace":
        tail = torch.exp(-z.abs()) / 2
        return torch.where(z < 0, tail, 1 - tail)
    return torch.atan(z) / math.pi + 0.5

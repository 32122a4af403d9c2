"""What quantizers that learn a codebook by gradient or moving average share, and those with one codebook.

Letters: B batch, N tokens, M points, C feature channels, D code dimensions, K codebook size.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from sqcodec.config.quantizer import Dimensions, QuantizerConfig, Size
from sqcodec.quantizers.base import Quantizer, QuantizerOutput
from sqcodec.quantizers.vector import nearest_codes
from sqcodec.tables import Range

Weight = Annotated[float, Range(0, 1e6)]


@dataclass(frozen=True)
class CodebookConfig(QuantizerConfig):
    """Settings of one codebook of vectors."""

    dim: Dimensions = 0
    """Dimensions d of a code vector."""
    size: Size = 0
    """Codes K."""


@dataclass(frozen=True)
class CommittedConfig(CodebookConfig):
    """One codebook of vectors, with the loss of VQ-VAE."""

    commitment: Weight = 0.25
    """Weight of the commitment loss."""


@dataclass
class Learned:
    """One pass in training: ``codes`` [B, N, D] that the decoder sees, ``indices`` [B, N], ``loss``, ``metrics``."""

    codes: Tensor
    indices: Tensor
    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


class LearnedQuantizer(Quantizer):
    """In training ``learn`` says what the decoder sees; in evaluation it is ``lookup`` of ``nearest``."""

    @abstractmethod
    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        """A pass in training. Latents float32 [B, N, D], projected from features [B, N, C]."""

    def forward(self, features: Tensor, blend: Tensor | None = None) -> QuantizerOutput:
        with torch.autocast(features.device.type, enabled=False):
            latents = self.latents(features)
            if self.training:
                learned = self.learn(latents, features)
            else:
                indices = self.nearest(latents.detach())
                learned = Learned(self.lookup(indices), indices, torch.zeros((), device=features.device))
            codes = learned.codes if blend is None else latents + blend * (learned.codes - latents)
            metrics = {
                "latent_deviation": latents.detach().std(correction=0),
                "quantization_error": (learned.codes - latents).detach().norm(dim=-1).mean(),
            }
            output = self.features(codes, features.dtype)
            return QuantizerOutput(output, learned.indices, learned.loss.float(), metrics | learned.metrics)


class CodebookQuantizer(LearnedQuantizer):
    """One codebook of K codes; the token is the nearest code."""

    def __init__(self, feature_dim: int, config: CodebookConfig) -> None:
        super().__init__(feature_dim, config.dim, (config.size,))

    @abstractmethod
    def codebook(self) -> Tensor:
        """The codes, float32 [K, D], with gradient where they are learned by it."""

    def nearest(self, latents: Tensor) -> Tensor:
        codes = self.codebook().detach()
        return nearest_codes(latents.flatten(0, -2), codes).unflatten(0, latents.shape[:-1])

    def lookup(self, indices: Tensor) -> Tensor:
        self.check_indices(indices)
        return self.codebook().detach()[indices.long()]


def random_codes(size: int, dim: int) -> Tensor:
    """Normal codes [K, D] of unit mean square norm."""
    return torch.randn(size, dim) * dim**-0.5


def squared_distances(points: Tensor, codes: Tensor) -> Tensor:
    """Squared distances [M, K] of points [M, D] and codes [K, D], by a matrix product."""
    products = points @ codes.T
    lengths = points.square().sum(-1, keepdim=True) + codes.square().sum(-1)
    return (lengths - 2 * products).clamp_min(0)


@torch.no_grad()
def assign(latents: Tensor, codes: Tensor) -> Tensor:
    """Nearest codes [B, N] of latents [B, N, D], fast: ties and last digits may differ from ``nearest_codes``."""
    scores = codes.square().sum(-1) - 2 * (latents.flatten(0, -2) @ codes.T)
    return scores.argmin(-1).unflatten(0, latents.shape[:-1])


def vq_loss(latents: Tensor, codes: Tensor, commitment: float) -> Tensor:
    """|sg(z) - e|² + commitment |z - sg(e)|² (VQ-VAE, arXiv 1711.00937, eq. 3), means over all entries."""
    return F.mse_loss(codes, latents.detach()) + commitment * F.mse_loss(latents, codes.detach())

"""Quantizers of the package vector-quantize-pytorch behind this project's interface.

The package trains them; tokens and codes in evaluation are found with this project's own arithmetic on its codebooks,
so that they do not depend on how a recording was cut into batches. It is optional (extra ``quantizers``) and pinned:
its defaults change between releases, and nothing that ships uses it.

Letters: B batch, N tokens, C feature channels, D code dimensions, K codebook size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from sqcodec.config.quantizer import QuantizerConfig
from sqcodec.extras import require
from sqcodec.quantizers.base import split_digits
from sqcodec.quantizers.compared.learned import (
    CodebookConfig,
    CodebookQuantizer,
    CommittedConfig,
    Learned,
    LearnedQuantizer,
    Weight,
)
from sqcodec.tables import Range

PACKAGE = "vector_quantize_pytorch"


@dataclass(frozen=True)
class MovingConfig(QuantizerConfig):
    """Settings of codebooks of moving averages."""

    decay: Annotated[float, Range(0, 0.999999)] = 0.99
    """Of the moving averages."""
    commitment: Weight = 0.25
    """Weight of the commitment loss."""
    kmeans_init: bool = False
    """The codebook starts at k-means of the first batch."""
    restart_below: Weight = 0.0
    """A code whose moving count a batch is below this restarts at a latent; 0 never does."""


def library(kind: str) -> Any:
    """The package, imported when a quantizer of it is built. Raises ImportError with what to install."""
    return require(PACKAGE, "quantizers", f"quantizer.kind {kind!r}")


def vector_quantize(config: MovingConfig, dim: int, size: int) -> nn.Module:
    """The package's VectorQuantize with everything said that its releases have had different defaults for."""
    directional = config if isinstance(config, DirectionalConfig) else None
    return library(config.kind).VectorQuantize(
        dim=dim,
        codebook_size=size,
        decay=config.decay,
        kmeans_init=config.kmeans_init,
        threshold_ema_dead_code=max(config.restart_below, 1e-3 if directional else 0.0),
        commitment_weight=config.commitment,
        ema_update=directional is None,
        learnable_codebook=directional is not None,
        rotation_trick=config.kind == "rotation",
        directional_reparam=directional is not None,
        directional_reparam_variance=directional.direction_variance if directional else 5e-3,
        use_cosine_sim=False,
        channel_last=True,
    )


@dataclass(frozen=True)
class VQConfig(MovingConfig, CodebookConfig, kinds=("vq", "rotation")):
    """VQ as in VQ-VAE, and with the rotation trick."""

    kind: Literal["vq", "rotation"] = "vq"


@dataclass(frozen=True)
class DirectionalConfig(MovingConfig, CodebookConfig, kinds=("directional",)):
    """DiVeQ."""

    kind: Literal["directional"] = "directional"
    direction_variance: Weight = 5e-3
    """Variance of the noise on the direction."""


class LibraryVQ(CodebookQuantizer, kinds=("vq", "rotation"), settings=VQConfig):
    """VQ with a codebook of moving averages (VQ-VAE, arXiv 1711.00937, appendix A.1), and another gradient.

    "vq": straight-through. "rotation": the gradient is rotated and scaled as the code is from the latent (arXiv
    2410.06424). Options: ``kmeans_init`` (from
    the first batch), ``restart_below`` (codes whose moving count is below it restart at a latent of the batch),
    ``decay``, ``commitment``.
    """

    def __init__(self, feature_dim: int, config: VQConfig | DirectionalConfig) -> None:
        super().__init__(feature_dim, config)
        self.inner = vector_quantize(config, config.dim, config.size)

    def codebook(self) -> Tensor:
        codebook: Any = self.inner.codebook
        return codebook.float()

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        codes, indices, loss = self.inner(latents)
        return Learned(codes, indices, loss.sum())


class DirectionalVQ(LibraryVQ, kinds=("directional",), settings=DirectionalConfig):
    """DiVeQ (arXiv 2509.26469): z + |e - z| times the direction of e - z plus noise, a codebook learned by gradient;
    never-used codes are replaced, as the package demands."""


@dataclass(frozen=True)
class SimConfig(CommittedConfig):
    """SimVQ."""

    kind: Literal["simvq"] = "simvq"


class LibrarySimVQ(CodebookQuantizer, kinds=("simvq",), settings=SimConfig):
    """SimVQ (arXiv 2411.02038): a frozen random codebook behind one learned linear map, straight-through."""

    def __init__(self, feature_dim: int, config: SimConfig) -> None:
        super().__init__(feature_dim, config)
        self.inner = library(config.kind).SimVQ(
            dim=config.dim,
            codebook_size=config.size,
            rotation_trick=False,
            input_to_quantize_commit_loss_weight=config.commitment,
            commitment_weight=1.0,
        )

    def codebook(self) -> Tensor:
        return self.inner.codebook.float()

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        codes, indices, loss = self.inner(latents)
        return Learned(codes, indices, loss)


@dataclass(frozen=True)
class BinaryConfig(QuantizerConfig):
    """One bit a dimension: 2^d codes."""

    kind: Literal["lfq", "bsq"] = "lfq"
    dim: Annotated[int, Range(1, 24)] = 0
    """Dimensions d."""
    size: Annotated[int, Range(0, 2**24)] = 0
    """Codes; left out, or 2^dim."""
    commitment: Weight = 0.25
    """Weight of the commitment loss."""
    entropy_weight: Weight = 0.1
    """Weight of the entropy loss."""
    temperature: Annotated[float, Range(1e-6, 1e6)] = 1.0
    """Of the entropy."""

    def check(self) -> None:
        self.require(self.size in (0, 2**self.dim), "size", f"2^dim ({2**self.dim}) for {self.kind}")
        object.__setattr__(self, "size", 2**self.dim)

    @classmethod
    def sized(cls, codes: int, dim: int, levels: Sequence[int], books: Sequence[int]) -> dict[str, Any]:
        return {"dim": codes.bit_length() - 1}


class BinaryQuantizer(LearnedQuantizer, kinds=("lfq", "bsq"), settings=BinaryConfig):
    """One bit a dimension, K = 2^D, no codebook to learn, an entropy loss for balance.

    "lfq": lookup-free quantisation, codes in {-1, 1}^D (MAGVIT-v2, arXiv 2310.05737). "bsq": binary spherical
    quantisation, latents and codes on the unit sphere (arXiv 2406.07548). The entropy is computed over all K codes.
    """

    def __init__(self, feature_dim: int, config: BinaryConfig) -> None:
        super().__init__(feature_dim, config.dim, (2,) * config.dim)
        self.spherical = config.kind == "bsq"
        self.temperature = config.temperature
        self.inner = library(config.kind).LFQ(
            dim=config.dim,
            codebook_size=config.size,
            spherical=self.spherical,
            entropy_loss_weight=config.entropy_weight,
            commitment_loss_weight=config.commitment,
            diversity_gamma=1.0,
            soft_clamp_input_value=None,
        )

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        codes, indices, loss = self.inner(latents, inv_temperature=1.0 / self.temperature)
        return Learned(codes, self.nearest(latents.detach()), loss)

    def nearest(self, latents: Tensor) -> Tensor:
        weights = 2 ** torch.arange(len(self.levels), device=latents.device)
        return ((latents > 0).long() * weights).sum(-1)

    def lookup(self, indices: Tensor) -> Tensor:
        self.check_indices(indices)
        codes = split_digits(indices, self.levels).float() * 2 - 1
        return codes * len(self.levels) ** -0.5 if self.spherical else codes

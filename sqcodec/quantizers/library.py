"""Quantizers of the package vector-quantize-pytorch behind this project's interface.

The package trains them; tokens and codes in evaluation are found with this project's own arithmetic on its codebooks,
so that they do not depend on how a recording was cut into batches. It is optional (extra ``quantizers``) and pinned:
its defaults change between releases, and nothing that ships uses it.

Letters: B batch, N tokens, C feature channels, D code dimensions, K codebook size.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from sqcodec.config.compared import BinaryConfig, DirectionalConfig, LearnedConfig, MovingConfig, VQConfig
from sqcodec.quantizers.base import split_digits
from sqcodec.quantizers.learned import CodebookQuantizer, Learned, LearnedQuantizer

PACKAGE = "vector_quantize_pytorch"


def library(kind: str) -> Any:
    """The package, imported when a quantizer of it is built. Raises ImportError with what to install."""
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as error:
        raise ImportError(
            f"quantizer.kind {kind!r} needs the package vector-quantize-pytorch: pip install 'sqcodec[quantizers]'"
        ) from error


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


class LibraryVQ(CodebookQuantizer):
    """VQ with a codebook of moving averages (VQ-VAE, arXiv 1711.00937, appendix A.1), and two other gradients.

    "vq": straight-through. "rotation": the gradient is rotated and scaled as the code is from the latent (arXiv
    2410.06424). "directional": DiVeQ (arXiv 2509.26469): z + |e - z| times the direction of e - z plus noise, a
    codebook learned by gradient; never-used codes are replaced, as the package demands. Options: ``kmeans_init`` (from
    the first batch), ``restart_below`` (codes whose moving count is below it restart at a latent of the batch),
    ``decay``, ``commitment``.
    """

    def __init__(self, feature_dim: int, config: VQConfig | DirectionalConfig) -> None:
        super().__init__(feature_dim, config.dim, config.size)
        self.inner = vector_quantize(config, config.dim, config.size)

    def codebook(self) -> Tensor:
        codebook: Any = self.inner.codebook
        return codebook.float()

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        codes, indices, loss = self.inner(latents)
        return Learned(codes, indices, loss.sum())


class LibrarySimVQ(CodebookQuantizer):
    """SimVQ (arXiv 2411.02038): a frozen random codebook behind one learned linear map, straight-through."""

    def __init__(self, feature_dim: int, config: LearnedConfig) -> None:
        super().__init__(feature_dim, config.dim, config.size)
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


class BinaryQuantizer(LearnedQuantizer):
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

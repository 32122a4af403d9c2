"""Vector quantizer of VP-VAE (arXiv 2602.17133): perturbation in training, then the nearest code in a fixed codebook.

The codebook is fitted to latents after a training that has none (``sqcodec codebook``), never by a side effect of
``eval()``. Letters: B batch, N tokens, C feature
channels, D code dimensions, K codebook size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sqcodec.quantizers.base import Quantizer, QuantizerOutput
from sqcodec.quantizers.norm import norm_loss
from sqcodec.quantizers.perturbation import VectorPerturbation

DISTANCE_BUDGET = 2**18
"""Most distances held at once: they fit into the cache of a core (65,536 codes: twice as fast as with 2^22)."""


def nearest_codes(latents: Tensor, codebook: Tensor, budget: int = DISTANCE_BUDGET) -> Tensor:
    """Index of the code nearest to each latent, the lowest one where several are.

    Args:
        latents: [M, D].
        codebook: [K, D], the same dtype.
        budget: at most this many distances are held at once, so that a large K needs no K x M matrix.

    Returns:
        [M], int64. It does not depend on `budget` nor on the other latents: distances are sums of squared
        differences, dimension by dimension, and not a matrix product whose rounding follows its shape.
    """
    code_chunk = min(codebook.shape[0], max(1, budget // 64))
    latent_chunk = max(1, budget // code_chunk)
    found = []
    for points in latents.split(latent_chunk):
        best = torch.full((points.shape[0],), float("inf"), device=points.device, dtype=points.dtype)
        index = torch.zeros(points.shape[0], dtype=torch.int64, device=points.device)
        for start in range(0, codebook.shape[0], code_chunk):
            codes = codebook[start : start + code_chunk]
            distance = points.new_zeros(points.shape[0], codes.shape[0])
            for dimension in range(points.shape[1]):
                difference = points[:, dimension, None] - codes[None, :, dimension]
                distance += difference.square_()
            nearest, position = distance.min(dim=1)
            closer = nearest < best
            best = torch.where(closer, nearest, best)
            index = torch.where(closer, position + start, index)
        found.append(index)
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64, device=latents.device)


class VectorQuantizer(Quantizer):
    """Nearest neighbour in a codebook of K codes in D dimensions; `set_codebook` fills it.

    Training needs `perturbation`, which the trainer sets and keeps in its state: it is no part of the model.
    """

    codebook: Tensor
    fitted: Tensor

    def __init__(self, feature_dim: int, code_dim: int, codebook_size: int) -> None:
        super().__init__(feature_dim, code_dim, (codebook_size,))
        self.register_buffer("codebook", torch.zeros(codebook_size, code_dim))
        self.register_buffer("fitted", torch.tensor(False))
        self.perturbation: VectorPerturbation | None = None

    def set_codebook(self, codes: Tensor) -> None:
        """Use these codes [K, D]."""
        if codes.shape != self.codebook.shape or not bool(torch.isfinite(codes).all()):
            needed = tuple(self.codebook.shape)
            raise ValueError(f"The codebook has shape {tuple(codes.shape)}: {needed}, finite, is needed")
        self.codebook.copy_(codes)
        self.fitted.fill_(True)

    def forward(self, features: Tensor, blend: Tensor | None = None) -> QuantizerOutput:
        if self.training:
            return self._forward_training(features, blend)
        indices = self.encode(features)
        codes = self.lookup(indices)
        if blend is not None:
            latents = self.latents(features)
            codes = latents + blend * (codes - latents)
        loss = torch.zeros((), device=features.device)
        return QuantizerOutput(self.features(codes, features.dtype), indices, loss)

    def _forward_training(self, features: Tensor, blend: Tensor | None) -> QuantizerOutput:
        """z + sg(z' - z); the indices are all 0, since training knows no codebook."""
        if self.perturbation is None:
            raise ValueError("Training a vector quantizer needs its perturbation: set `perturbation`, or call eval()")
        latents = self.latents(features)
        offset, metrics = self.perturbation(latents, self._sizes(latents))
        if blend is not None:
            offset = blend * offset
        indices = torch.zeros(latents.shape[:-1], dtype=torch.int64, device=latents.device)
        loss = norm_loss(latents, moments=self.perturbation.options.moments)
        return QuantizerOutput(self.features(latents + offset, features.dtype), indices, loss, metrics)

    def _sizes(self, latents: Tensor) -> Tensor | None:
        """Codes of each segment's codebook [B]; None: all have ``codebook_size``."""
        return None

    def nearest(self, latents: Tensor) -> Tensor:
        self.check_fitted()
        return nearest_codes(latents.flatten(0, -2), self.codebook.float()).unflatten(0, latents.shape[:-1])

    def lookup(self, indices: Tensor) -> Tensor:
        self.check_fitted()
        self.check_indices(indices)
        return self.codebook.float()[indices.long()]

    def check_fitted(self) -> None:
        """Raise ValueError where there is no codebook yet."""
        if not bool(self.fitted):
            raise ValueError(
                "This vector quantizer has no codebook yet: fit one with `sqcodec codebook`, or call set_codebook"
            )

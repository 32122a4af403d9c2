"""Non-stationary VQ: codes that are not used follow those that are.

Letters: B batch, N tokens, M points, D code dimensions, K codebook size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from sqcodec.distributed import gather_rows
from sqcodec.quantizers.base import straight_through
from sqcodec.quantizers.compared.learned import (
    CodebookQuantizer,
    Learned,
    Weight,
    assign,
    random_codes,
    squared_distances,
)
from sqcodec.quantizers.compared.stochastic import AnnealedConfig
from sqcodec.tables import Range


@dataclass(frozen=True)
class NonStationaryConfig(AnnealedConfig):
    """NSVQ."""

    kind: Literal["nsvq"] = "nsvq"
    decay: Annotated[float, Range(0, 0.999999)] = 0.99
    """Of the moving averages."""
    commitment: Weight = 0.25
    """Weight of the commitment loss."""


class NonStationaryVQ(CodebookQuantizer, kinds=("nsvq",), settings=NonStationaryConfig):
    """NSVQ (arXiv 2602.18896): the drift of the encoder is passed on to codes that were not selected by a kernel.

    The full text was not available; our reading of the abstract: a selected code moves by (1 - decay) towards the mean
    of its latents; any other by the kernel-weighted mean of these moves, weights exp(-|e_k - e_j|² / s²), scaled by
    the largest of them, so that codes far from all that is selected rest. s² is a multiple of the mean squared
    distance between codes and latents and decays with the steps (``temperature`` to ``final_temperature`` over
    ``anneal_steps``).
    """

    steps: Tensor

    def __init__(self, feature_dim: int, config: NonStationaryConfig) -> None:
        super().__init__(feature_dim, config)
        self.options = config
        self.register_buffer("codes", random_codes(config.size, config.dim))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def codebook(self) -> Tensor:
        return self.get_buffer("codes").float()

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        book = self.codebook().clone()
        indices = assign(latents, book)
        codes = book[indices]
        loss = self.options.commitment * F.mse_loss(latents, codes)
        self._update(gather_rows(latents).flatten(0, -2), gather_rows(indices).flatten())
        return Learned(straight_through(codes, latents), indices, loss)

    @torch.no_grad()
    def _update(self, points: Tensor, indices: Tensor) -> None:
        """Moves all codes by the latents [M, D] of all processes and their codes [M]."""
        codes, size = self.get_buffer("codes"), self.codebook_size
        counts = torch.bincount(indices, minlength=size).float()
        sums = torch.zeros_like(codes).index_add_(0, indices, points)
        used = counts > 0
        moves = (1 - self.options.decay) * (sums[used] / counts[used, None] - codes[used])
        scale = self.options.annealed(int(self.steps)) * (points - codes[indices]).square().sum(-1).mean()
        kernel = torch.exp(-squared_distances(codes[~used], codes[used]) / scale.clamp_min(1e-12))
        nearness = kernel.amax(-1, keepdim=True)
        codes[~used] += nearness * (kernel @ moves) / kernel.sum(-1, keepdim=True).clamp_min(1e-12)
        codes[used] += moves
        self.steps += 1

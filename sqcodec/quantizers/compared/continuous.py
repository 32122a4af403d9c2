"""No quantization: the upper bound of what a quantizer in the same place can reach.

Letters: B batch, N tokens, D code dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sqcodec.config.quantizer import Dimensions, QuantizerConfig
from sqcodec.quantizers.base import QuantizerOutput
from sqcodec.quantizers.compared.learned import Learned, LearnedQuantizer

NO_TOKENS = "This model has no quantizer (quantizer.kind = 'none'), so no tokens: it can only be trained and heard"


@dataclass(frozen=True)
class ContinuousConfig(QuantizerConfig):
    """No quantisation: what a quantizer in the same place can reach at best."""

    kind: Literal["none"] = "none"
    dim: Dimensions = 0
    """Numbers a token."""

    @property
    def token_bits(self) -> float:
        return math.inf


class Continuous(LearnedQuantizer, kinds=("none",), settings=ContinuousConfig):
    """D real numbers a token pass as they are. The indices are all 0: there are no tokens to store."""

    def __init__(self, feature_dim: int, config: ContinuousConfig) -> None:
        super().__init__(feature_dim, config.dim, (1,))

    def forward(self, features: Tensor, blend: Tensor | None = None) -> QuantizerOutput:
        latents = self.latents(features)
        learned = self.learn(latents, features)
        return QuantizerOutput(self.features(latents, features.dtype), learned.indices, learned.loss)

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        indices = torch.zeros(latents.shape[:-1], dtype=torch.int64, device=latents.device)
        return Learned(latents, indices, torch.zeros((), device=latents.device))

    def nearest(self, latents: Tensor) -> Tensor:
        raise ValueError(NO_TOKENS)

    def lookup(self, indices: Tensor) -> Tensor:
        raise ValueError(NO_TOKENS)

"""What all codec networks share: how lengths, padding and lookahead relate.

Letters: B batch, T samples, N tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sqcodec.config import ModelConfig
from sqcodec.quantizers import Quantizer, QuantizerOutput

Forward = Callable[[Tensor, Tensor | None], tuple[Tensor, QuantizerOutput]]


class CodecNetwork(nn.Module, ABC):
    """Base of the networks. Sample t of the recording is sample t + ``config.lookahead`` of the output."""

    quantizer: Quantizer

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def encode_features(self, samples: Tensor) -> Tensor:
        """Samples [B, 1, T], padded (see ``pad``), to quantizer features [B, N, C]."""

    @abstractmethod
    def decode_features(self, features: Tensor) -> Tensor:
        """Quantized features [B, N, C] to samples [B, 1, T]."""

    @property
    @abstractmethod
    def encoder_context(self) -> int:
        """Samples of the past that a token of a causal network depends on, beyond its own frame."""

    @property
    @abstractmethod
    def decoder_context(self) -> int:
        """Samples' worth of past tokens that a causal network's output depends on, beyond its own frame."""

    def forward(self, samples: Tensor, blend: Tensor | None = None) -> tuple[Tensor, QuantizerOutput]:
        """Samples [B, 1, T] through the quantizer to samples [B, 1, T]; ``blend`` as in ``Quantizer.forward``."""
        output = self.quantize(self.encode_features(samples), blend)
        return self.decode_features(output.features), output

    def quantize(self, features: Tensor, blend: Tensor | None = None) -> QuantizerOutput:
        """The quantizer's forward pass, with its input beside its output."""
        output = self.quantizer(features, blend)
        output.source = features
        return output

    def compiled(self) -> Forward:
        """``forward`` compiled for training, for batches of one shape."""
        return cast(Forward, torch.compile(self.forward, dynamic=False))

    def compiled_encoder(self) -> Callable[[Tensor], Tensor]:
        """``encode_features`` compiled for training, for batches of one shape."""
        return cast(Callable[[Tensor], Tensor], torch.compile(self.encode_features, dynamic=False))

    def token_count(self, length: int) -> int:
        """Tokens that ``length`` samples need (without the padding to whole windows of ``pad_to``)."""
        if not length:
            return 0
        per_frame = self.config.tokens_per_frame
        return -(-(length + self.config.lookahead) // (self.config.hop_length * per_frame)) * per_frame

    def pad_length(self, length: int) -> int:
        """Length that ``length`` samples are padded to, lookahead included."""
        multiple = self.config.pad_multiple
        return -(-(length + self.config.lookahead) // multiple) * multiple if length else 0

    def pad(self, samples: Tensor) -> Tensor:
        """Samples [..., T] with zeros behind, to ``pad_length(T)``."""
        return F.pad(samples, (0, self.pad_length(samples.shape[-1]) - samples.shape[-1]))

    def crop(self, samples: Tensor, length: int) -> Tensor:
        """The ``length`` samples that were encoded, out of what ``decode_features`` gives for them."""
        start = self.config.lookahead
        return samples[..., start : start + length]

"""What all codec networks share: how lengths, padding and lookahead relate.

Letters: B batch, T samples, N tokens.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from sqcodec.config import ModelConfig


class CodecNetwork(nn.Module):
    """Base of the networks. Sample t of the recording is sample t + ``config.lookahead`` of the output."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def token_count(self, length: int) -> int:
        """Tokens that ``length`` samples need (without the padding to whole windows of ``pad_to``)."""
        if not length:
            return 0
        per_frame = self.config.transformer.tokens_per_frame
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

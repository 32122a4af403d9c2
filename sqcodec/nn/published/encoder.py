"""Encoder of SQCodec (arXiv 2504.04949): samples to features at the token rate.

Front block, stages of residual units with a strided convolution each, then a local transformer, which may
halve (or more) the rate between its layers. Letters: B batch, T samples, C channels, N tokens.
"""

from __future__ import annotations

from torch import Tensor, nn

from sqcodec.config import WaveformConfig
from sqcodec.nn.published.attention import LocalTransformer
from sqcodec.nn.published.layers import ChannelNorm, Conv1d, conv_units, normed
from sqcodec.nn.published.tconv import TrendFront


class DownStage(nn.Module):
    """Residual units, then a convolution that reduces the rate `stride`-fold; [B, C, T]."""

    def __init__(
        self, channels: int, out_channels: int, stride: int, depth: int, config: WaveformConfig
    ) -> None:
        super().__init__()
        unit = config.encoder.unit
        self.units = conv_units(channels, depth, unit, config.causal)
        self.down = normed(Conv1d(channels, out_channels, stride, stride=stride), unit.weight_norm)
        self.norm = ChannelNorm(out_channels, unit.epsilon) if unit.norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.down(self.units(x)))


class Encoder(nn.Module):
    """Convolutional part: samples [B, 1, T] to frames [B, C, T / frame length]."""

    def __init__(self, config: WaveformConfig) -> None:
        super().__init__()
        encoder = config.encoder
        dims, unit = encoder.dims, encoder.unit
        self.front = TrendFront(dims[0], causal=config.causal, weight_norm=unit.weight_norm)
        self.stages = nn.ModuleList(
            DownStage(dims[i], dims[i + 1], stride, encoder.depths[i], config)
            for i, stride in enumerate(encoder.strides)
        )
        self.units = conv_units(dims[-1], encoder.depths[-1], unit, config.causal)
        self.project = normed(Conv1d(dims[-1], config.feature_dim, 3, causal=config.causal), unit.weight_norm)

    def forward(self, samples: Tensor) -> Tensor:
        x = self.front(samples)
        for stage in self.stages:
            x = stage(x)
        return self.project(self.units(x))


class EncoderTransformer(nn.Module):
    """Frames [B, C, N r] to tokens' features [B, N, C]: layers at the frame rate, reduction by r, layers."""

    def __init__(self, config: WaveformConfig) -> None:
        super().__init__()
        transformer, channels = config.transformer, config.feature_dim
        rate = transformer.rate_reduction
        self.frames = LocalTransformer(
            channels, transformer.encoder_frame_depth, transformer.window * rate, transformer
        )
        self.reduce = (
            normed(Conv1d(channels, channels, rate, stride=rate), config.encoder.unit.weight_norm)
            if rate > 1
            else nn.Identity()
        )
        self.tokens = LocalTransformer(channels, transformer.encoder_depth, transformer.window, transformer)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.frames(frames.transpose(1, 2))
        x = self.reduce(x.transpose(1, 2)).transpose(1, 2)
        return self.tokens(x)

"""Decoder of SQCodec (arXiv 2504.04949): features at the token rate to samples.

A local transformer, which may raise the rate between its layers, then stages of residual units with a TConv
gate and linear upsampling each, then a head. Letters: B batch, T samples, C channels, N tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sqcodec.config import DecoderConfig, UnitConfig, WaveformConfig
from sqcodec.nn.published.attention import LocalTransformer
from sqcodec.nn.published.layers import ChannelNorm, Conv1d, Snake, conv_units, normed, upsample
from sqcodec.nn.published.tconv import TrendGate


class DecoderTransformer(nn.Module):
    """Tokens' features [B, N, C] to frames [B, C, N r]: layers, linear upsampling by r, layers."""

    def __init__(self, config: WaveformConfig) -> None:
        super().__init__()
        transformer, channels = config.transformer, config.feature_dim
        self.rate = transformer.rate_reduction
        self.causal = config.causal
        self.tokens = LocalTransformer(channels, transformer.decoder_depth, transformer.window, transformer)
        self.frames = LocalTransformer(
            channels, transformer.decoder_frame_depth, transformer.window * self.rate, transformer
        )

    def forward(self, features: Tensor) -> Tensor:
        x = self.tokens(features).transpose(1, 2)
        x = upsample(x, self.rate, self.causal)
        return self.frames(x.transpose(1, 2)).transpose(1, 2)


class UpStage(nn.Module):
    """Residual units, a gate, then a point-wise convolution and upsampling; [B, C, T]."""

    def __init__(
        self, channels: int, out_channels: int, stride: int, depth: int, config: WaveformConfig
    ) -> None:
        super().__init__()
        decoder, unit = config.decoder, config.decoder.unit
        self.stride = stride
        self.causal = config.causal
        self.units = conv_units(channels, depth, unit, config.causal)
        self.gate = (
            TrendGate(
                channels, causal=config.causal, norm=decoder.gate_norm, weight_norm=unit.weight_norm
            )
            if decoder.gate
            else nn.Identity()
        )
        self.up = normed(Conv1d(channels, out_channels, 1), unit.weight_norm)
        self.norm = ChannelNorm(out_channels, unit.epsilon) if unit.norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.gate(self.units(x)))
        return self.norm(upsample(x, self.stride, self.causal))


class SnakeUnit(nn.Module):
    """Residual unit of the waveform head: Snake, dilated convolution, Snake, point-wise convolution."""

    def __init__(self, channels: int, dilation: int, config: UnitConfig, causal: bool) -> None:
        super().__init__()
        self.first_snake = Snake(channels, config.epsilon)
        self.dilated = normed(
            Conv1d(channels, channels, config.kernel_size, dilation=dilation, causal=causal),
            config.weight_norm,
        )
        self.second_snake = Snake(channels, config.epsilon)
        self.pointwise = normed(Conv1d(channels, channels, 1), config.weight_norm)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pointwise(self.second_snake(self.dilated(self.first_snake(x))))


class WaveformHead(nn.Module):
    """Features at the sample rate [B, C, T] to samples [B, 1, T] in (-1, 1)."""

    def __init__(self, channels: int, config: DecoderConfig, causal: bool) -> None:
        super().__init__()
        unit = config.unit
        self.units = nn.Sequential(
            *(SnakeUnit(channels, dilation, unit, causal) for dilation in config.output_dilations)
        )
        self.snake = Snake(channels, unit.epsilon)
        self.project = normed(Conv1d(channels, 1, unit.kernel_size, causal=causal), unit.weight_norm)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.project(self.snake(self.units(x))))


class Decoder(nn.Module):
    """Convolutional part: frames [B, C, T / frame length] to samples [B, 1, T]."""

    def __init__(self, config: WaveformConfig) -> None:
        super().__init__()
        decoder = config.decoder
        dims, unit = decoder.dims, decoder.unit
        self.project = normed(Conv1d(config.feature_dim, dims[0], 3, causal=config.causal), unit.weight_norm)
        self.stages = nn.ModuleList(
            UpStage(dims[i], dims[i + 1], stride, decoder.depths[i], config)
            for i, stride in enumerate(decoder.strides)
        )
        self.head = WaveformHead(dims[-1], decoder, config.causal)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.project(frames)
        for stage in self.stages:
            x = stage(x)
        return self.head(x)

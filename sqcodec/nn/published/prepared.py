"""The networks of SQCodec and L3AC for inference: the functions of ``WaveformNetwork``, with weights prepared once.

    PreparedNetwork(network, options).encode_features(samples)     # as network.encode_features(samples)

Weight norm is computed once, linear maps are packed, in float32 or bfloat16, and the convolutional stacks run in blocks
of time (``sqcodec.nn.published.blocked``). Letters: B batch, T samples, C channels, N tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqcodec.nn.inference import Affine, InferenceOptions, Norm
from sqcodec.nn.published.attention import FeedForward, LocalAttention, LocalTransformer
from sqcodec.nn.published.blocked import (
    BlockedChannelNorm,
    BlockedConv,
    BlockedFront,
    BlockedHead,
    BlockedUnit,
    BlockedUpStage,
)
from sqcodec.nn.published.decoder import UpStage, WaveformHead
from sqcodec.nn.published.encoder import DownStage
from sqcodec.nn.published.layers import ConvUnit, as_conv, upsample
from sqcodec.nn.published.network import PROJECT_CONTEXT, WaveformNetwork
from sqcodec.nn.published.tconv import FRONT_CONTEXT, TrendFront


class PreparedAttention:
    """``LocalAttention``, residual sum included."""

    def __init__(self, attention: nn.Module, options: InferenceOptions) -> None:
        assert isinstance(attention, LocalAttention)
        self.norm, self.mix = Norm(attention.norm), attention.mix
        self.inward = Affine(attention.to_qkv.weight, None, options)
        self.outward = Affine(attention.to_out.weight, None, options)

    def __call__(self, x: Tensor, mask: Tensor) -> Tensor:
        projected = self.inward(self.norm(x))
        return x + self.outward(self.mix(projected, mask.to(projected.dtype)))


class PreparedFeedForward:
    """``FeedForward``, residual sum included."""

    def __init__(self, feed: nn.Module, options: InferenceOptions) -> None:
        assert isinstance(feed, FeedForward)
        self.norm = Norm(feed.norm)
        value, gate = feed.expand.weight.chunk(2)
        self.value, self.gate = Affine(value, None, options), Affine(gate, None, options)
        self.contract = Affine(feed.contract.weight, None, options)

    def __call__(self, x: Tensor) -> Tensor:
        hidden = self.norm(x)
        return x + self.contract(F.gelu(self.gate(hidden)).mul_(self.value(hidden)))


class PreparedTransformer:
    """``LocalTransformer``; the position bias is computed once."""

    def __init__(self, transformer: LocalTransformer, options: InferenceOptions) -> None:
        self.position, self.window = transformer.position, transformer.window
        self.layers = [
            (PreparedAttention(attention, options), PreparedFeedForward(feed, options))
            for attention, feed in zip(transformer.attentions, transformer.feed_forwards, strict=True)
        ]
        self.mask: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        steps = x.shape[1]
        if self.position is None or steps == 0:
            return x
        if self.mask is None:
            self.mask = self.position(x, self.window, 2 * self.window)
        # the scores of a short sequence, or of the first bucket, are those of a bucket without one before it
        mask = self.mask if steps > self.window else self.mask[:, :steps, self.window : self.window + steps]
        for attention, feed in self.layers:
            x = feed(attention(x, mask))
        return x


class PreparedNetwork:
    """Encoder and decoder of a ``WaveformNetwork``, quantizer excluded. Weights that change afterwards are not seen."""

    def __init__(self, network: WaveformNetwork, options: InferenceOptions) -> None:
        self.config = network.config
        encoder, decoder = network.encoder, network.decoder
        assert isinstance(encoder.front, TrendFront) and isinstance(decoder.head, WaveformHead)
        self.front = BlockedFront(encoder.front, options)
        self.down: list[BlockedUnit | BlockedConv | BlockedChannelNorm] = []
        for stage in encoder.stages:
            assert isinstance(stage, DownStage)
            self.down += [*_units(stage.units, options), BlockedConv(as_conv(stage.down), options)]
            self.down.append(BlockedChannelNorm(stage.norm))
        self.down += [*_units(encoder.units, options), BlockedConv(as_conv(encoder.project), options)]
        transformer = network.encoder_transformer
        self.encoder_frames = PreparedTransformer(transformer.frames, options)
        reduce = transformer.reduce
        self.reduce = None if isinstance(reduce, nn.Identity) else BlockedConv(as_conv(reduce), options)
        self.encoder_tokens = PreparedTransformer(transformer.tokens, options)

        self.decoder_tokens = PreparedTransformer(network.decoder_transformer.tokens, options)
        self.decoder_frames = PreparedTransformer(network.decoder_transformer.frames, options)
        self.up: list[BlockedUnit | BlockedConv | BlockedUpStage] = [BlockedConv(as_conv(decoder.project), options)]
        for stage in decoder.stages:
            assert isinstance(stage, UpStage)
            self.up += [*_units(stage.units, options), BlockedUpStage(stage, options)]
        self.head = BlockedHead(decoder.head, options)

    def encode_features(self, samples: Tensor, length: int | None = None) -> Tensor:
        """Samples [B, 1, T], T a multiple of the hop length, to features [B, N, C].

        Args:
            length: samples before the padding with zeros, if known. Long padding is not computed step by step: far
                from both of its ends the encoder sees nothing but zeros, and gives the same frame again and again.
        """
        frame, total = self.config.encoder.hop_length, samples.shape[2]
        reach = -(-self._reach // frame) + 1
        head = total if length is None else -(-length // frame) + reach
        repeated = total // frame - head - reach
        if repeated > 0:
            x = self._encode(samples[:, :, : (head + reach) * frame])
            x = torch.cat([x[:, :head], x[:, head - 1 : head].expand(-1, repeated, -1), x[:, head:]], dim=1)
        else:
            x = self._encode(samples)
        x = self.encoder_frames(x)
        return self.encoder_tokens(self.reduce(x) if self.reduce else x)

    def decode_features(self, features: Tensor) -> Tensor:
        """Features [B, N, C] to samples [B, 1, N hop]."""
        x = self.decoder_tokens(features)
        x = upsample(x.transpose(1, 2), self.config.transformer.rate_reduction, self.config.causal)
        x = self.decoder_frames(x.transpose(1, 2))
        for layer in self.up:
            x = layer(x)
        return self.head(x)

    def _encode(self, samples: Tensor) -> Tensor:
        x = self.front(samples)
        for layer in self.down:
            x = layer(x)
        return x

    @property
    def _reach(self) -> int:
        """Samples to each side that a frame of the convolutions depends on, at most."""
        encoder = self.config.encoder
        samples, step = FRONT_CONTEXT, 1
        for depth, stride in zip(encoder.depths, (*encoder.strides, 1), strict=True):
            samples += depth * (encoder.unit.kernel_size - 1) * step
            step *= stride
        return samples + PROJECT_CONTEXT * step


def _units(units: nn.Module, options: InferenceOptions) -> list[BlockedUnit]:
    return [BlockedUnit(unit, options) for unit in units.children() if isinstance(unit, ConvUnit)]

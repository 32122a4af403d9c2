"""The networks of SQCodec and L3AC for training on a CPU: ``WaveformNetwork.forward``, with channels last throughout.

    TimeMajorNetwork(network)(samples, blend)     # as network(samples, blend), the same parameters and gradients

With time before channels every point-wise convolution is a matrix product without a transposed copy, oneDNN has fast
kernels for the dilated convolutions of the head in both directions, and Snake is two compiled loops
(``sqcodec.nn.published.differentiable``). It works under autocast, where the residual stream stays float32.
``sqcodec.nn.published.layers``, ``tconv`` and ``decoder`` are the reference for all of it.

Letters: B batch, T time steps, C channels. Layout [B, T, C] unless said otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqcodec.nn.published.decoder import SnakeUnit, UpStage, WaveformHead
from sqcodec.nn.published.differentiable import depthwise, snake
from sqcodec.nn.published.encoder import DownStage
from sqcodec.nn.published.layers import (
    ChannelNorm,
    Conv1d,
    ConvUnit,
    ResponseScale,
    Snake,
    as_conv,
    as_linear,
    upsample,
)
from sqcodec.nn.published.tconv import BRANCH_KERNEL, TrendFront, TrendGate, envelope
from sqcodec.quantizers import QuantizerOutput

if TYPE_CHECKING:
    from sqcodec.nn.published.network import WaveformNetwork


class TimeMajorNetwork:
    """Forward pass of a ``WaveformNetwork`` for training; it reads the parameters anew at each call."""

    def __init__(self, network: WaveformNetwork) -> None:
        encoder, decoder = network.encoder, network.decoder
        assert isinstance(encoder.front, TrendFront) and isinstance(decoder.head, WaveformHead)
        self.network, self.front, self.head = network, encoder.front, decoder.head

    def __call__(self, samples: Tensor, blend: Tensor | None = None) -> tuple[Tensor, QuantizerOutput]:
        """As ``CodecNetwork.forward``."""
        network = self.network
        output = network.quantize(self._encode_features(samples), blend)
        return self._decode_features(output.features), output

    def _encode_features(self, samples: Tensor) -> Tensor:
        encoder = self.network.encoder
        x = _front(self.front, samples)
        for stage in encoder.stages:
            assert isinstance(stage, DownStage)
            x = _norm(stage.norm, _conv(as_conv(stage.down), _units(stage.units, x)))
        x = _conv(as_conv(encoder.project), _units(encoder.units, x))
        transformer = self.network.encoder_transformer
        x = transformer.frames(x)
        if isinstance(transformer.reduce, nn.Conv1d):
            x = _conv(as_conv(transformer.reduce), x)
        return transformer.tokens(x)

    def _decode_features(self, features: Tensor) -> Tensor:
        transformer, decoder = self.network.decoder_transformer, self.network.decoder
        x = transformer.tokens(features).float()
        if transformer.rate > 1:
            x = upsample(x.transpose(1, 2), transformer.rate, transformer.causal).transpose(1, 2)
        x = _conv(as_conv(decoder.project), transformer.frames(x))
        for stage in decoder.stages:
            assert isinstance(stage, UpStage)
            x = _gated(stage.gate, _units(stage.units, x))
            x = _raised(_conv(as_conv(stage.up), x), stage.stride, stage.causal)
            x = _norm(stage.norm, x)
        return _head(self.head, x)


def _units(units: nn.Module, x: Tensor) -> Tensor:
    for unit in units.children():
        assert isinstance(unit, ConvUnit)
        conv, contract = as_conv(unit.depthwise), as_linear(unit.contract)
        y = depthwise(x, conv.weight[:, 0].T, conv.bias, conv.pads, conv.dilation[0])
        y = _activated(unit.activation, unit.expand(unit.norm(y)), unit.response)
        weight: Tensor = contract.weight
        bias: Tensor = contract.bias
        if unit.layer_scale is not None:
            weight, bias = weight * unit.layer_scale[:, None], bias * unit.layer_scale
        x = x + F.linear(y, weight, bias).float()
    return x


def _activated(activation: nn.Module, x: Tensor, response: nn.Module | None = None) -> Tensor:
    scale = response if isinstance(response, ResponseScale) else None
    if isinstance(activation, Snake):
        parameters = (scale.gamma, scale.beta) if scale else (None, None)
        return snake(x, activation.alpha, activation.epsilon, *parameters)
    x = activation(x)
    return scale(x) if scale else x


def _dilated(conv: Conv1d, x: Tensor) -> Tensor:
    """A convolution of stride 1 in oneDNN's kernels for channels last."""
    padded = F.pad(x, (0, 0, *conv.pads)).transpose(1, 2).unsqueeze(2)  # [B, C, 1, T]
    weight = conv.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    result = F.conv2d(padded, weight, conv.bias, dilation=(1, conv.dilation[0]))
    return result.squeeze(2).transpose(1, 2)


def _conv(conv: Conv1d, x: Tensor) -> Tensor:
    """A convolution that mixes channels, of stride 1 or with windows that do not overlap, as one matrix product."""
    weight, kernel, stride = conv.weight, conv.kernel_size[0], conv.stride[0]
    if stride > 1:
        x = x[:, : x.shape[1] // stride * stride].reshape(x.shape[0], -1, stride * x.shape[2])
    elif kernel > 1:
        padded = F.pad(x, (0, 0, *conv.pads))
        x = torch.cat([padded[:, tap : tap + x.shape[1]] for tap in range(kernel)], dim=2)
    return F.linear(x, weight.transpose(1, 2).flatten(1), conv.bias).float()


def _norm(norm: nn.Module, x: Tensor) -> Tensor:
    if not isinstance(norm, ChannelNorm):
        return x
    return F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.epsilon)


def _front(front: TrendFront, samples: Tensor) -> Tensor:
    """Branches and ``expand`` are linear with nothing between, so they are one product of 5 x 7 envelope values."""
    trends, expand, merge = front.trends, as_conv(front.expand), as_conv(front.merge)
    branches = [as_conv(branch) for branch in trends.branches]
    envelopes = torch.cat([envelope(samples, scale, trends.causal) for scale in trends.scales], dim=1)
    windows = F.pad(envelopes, branches[0].pads).unfold(-1, BRANCH_KERNEL, 1).transpose(1, 2).flatten(2)
    wide = expand.weight[..., 0]
    with torch.autocast(samples.device.type, enabled=False):
        weight = wide @ torch.block_diag(*(branch.weight[:, 0] for branch in branches))
        bias = wide @ torch.cat([branch.bias for branch in branches]) + expand.bias
    hidden = F.gelu(F.linear(windows, weight, bias))
    narrow = merge.weight[..., 0]
    merged = F.linear(hidden, narrow[:, :-1], merge.bias)
    return torch.addcmul(merged.float(), samples.transpose(1, 2), narrow[:, -1])


def _gated(gate: nn.Module, x: Tensor) -> Tensor:
    if not isinstance(gate, TrendGate):
        return x
    bias = gate.merge.bias
    assert bias is not None
    with torch.autocast(x.device.type, enabled=False):
        first = x[..., 0].unsqueeze(1).contiguous()  # [B, 1, T]
        scales, branches = gate.trends.scales, gate.trends.branches
        envelopes = [envelope(first, scale, gate.trends.causal) for scale in scales]
        trends = [_single(as_conv(branch), curve) for branch, curve in zip(branches, envelopes, strict=True)]
        normed = gate.norm(torch.cat(trends, dim=1)).transpose(1, 2)
        return x * F.linear(normed, gate.merge.weight[..., 0], bias + 1)


def _single(conv: Conv1d, x: Tensor) -> Tensor:
    """A convolution of one channel to one, [B, 1, T]: a product with shifted copies, whose gradient is six times as
    fast as that of the convolution."""
    padded, step = F.pad(x, conv.pads), conv.dilation[0]
    places = range(0, conv.kernel_size[0] * step, step)
    shifted = torch.stack([padded[..., first : first + x.shape[-1]] for first in places])
    return torch.tensordot(conv.weight[0, 0], shifted, 1) + conv.bias


def _raised(x: Tensor, factor: int, causal: bool) -> Tensor:
    """``sqcodec.nn.published.layers.upsample`` of [B, T, C]."""
    if factor == 1 or causal:
        return upsample(x.transpose(1, 2), factor, causal).transpose(1, 2).contiguous()
    image = x.transpose(1, 2).unsqueeze(2)  # [B, C, 1, T]
    size = (1, factor * x.shape[1])
    return F.interpolate(image, size, mode="bilinear", align_corners=False).squeeze(2).transpose(1, 2)


def _head(head: WaveformHead, x: Tensor) -> Tensor:
    for unit in head.units:
        assert isinstance(unit, SnakeUnit)
        dilated, pointwise = as_conv(unit.dilated), as_conv(unit.pointwise)
        y = _dilated(dilated, _activated(unit.first_snake, _lowered(x)))
        y = F.linear(_activated(unit.second_snake, y), pointwise.weight[..., 0], pointwise.bias)
        x = x + y.float()
    project = as_conv(head.project)
    products = F.linear(F.pad(_activated(head.snake, _lowered(x)), (0, 0, *project.pads)), project.weight[0].T).float()
    total = project.bias
    for tap in range(products.shape[2]):
        total = total + products[:, tap : tap + x.shape[1], tap]
    return torch.tanh(total).unsqueeze(1)


def _lowered(x: Tensor) -> Tensor:
    """In the precision that autocast gives to what comes next, already before its activation."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x

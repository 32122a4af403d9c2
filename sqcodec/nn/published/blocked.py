"""Layers of the convolutional networks for inference: weights prepared once, activations in blocks of time.

A residual unit is a convolution of short reach and point-wise layers, so it can be computed for a block of steps at
once. Run layer by layer over a whole recording, it reads and writes its widest activations a dozen times from memory,
which takes longer than its matrix products. Activations have their channels last, scales and neighbouring linear maps
are multiplied into each other in float64, and the residual stream is float32 whatever the precision of the products.
``sqcodec.nn.published.layers``, ``tconv`` and ``decoder`` are the reference for all of it.

Letters: B batch, T time steps, C channels. Layout [B, T, C] unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqcodec.nn.inference import Affine, InferenceOptions, Norm
from sqcodec.nn.published.decoder import SnakeUnit, UpStage, WaveformHead
from sqcodec.nn.published.layers import ChannelNorm, Conv1d, ConvUnit, ResponseScale, Snake, as_conv, as_linear
from sqcodec.nn.published.snake import SnakeFunction, compiled_snake, snake
from sqcodec.nn.published.tconv import BRANCH_KERNEL, TrendFront, TrendGate, envelope

BLOCK_BYTES = 2**19
"""Of the widest activation in a block, for each thread: a part of a core's second cache."""


def blocks(steps: int, width: int, dtype: torch.dtype = torch.float32) -> Iterator[slice]:
    """Blocks of ``steps`` for activations of ``width`` values a step, all channels and items together."""
    size = max(64, BLOCK_BYTES * torch.get_num_threads() // (width * dtype.itemsize))
    for start in range(0, steps, size):
        yield slice(start, min(start + size, steps))


def windows(x: Tensor, pads: tuple[int, int], width: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of x to be overwritten, and what they depend on: copies from ``pads[0]`` steps before to ``pads[1]``
    behind, with zeros outside the signal. A block may be changed before the next one is asked for."""
    past = x.new_zeros(x.shape[0], pads[0], x.shape[2])
    for part in blocks(x.shape[1], x.shape[0] * width, dtype):
        count, inside = part.stop - part.start, x[:, part.start : part.stop + pads[1]]
        missing = count + pads[1] - inside.shape[1]
        rest = [x.new_zeros(x.shape[0], missing, x.shape[2])] if missing else []
        known = torch.cat([past, inside, *rest], dim=1)
        past = known[:, count : count + pads[0]]
        yield x[:, part], known


class BlockedSnake:
    """``Snake`` or GELU on [..., C]."""

    def __init__(self, activation: nn.Module, options: InferenceOptions) -> None:
        self.alpha: Tensor | None = None
        if isinstance(activation, Snake):
            self.alpha = activation.alpha.detach().clone()
            self.gain = (self.alpha + activation.epsilon).reciprocal()
            self.function: SnakeFunction = compiled_snake() if options.compiled else snake

    def __call__(self, x: Tensor) -> Tensor:
        return F.gelu(x) if self.alpha is None else self.function(x, self.alpha, self.gain)


class BlockedUnit:
    """``ConvUnit``; changes its input in place."""

    def __init__(self, unit: ConvUnit, options: InferenceOptions) -> None:
        depthwise, expand, contract = as_conv(unit.depthwise), as_linear(unit.expand), as_linear(unit.contract)
        self.taps = depthwise.weight.detach()[:, 0].T.contiguous().unbind(0)
        self.tap_bias = depthwise.bias.detach().clone()
        self.pads, self.dilation = depthwise.pads, depthwise.dilation[0]
        self.norm = Norm(unit.norm) if isinstance(unit.norm, nn.LayerNorm) else None
        self.expand = Affine(expand.weight, expand.bias, options)
        self.activation = BlockedSnake(unit.activation, options)
        weight, bias = contract.weight.double(), contract.bias.double()
        if isinstance(unit.response, ResponseScale):
            bias = bias + weight @ unit.response.beta.double()
            weight = weight * (1 + unit.response.gamma.double())
        if unit.layer_scale is not None:
            weight, bias = weight * unit.layer_scale.double()[:, None], bias * unit.layer_scale.double()
        self.contract = Affine(weight, bias, options)
        self.width, self.dtype = contract.in_features, options.dtype

    def __call__(self, x: Tensor) -> Tensor:
        for block, known in windows(x, self.pads, self.width, self.dtype):
            count = block.shape[1]
            hidden = torch.addcmul(self.tap_bias, known[:, :count], self.taps[0])
            for tap in range(1, len(self.taps)):
                first = tap * self.dilation
                hidden.addcmul_(known[:, first : first + count], self.taps[tap])
            hidden = self.norm(hidden) if self.norm else hidden
            block += self.contract(self.activation(self.expand(hidden)))
        return x


class BlockedConv:
    """``Conv1d`` that mixes channels: of any reach with stride 1, or with windows that do not overlap."""

    def __init__(self, conv: Conv1d, options: InferenceOptions) -> None:
        self.pads, self.stride, self.kernel = conv.pads, conv.stride[0], conv.kernel_size[0]
        assert conv.dilation == (1,) and conv.groups == 1 and self.stride in (1, self.kernel)
        weight = conv.weight.detach().transpose(1, 2).flatten(1)  # [out, kernel * in]
        self.map = Affine(weight, conv.bias, options)

    def __call__(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            count = x.shape[1] // self.stride
            return self.map(x[:, : count * self.stride].reshape(x.shape[0], count, -1)).float()
        if self.kernel > 1:
            padded = F.pad(x, (0, 0, *self.pads))
            x = torch.cat([padded[:, tap : tap + x.shape[1]] for tap in range(self.kernel)], dim=2)
        return self.map(x).float()


class BlockedFront:
    """``TrendFront``: samples [B, 1, T] to [B, T, C]. Branches and ``expand`` are linear with nothing between, so
    they are one product of 5 x 7 envelope values."""

    def __init__(self, front: TrendFront, options: InferenceOptions) -> None:
        trends, branches = front.trends, [as_conv(branch) for branch in front.trends.branches]
        expand, merge = as_conv(front.expand), as_conv(front.merge)
        self.scales, self.causal, self.pads = trends.scales, trends.causal, branches[0].pads
        wide = expand.weight.double()[..., 0]
        weight = wide @ torch.block_diag(*(branch.weight.double()[:, 0] for branch in branches))
        bias = wide @ torch.cat([branch.bias.double() for branch in branches]) + expand.bias.double()
        self.expand = Affine(weight, bias, options)
        narrow = merge.weight.detach()[..., 0]
        self.merge = Affine(narrow[:, :-1], merge.bias, options)
        self.direct = narrow[:, -1].clone()

    def __call__(self, samples: Tensor) -> Tensor:
        envelopes = torch.cat([envelope(samples, scale, self.causal) for scale in self.scales], dim=1)
        windows = F.pad(envelopes, self.pads).unfold(-1, BRANCH_KERNEL, 1).transpose(1, 2)  # [B, T, scales, 7]
        output = samples.new_empty(samples.shape[0], samples.shape[2], len(self.direct))
        for part in blocks(samples.shape[2], samples.shape[0] * self.merge.width):
            merged = self.merge(F.gelu(self.expand(windows[:, part].flatten(2))))
            torch.addcmul(merged, samples[:, 0, part, None], self.direct, out=output[:, part])
        return output


class BlockedUpStage:
    """``UpStage`` after its units: gate, point-wise convolution, linear upsampling, norm."""

    def __init__(self, stage: UpStage, options: InferenceOptions) -> None:
        self.gate: TrendGate | None = None
        if isinstance(stage.gate, TrendGate):
            self.gate, merge = stage.gate, stage.gate.merge
            assert merge.bias is not None
            self.gate_weight, self.gate_bias = merge.weight.detach()[..., 0].clone(), merge.bias.detach() + 1
        self.up = BlockedConv(as_conv(stage.up), options)
        self.stride, self.causal, self.norm = stage.stride, stage.causal, BlockedChannelNorm(stage.norm)

    def __call__(self, x: Tensor) -> Tensor:
        if self.gate is not None:
            gate = self.gate.norm(self.gate.trends(x[..., 0].unsqueeze(1).contiguous())).transpose(1, 2)
        parts = []
        for part in blocks(x.shape[1], x.shape[0] * x.shape[2] * 2):
            inward = x[:, part]
            if self.gate is not None:
                inward = inward * F.linear(gate[:, part], self.gate_weight, self.gate_bias)
            parts.append(self.up(inward))
        x = torch.cat(parts, dim=1)
        first = x[:, :1] if not self.causal else torch.zeros_like(x[:, :1])
        padded = torch.cat([first, x, x[:, -1:]], dim=1)
        output = x.new_empty(x.shape[0], x.shape[1], self.stride, x.shape[2])
        for part in blocks(x.shape[1], x.shape[0] * x.shape[2] * self.stride * 2):
            raised = _interpolated(padded[:, part.start : part.stop + 2], self.stride, self.causal)
            output[:, part] = self.norm(raised)
        return output.flatten(1, 2)


class BlockedChannelNorm:
    """``ChannelNorm`` over the last dimension, or nothing."""

    def __init__(self, norm: nn.Module) -> None:
        self.norm = norm if isinstance(norm, ChannelNorm) else None

    def __call__(self, x: Tensor) -> Tensor:
        norm = self.norm
        return x if norm is None else torch.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.epsilon)


class BlockedHeadUnit:
    """``SnakeUnit``: its convolution of many taps in oneDNN's kernels for channels last. Changes its input."""

    def __init__(self, unit: SnakeUnit, options: InferenceOptions) -> None:
        dilated, pointwise = as_conv(unit.dilated), as_conv(unit.pointwise)
        self.pads, self.dilation, self.dtype = dilated.pads, (1, dilated.dilation[0]), options.dtype
        weight = dilated.weight.detach().unsqueeze(2).to(options.dtype)
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias = dilated.bias.detach().to(options.dtype)
        self.first, self.second = BlockedSnake(unit.first_snake, options), BlockedSnake(unit.second_snake, options)
        self.pointwise = BlockedConv(pointwise, options)

    def __call__(self, x: Tensor) -> Tensor:
        """Outside the signal there are zeros, which Snake maps to zeros, so padding can come before it."""
        for block, known in windows(x, self.pads, 2 * x.shape[2], torch.float32):
            inner = self.first(known).to(self.dtype).transpose(1, 2).unsqueeze(2)  # [B, C, 1, T]
            inner = F.conv2d(inner, self.weight, self.bias, dilation=self.dilation).squeeze(2).transpose(1, 2)
            block += self.pointwise(self.second(inner))
        return x


class BlockedHead:
    """``WaveformHead``: [B, T, C] to samples [B, 1, T]."""

    def __init__(self, head: WaveformHead, options: InferenceOptions) -> None:
        self.units = [BlockedHeadUnit(unit, options) for unit in head.units if isinstance(unit, SnakeUnit)]
        self.snake = BlockedSnake(head.snake, InferenceOptions(compiled=options.compiled))
        project = as_conv(head.project)
        self.pads, self.bias = project.pads, project.bias.detach().clone()
        self.weight = project.weight.detach()[0].contiguous()  # [C, taps]

    def __call__(self, x: Tensor) -> Tensor:
        for unit in self.units:
            x = unit(x)
        outputs = []
        for block, known in windows(x, self.pads, 2 * x.shape[2], torch.float32):
            count, products = block.shape[1], self.snake(known) @ self.weight
            total = products[:, :count, 0] + self.bias
            for tap in range(1, self.weight.shape[1]):
                total += products[:, tap : tap + count, tap]
            outputs.append(torch.tanh(total))
        return torch.cat(outputs, dim=1).unsqueeze(1)


def _interpolated(padded: Tensor, factor: int, causal: bool) -> Tensor:
    """Linear interpolation between steps: [B, 1 + T + 1, C], with a step of context on both sides, to
    [B, T, factor, C], as ``sqcodec.nn.published.layers.upsample``."""
    before, here, after = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]
    output = padded.new_empty(here.shape[0], here.shape[1], factor, here.shape[2])
    for index in range(factor):
        if causal:
            output[:, :, index] = torch.lerp(before, here, (index + 1) / factor)
            continue
        offset = (index + 0.5) / factor - 0.5
        output[:, :, index] = torch.lerp(before, here, 1 + offset) if offset < 0 else torch.lerp(here, after, offset)
    return output

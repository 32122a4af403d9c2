"""Layers of the frame-rate network as steps: some new frames and a state in, their outputs and a new state out.

This is the one inference path of our own models, offline and streaming. A layer's state is all that it keeps of the
past: the last inputs of a depthwise convolution, the keys and values of two blocks of ``window`` frames, the last
samples of the STFT, the last windowed frames of the overlap-add. Weights are prepared once: layer scales, the
attention's scale and neighbouring linear maps are multiplied into each other in float64. A step may write into the
state it is given. Steps are plain objects, not modules: a live stream takes 20 ms of audio through some 500 small
operations, and what a module adds to each call is a tenth of its time.

How a recording is cut into steps does not change a single bit of the result, as long as a matrix product gives a row
the same value whatever rows are beside it. On CPUs that holds from ``fewest_rows`` on (fewer rows take other code
paths: up to 3 on AMD; up to 15 on Intel, 4 with packed weights), hence three rules: no step has fewer rows; the
softmax and both products of the attention run over slots at fixed places (see ``AttentionStep``), never over a window
that moves; widths of activations are multiples of ``ALIGNMENT``, so that an element never falls into the remainder of
a vector loop.

Letters: B batch, R rows (frames of a step, padded), C channels, H heads, W window, E channels of a head, M blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqcodec.nn.inference import Affine, InferenceOptions, Norm
from sqcodec.nn.layers import FrameTransformerLayer, FrameUnit
from sqcodec.nn.spectral import POWER_FLOOR, ISTFTHead, STFTFront
from sqcodec.nn.tconv import GATE_CONTEXT, TrendFront, TrendGate, Trends, gate_windows

ALIGNMENT = 64


@cache
def fewest_rows(packed: bool, width: int, window: int) -> int:
    """Rows that a step has at least: 4, 8 or 16, the first that this CPU gives the values of many rows.

    Tried with attention of ``window`` frames and heads ``width`` wide and, unless weights are packed, linear maps.
    """
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 4, rows, width, generator=generator) for rows in (48, 2 * window, 2 * window))
    x = torch.randn(48, 1536, generator=generator)
    weights = [] if packed else [torch.randn(384, inputs, generator=generator) for inputs in (128, 384, 1536)]

    def products(rows: int) -> list[Tensor]:
        scores = query[:, :, :rows] @ key.transpose(-1, -2)
        linear = (F.linear(x[:rows, : weight.shape[1]], weight) for weight in weights)
        return [scores, torch.softmax(scores, dim=-1) @ value, *linear]

    with torch.inference_mode():
        many = products(48)
        for rows in (4, 8):
            if all(torch.equal(few, most[..., :rows, :]) for few, most in zip(products(rows), many, strict=True)):
                return rows
    return 16


@dataclass(frozen=True)
class Span:
    """Where the frames of a step are: the number of the first, and how many of its rows are real.

    A span lies in one block of ``window`` frames, or is whole blocks, of which the first of a recording is not one.
    """

    start: int
    count: int


class FeedForward:
    """norm, expand, GELU, contract; the layer scale is in the last weights."""

    def __init__(
        self, norm: nn.LayerNorm, expand: nn.Linear, contract: nn.Linear, scale: Tensor, options: InferenceOptions
    ) -> None:
        self.norm = Norm(norm)
        extra = -expand.out_features % ALIGNMENT
        self.expand = Affine(F.pad(expand.weight, (0, 0, 0, extra)), F.pad(expand.bias, (0, extra)), options, gelu=True)
        weight = scale.double()[:, None] * contract.weight.double()
        self.contract = Affine(F.pad(weight, (0, extra)), scale.double() * contract.bias.double(), options)

    def __call__(self, x: Tensor) -> Tensor:
        """What is added to the residual of [B, R, C]."""
        return self.contract(self.expand(self.norm(x)))


class UnitStep:
    """``FrameUnit``; its state is the last kernel_size - 1 inputs [B, kernel_size - 1, C]."""

    def __init__(self, unit: FrameUnit, options: InferenceOptions) -> None:
        self.taps = unit.depthwise_weight.detach().clone().unbind(0)
        self.tap_bias = unit.depthwise_bias.detach().clone()
        self.feed = FeedForward(unit.norm, unit.expand, unit.contract, unit.scale, options)
        self.state_shapes = ((unit.kernel_size - 1, unit.depthwise_bias.shape[0]),)

    def __call__(self, x: Tensor, state: list[Tensor], span: Span) -> tuple[Tensor, list[Tensor]]:
        rows, past = x.shape[1], len(self.taps) - 1
        known = torch.cat([state[0], x], dim=1)
        hidden = torch.addcmul(self.tap_bias, x, self.taps[past])
        for tap in range(past):
            hidden.addcmul_(known[:, tap : tap + rows], self.taps[tap])
        return x + self.feed(hidden), [known[:, span.count : span.count + past]]


class AttentionStep:
    """``FrameTransformerLayer``; its state is keys and values, [B, H, 2W, E] each: the block before, and this one.

    Frame t of a block is in slot W + t, and in slot t once the block is over. So the scores of a query always stand in
    the same order, and what it may not see (later frames, or those ``window`` or more before it) weighs exactly 0.
    """

    def __init__(self, layer: FrameTransformerLayer, options: InferenceOptions) -> None:
        dim, heads, window = layer.attention_out.in_features, layer.heads, layer.window
        self.heads, self.window, self.norm = heads, window, Norm(layer.attention_norm)
        factors = torch.ones(3 * dim, dtype=torch.float64, device=layer.attention_scale.device)
        factors[:dim] = (dim // heads) ** -0.5
        self.query_key_value = Affine(factors[:, None] * layer.query_key_value.weight.double(), None, options)
        scale, out = layer.attention_scale.double(), layer.attention_out
        self.out = Affine(scale[:, None] * out.weight.double(), scale * out.bias.double(), options)
        self.feed = FeedForward(layer.feed_norm, layer.expand, layer.contract, layer.feed_scale, options)
        slots = torch.arange(2 * window, device=layer.distance_bias.device)
        distance = slots[window:, None] - slots
        seen = (distance >= 0) & (distance < window)
        bias = layer.distance_bias.detach().float()[:, distance.clamp(0, window - 1)]
        self.bias = bias.masked_fill(~seen, -math.inf)  # [H, W, 2W]
        self.first_bias = self.bias.masked_fill(slots < window, -math.inf)  # nothing came before
        self.state_shapes = ((heads, 2 * window, dim // heads),) * 2

    def __call__(self, x: Tensor, state: list[Tensor], span: Span) -> tuple[Tensor, list[Tensor]]:
        batch, rows, dim = x.shape
        query, key, value = self.query_key_value(self.norm(x)).float().view(batch, rows, 3, self.heads, -1).unbind(2)
        slot = span.start % self.window
        bias = self.first_bias if span.start < self.window else self.bias
        if slot == 0 and span.count % self.window == 0 and span.count == rows:
            query = query.unflatten(1, (-1, self.window)).transpose(2, 3).flatten(0, 1)  # [B M, H, W, E]
            keys, kept_keys = self._whole(key, state[0])
            values, kept_values = self._whole(value, state[1])
        else:
            query, bias = query.transpose(1, 2), _rows(bias, slot, rows)
            keys, kept_keys = self._part(key, state[0], slot, span.count)
            values, kept_values = self._part(value, state[1], slot, span.count)
        weights = torch.softmax(query @ keys.transpose(-1, -2) + bias, dim=-1)
        mixed = (weights @ values).transpose(1, 2).reshape(batch, rows, dim)
        x = x + self.out(mixed)
        return x + self.feed(x), [kept_keys, kept_values]

    def _whole(self, new: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """New keys or values [B, M W, H, E]: for each block [B M, H, 2W, E], and the state after the last."""
        blocks = new.unflatten(1, (-1, self.window)).transpose(2, 3)
        before = torch.cat([state[:, None, :, : self.window], blocks[:, :-1]], dim=1)
        last = torch.cat([blocks[:, -1], torch.zeros_like(blocks[:, -1])], dim=2)
        return torch.cat([before, blocks], dim=3).flatten(0, 1), last

    def _part(self, new: Tensor, state: Tensor, slot: int, count: int) -> tuple[Tensor, Tensor]:
        """New keys or values [B, R, H, E] of this block: what to attend to [B, H, 2W, E], and the state after."""
        first = self.window + slot
        state[:, :, first : first + count] = new[:, :count].transpose(1, 2)
        if slot + count < self.window:
            return state, state
        return state, torch.cat([state[:, :, self.window :], torch.zeros_like(state[:, :, self.window :])], dim=2)


class FrontStep:
    """The front: spectra, trends, or both added; its state is the last samples [B, overlap]."""

    def __init__(self, overlap: int, frame_length: int, parts: list[SpectrumStep | TrendStep]) -> None:
        self.hop, self.parts = frame_length, parts
        self.state_shapes = ((overlap,),)

    def __call__(self, samples: Tensor, state: list[Tensor], span: Span) -> tuple[Tensor, list[Tensor]]:
        """[B, R * F] to [B, R, C]."""
        overlap = state[0].shape[1]
        known = torch.cat([state[0], samples], dim=1)
        x = self.parts[0](known[:, overlap - self.parts[0].overlap :])
        for part in self.parts[1:]:
            x = x + part(known[:, overlap - part.overlap :])
        first = span.count * self.hop
        return x, [known[:, first : first + overlap]]


class TrendStep:
    """``Trends`` and ``TrendFront``."""

    def __init__(self, trends: Trends, front: TrendFront, options: InferenceOptions) -> None:
        self.trends, self.overlap, self.positions = trends, trends.overlap, front.positions
        # Widths are padded to multiples of ALIGNMENT, as everywhere.
        inputs, width = front.expand.in_features, front.expand.out_features
        self.input_pad, extra = -inputs % ALIGNMENT, -width % ALIGNMENT
        weight = F.pad(front.expand.weight, (0, self.input_pad, 0, extra))
        self.expand = Affine(weight, F.pad(front.expand.bias, (0, extra)), options, gelu=True)
        weight = F.pad(front.project.weight.view(-1, front.positions, width), (0, extra)).flatten(1)
        self.project = Affine(weight, None, options)

    def __call__(self, known: Tensor) -> Tensor:
        """[B, overlap + R * F] to float32 [B, R, C]."""
        windows = F.pad(self.trends(known), (0, self.input_pad))
        hidden = self.expand(windows)
        return self.project(hidden.view(hidden.shape[0], -1, self.positions * hidden.shape[2])).float()


class GateStep:
    """``TrendGate``; its state is the last GATE_CONTEXT values of the first channel [B, GATE_CONTEXT]."""

    def __init__(self, gate: TrendGate, options: InferenceOptions) -> None:
        self.pad = -gate.merge.in_features % ALIGNMENT
        # 1 + gain: the residual is in the bias.
        options = replace(options, dtype=torch.float32)
        self.merge = Affine(F.pad(gate.merge.weight, (0, self.pad)), gate.merge.bias + 1, options)
        self.state_shapes = ((GATE_CONTEXT,),)

    def __call__(self, x: Tensor, state: list[Tensor], span: Span) -> tuple[Tensor, list[Tensor]]:
        known = torch.cat([state[0], x[..., 0]], dim=1)
        gain = self.merge(F.pad(gate_windows(known), (0, self.pad)))
        return x * gain, [known[:, span.count : span.count + GATE_CONTEXT]]


class SpectrumStep:
    """``STFTFront`` and the linear map after it."""

    def __init__(self, front: STFTFront, project: nn.Linear, options: InferenceOptions) -> None:
        self.n_fft, self.hop, self.exponent = front.n_fft, front.hop, front.exponent
        self.window = front.window.detach().clone()
        real, imaginary, level = project.weight.double().chunk(3, dim=1)
        interleaved = torch.stack([real, imaginary], dim=-1).flatten(1)
        weight = torch.cat([interleaved, 0.25 * level], dim=1)
        self.project = Affine(weight, project.bias.double() + level.sum(dim=1), options)
        self.overlap = front.overlap

    def __call__(self, known: Tensor) -> Tensor:
        """[B, overlap + R * F] to float32 [B, R, C]."""
        parts = torch.view_as_real(torch.fft.rfft(known.unfold(-1, self.n_fft, self.hop) * self.window))
        power = parts.square().sum(dim=-1)
        level = torch.log(power + POWER_FLOOR)
        gain = torch.exp(level * -self.exponent)
        features = torch.cat([(parts * gain.unsqueeze(-1)).flatten(-2), level], dim=-1)
        return self.project(features).float()


class HeadStep:
    """Norm, linear map and ``ISTFTHead``; its state is the last windowed frames [B, parts - 1, n_fft]."""

    def __init__(
        self, norm: nn.LayerNorm, project: nn.Linear, head: ISTFTHead, subframes: int, options: InferenceOptions
    ) -> None:
        self.norm = Norm(norm)
        self.n_fft, self.hop, self.subframes = head.n_fft, head.hop, subframes
        self.parts, self.limit = head.n_fft // head.hop, head.MAX_LOG_MAGNITUDE
        self.bins = head.n_fft // 2 + 1
        self.width = self.bins + -self.bins % ALIGNMENT
        self.window = head.window.detach().clone()
        shape, pad = (subframes, 2, self.bins), self.width - self.bins
        weight = F.pad(project.weight.detach().view(*shape, -1), (0, 0, 0, pad)).flatten(0, 2)
        self.project = Affine(weight, F.pad(project.bias.detach().view(shape), (0, pad)).flatten(), options)
        self.state_shapes = ((self.parts - 1, head.n_fft),)

    def __call__(self, x: Tensor, state: list[Tensor], span: Span) -> tuple[Tensor, list[Tensor]]:
        """[B, R, C] to samples [B, R * S * hop]."""
        logits = self.project(self.norm(x)).float().view(x.shape[0], -1, 2, self.width)
        magnitude, phase = logits[:, :, 0].clamp(max=self.limit).exp_(), logits[:, :, 1].contiguous()
        spectrum = torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase))
        frames = torch.fft.irfft(spectrum[..., : self.bins], n=self.n_fft) * self.window
        known = torch.cat([state[0], frames], dim=1)
        pieces = known.unflatten(-1, (self.parts, self.hop))
        count, last = frames.shape[1], self.parts - 1
        output = pieces[:, last : last + count, 0]
        for part in range(1, self.parts):
            output = output + pieces[:, last - part : last - part + count, part]
        first = span.count * self.subframes
        return output.flatten(1), [known[:, first : first + last]]


def _rows(table: Tensor, first: int, count: int) -> Tensor:
    """Rows [..., count, 2W] of a table [..., W, 2W]; those beyond its end belong to padding and repeat the last one."""
    part = table[..., first : first + count, :]
    missing = count - part.shape[-2]
    if not missing:
        return part
    return torch.cat([part, part[..., -1:, :].expand(*part.shape[:-2], missing, -1)], dim=-2)

"""The frame-rate network as graphs for other runtimes: ``sqcodec.nn.steps`` in operators that all of them have.

A graph takes any number of whole frames, the frames so far, and the state; it gives the results and the new state. So
one graph codes a whole recording (zeros as state), a long one piece by piece, and a live one frame by frame. FFTs are
matrix products, the encoder's in float64, since its log spectrum would hear the round-off of float32.

Letters: B batch, N frames, F samples a frame, Q tokens a frame, C channels, H heads, W window, E channels of a head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqcodec.nn.incremental import DecoderSteps, EncoderSteps
from sqcodec.nn.spectral import POWER_FLOOR
from sqcodec.nn.steps import AttentionStep, FrontStep, GateStep, HeadStep, SpectrumStep, TrendStep, UnitStep
from sqcodec.nn.tconv import GATE_CONTEXT, gate_windows
from sqcodec.quantizers.base import split_digits
from sqcodec.quantizers.nested import NestedFSP
from sqcodec.quantizers.scalar import ScalarQuantizer
from sqcodec.quantizers.tree import TreeQuantizer
from sqcodec.quantizers.vector import VectorQuantizer


class UnitGraph(nn.Module):
    """``UnitStep``; state [B, kernel_size - 1, C]."""

    def __init__(self, step: UnitStep) -> None:
        super().__init__()
        self.feed, self.bias = step.feed, step.tap_bias
        self.kernel = torch.stack(step.taps, dim=1)[:, None].contiguous()
        self.state_shapes = step.state_shapes

    def forward(self, x: Tensor, state: list[Tensor], position: Tensor) -> tuple[Tensor, list[Tensor]]:
        known = torch.cat([state[0], x], dim=1)
        hidden = F.conv1d(known.transpose(1, 2), self.kernel, self.bias, groups=self.kernel.shape[0]).transpose(1, 2)
        return x + self.feed(hidden), [known[:, -(self.kernel.shape[2] - 1) :]]


class AttentionGraph(nn.Module):
    """``AttentionStep``; state: keys and values of the last W - 1 frames, [B, H, W - 1, E] each."""

    def __init__(self, step: AttentionStep) -> None:
        super().__init__()
        self.step, self.window = step, step.window
        self.distance_bias = step.bias[:, -1, step.window :].flip(-1).contiguous()
        heads, _, width = step.state_shapes[0]
        self.state_shapes = ((heads, step.window - 1, width),) * 2

    def forward(self, x: Tensor, state: list[Tensor], position: Tensor) -> tuple[Tensor, list[Tensor]]:
        step, past = self.step, self.window - 1
        hidden = step.norm(x)
        parts = step.query_key_value(hidden).view(x.shape[0], x.shape[1], 3, step.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        keys, values = torch.cat([state[0], key], dim=2), torch.cat([state[1], value], dim=2)
        slots = torch.arange(x.shape[1] + past)
        distance = slots[past:, None] - slots  # the last past + 1 keys are seen, those before the start are not
        hidden_slots = (distance < 0) | (distance > past) | (slots < past - position)
        bias = self.distance_bias[:, distance.clamp(0, past)].masked_fill(hidden_slots, -math.inf)
        mixed = torch.softmax(query @ keys.transpose(-1, -2) + bias, dim=-1) @ values
        x = x + step.out(mixed.transpose(1, 2).reshape(x.shape))
        return x + step.feed(x), [keys[:, :, -past:], values[:, :, -past:]]


class FrontGraph(nn.Module):
    """``FrontStep``; state [B, overlap]."""

    def __init__(self, step: FrontStep) -> None:
        super().__init__()
        self.state_shapes = step.state_shapes
        graphs = [SpectrumGraph(part) if isinstance(part, SpectrumStep) else TrendGraph(part) for part in step.parts]
        self.parts = nn.ModuleList(graphs)
        self.starts = [step.state_shapes[0][0] - part.overlap for part in step.parts]

    def forward(self, samples: Tensor, state: list[Tensor], position: Tensor) -> tuple[Tensor, list[Tensor]]:
        known = torch.cat([state[0], samples], dim=1)
        parts = [part(known[:, start:]) for part, start in zip(self.parts, self.starts, strict=True)]
        return sum(parts[1:], parts[0]), [known[:, -self.state_shapes[0][0] :]]


class TrendGraph(nn.Module):
    """``TrendStep``."""

    def __init__(self, step: TrendStep) -> None:
        super().__init__()
        self.step, self.trends = step, step.trends

    def forward(self, known: Tensor) -> Tensor:
        step, trends = self.step, self.trends
        starts = torch.arange((known.shape[1] - trends.overlap) // trends.hop)[:, None]
        curves = zip(trends.curves(known), trends.taps, trends.steps, strict=True)
        windows = [curve[:, starts * hop + torch.arange(taps)] for curve, taps, hop in curves]
        hidden = step.expand(F.pad(torch.cat(windows, dim=2), (0, step.input_pad)))
        return step.project(hidden.view(known.shape[0], -1, step.positions * hidden.shape[2]))


class GateGraph(nn.Module):
    """``GateStep``; state [B, GATE_CONTEXT]."""

    def __init__(self, step: GateStep) -> None:
        super().__init__()
        self.step, self.state_shapes = step, step.state_shapes

    def forward(self, x: Tensor, state: list[Tensor], position: Tensor) -> tuple[Tensor, list[Tensor]]:
        known = torch.cat([state[0], x[..., 0]], dim=1)
        return x * self.step.merge(F.pad(gate_windows(known), (0, self.step.pad))), [known[:, -GATE_CONTEXT:]]


class SpectrumGraph(nn.Module):
    """``SpectrumStep``."""

    def __init__(self, step: SpectrumStep) -> None:
        super().__init__()
        self.step = step
        spectra = torch.fft.rfft(torch.eye(step.n_fft, dtype=torch.float64) * step.window.double())
        self.transform = torch.view_as_real(spectra).flatten(1)  # real and imaginary parts in turns

    def forward(self, known: Tensor) -> Tensor:
        step = self.step
        starts = torch.arange((known.shape[1] - step.overlap) // step.hop) * step.hop
        frames = known[:, starts[:, None] + torch.arange(step.n_fft)].double()
        parts = (frames @ self.transform).float().view(known.shape[0], -1, step.n_fft // 2 + 1, 2)
        level = torch.log(parts.square().sum(dim=-1) + POWER_FLOOR)
        scaled = parts * torch.exp(level * -step.exponent).unsqueeze(-1)
        return step.project(torch.cat([scaled.flatten(-2), level], dim=-1))


class HeadGraph(nn.Module):
    """``HeadStep``; state [B, parts - 1, n_fft]."""

    def __init__(self, step: HeadStep) -> None:
        super().__init__()
        self.step, self.state_shapes = step, step.state_shapes
        unit = torch.eye(step.bins, dtype=torch.complex128)
        spectra = torch.cat([unit, 1j * unit])
        waves = torch.fft.irfft(spectra, n=step.n_fft) * step.window.double()
        self.transform = waves.float()  # [2 bins, n_fft]

    def forward(self, x: Tensor, state: list[Tensor], position: Tensor) -> tuple[Tensor, list[Tensor]]:
        step = self.step
        x = step.norm(x)
        logits = step.project(x).view(x.shape[0], -1, 2, step.width)[..., : step.bins]
        magnitude, phase = logits[:, :, 0].clamp(max=step.limit).exp(), logits[:, :, 1]
        spectrum = torch.cat([magnitude * torch.cos(phase), magnitude * torch.sin(phase)], dim=-1)
        last = step.parts - 1
        known = torch.cat([state[0], spectrum @ self.transform], dim=1)
        pieces = known.view(x.shape[0], -1, step.parts, step.hop)
        output = pieces[:, last:, 0]
        for part in range(1, step.parts):
            output = output + pieces[:, last - part : -part, part]
        return output.flatten(1), [known[:, -last:]]


GRAPHS: dict[type, Any] = {
    UnitStep: UnitGraph,
    AttentionStep: AttentionGraph,
    FrontStep: FrontGraph,
    GateStep: GateGraph,
    HeadStep: HeadGraph,
}


class CoderGraph(nn.Module):
    """``EncoderSteps`` or ``DecoderSteps`` (not packed, float32, a scalar or vector quantizer).

    forward(samples [B, N F] or tokens [B, N Q], position, *state) gives (tokens or samples, *state). Of nested tokens
    the encoder gives the finest, and the decoder takes their bits: forward(tokens, position, bits, *state).
    """

    def __init__(self, steps: EncoderSteps | DecoderSteps) -> None:
        super().__init__()
        refusal = "Only models with the quantizers fsq, fsp, nested and vp can be exported."
        if isinstance(steps.quantizer, TreeQuantizer):
            raise ValueError(refusal)
        if not isinstance(steps.quantizer, (ScalarQuantizer, VectorQuantizer)):
            raise ValueError(refusal)
        if isinstance(steps.quantizer, VectorQuantizer):
            steps.quantizer.check_fitted()
        self.quantizer: ScalarQuantizer | VectorQuantizer = steps.quantizer
        self.coder = steps
        graphs: list[Any] = [GRAPHS[type(step)](step) for step in steps.steps]
        self.graphs = nn.ModuleList(graphs)
        self.state_shapes: list[tuple[int, ...]] = [shape for graph in graphs for shape in graph.state_shapes]
        self.state_counts = [len(graph.state_shapes) for graph in graphs]
        self.takes_bits = isinstance(steps, DecoderSteps) and isinstance(steps.quantizer, NestedFSP)

    def forward(self, x: Tensor, position: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        coder = self.coder
        bits = state[0] if self.takes_bits else None
        state = state[1:] if self.takes_bits else state
        after: list[Tensor] = []
        if isinstance(coder, DecoderSteps):
            codes = self._codes(x, bits)
            x = coder.from_codes(codes.reshape(x.shape[0], -1, coder.tokens_per_frame * codes.shape[2]))
        for graph, count in zip(self.graphs, self.state_counts, strict=True):
            x, kept = graph(x, list(state[len(after) : len(after) + count]), position)
            after += kept
        if isinstance(coder, EncoderSteps):
            x = coder.norm(x)
            latents = coder.to_latents(x).view(x.shape[0], -1, self.quantizer.project_in.out_features)
            x = self._nearest(latents)
        else:
            x = x.clamp(-1, 1)
        return x, *after

    def _codes(self, tokens: Tensor, bits: Tensor | None) -> Tensor:
        """[B, N Q] to codes [B, N Q, D]."""
        if isinstance(self.quantizer, VectorQuantizer):
            return self.quantizer.codebook[tokens]
        if isinstance(self.quantizer, NestedFSP):
            assert bits is not None
            return self.quantizer.codes_of(tokens, bits)
        return self.quantizer.codes(split_digits(tokens, self.quantizer.levels).float())

    def _nearest(self, latents: Tensor) -> Tensor:
        """[B, N Q, D] to tokens [B, N Q]; distances are summed dimension by dimension, as ``nearest_codes`` does."""
        if isinstance(self.quantizer, NestedFSP):
            return self.quantizer.nearest(latents, self.quantizer.highest)
        if not isinstance(self.quantizer, VectorQuantizer):
            return self.quantizer.nearest(latents)
        codes = self.quantizer.codebook
        distance = (latents[..., 0, None] - codes[:, 0]).square()
        for dimension in range(1, codes.shape[1]):
            distance = distance + (latents[..., dimension, None] - codes[:, dimension]).square()
        return distance.argmin(dim=-1)

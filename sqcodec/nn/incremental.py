"""Incremental coding with the frame-rate network: any number of whole frames in, their results out, state kept.

``EncoderSteps`` and ``DecoderSteps`` cut what they are given into spans that end where the attention's blocks do;
``sqcodec.nn.steps`` says why the result does not depend on the cuts. Memory is that of one span, however long the
recording.

Letters: B batch, F samples a frame, Q tokens a frame, D code dimensions, C channels, N frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqcodec.nn.inference import Affine, InferenceOptions, Norm
from sqcodec.nn.layers import FrameTransformerLayer, FrameUnit
from sqcodec.nn.network import FrameNetwork
from sqcodec.nn.steps import (
    AttentionStep,
    FrontStep,
    GateStep,
    HeadStep,
    Span,
    SpectrumStep,
    TrendStep,
    UnitStep,
    fewest_rows,
)
from sqcodec.nn.tconv import TrendGate

Step = FrontStep | UnitStep | AttentionStep | GateStep | HeadStep

ROWS_PER_STEP = 384
"""Most rows (batch x frames) of a step: their activations stay in a CPU core's cache."""


ROW_MULTIPLE = 8

LOST = -(2**62)
"""Among tokens: one that did not arrive."""

FADE_SECONDS = 0.06
"""How long the last code is heard where a token is lost, getting weaker."""


@dataclass
class FrameState:
    """What a coder knows of the past: frames so far, and the layers' states [B, ...] in order."""

    position: int
    tensors: list[Tensor]


class FrameSteps:
    """A chain of steps. A subclass says what comes before the first and after the last."""

    def __init__(self, network: FrameNetwork, dim: int, options: InferenceOptions) -> None:
        transformer = network.config.transformer
        self.window = transformer.window
        self.fewest = fewest_rows(options.packed, dim // transformer.heads, self.window)
        self.tokens_per_frame = network.tokens_per_frame
        self.frame_length = network.frame_length
        self.quantizer = network.quantizer
        self.steps: list[Step] = []

    def initial_state(self, batch: int) -> FrameState:
        """Before the first frame: silence."""
        like = self.quantizer.project_in.weight
        shapes = [shape for step in self.steps for shape in step.state_shapes]
        return FrameState(0, [torch.zeros(batch, *shape, device=like.device) for shape in shapes])

    def run(self, x: Tensor, state: list[Tensor], span: Span) -> tuple[Tensor, list[Tensor]]:
        """All steps on padded rows; the new state knows the real ones."""
        after: list[Tensor] = []
        for step in self.steps:
            count = len(step.state_shapes)
            x, kept = step(x, state[len(after) : len(after) + count], span)
            after += kept
        return x, after

    def rows(self, count: int) -> int:
        """Rows for a span of ``count`` frames: whole blocks as they are, else one of few different numbers, since
        oneDNN keeps code for each that it has seen."""
        if count % self.window == 0 and count >= self.fewest:
            return count
        return self.fewest if count <= self.fewest else -(-count // ROW_MULTIPLE) * ROW_MULTIPLE

    def spans(self, position: int, count: int, batch: int) -> Iterator[Span]:
        """Spans of ``count`` frames from ``position`` on."""
        most = max(1, ROWS_PER_STEP // (batch * self.window)) * self.window
        end = position + count
        while position < end:
            to_boundary = self.window - position % self.window
            whole = min(most, (end - position) // self.window * self.window)
            first = position < self.window
            step = to_boundary if to_boundary < self.window or first or whole < self.fewest else whole
            step = min(step, end - position)
            yield Span(position, step)
            position += step


class EncoderSteps(FrameSteps):
    """Samples to tokens."""

    def __init__(self, network: FrameNetwork, options: InferenceOptions | None = None) -> None:
        options = options or InferenceOptions()
        super().__init__(network, network.config.encoder.dim, options)
        *layers, norm = network.encoder
        assert isinstance(norm, nn.LayerNorm)
        parts: list[SpectrumStep | TrendStep] = []
        if network.front is not None:
            parts.append(SpectrumStep(network.front, network.front_project, options))
        if network.trends is not None:
            parts.append(TrendStep(network.trends, network.trend_front, options))
        self.steps.append(FrontStep(network.front_overlap, network.frame_length, parts))
        self.steps.extend(_step(layer, options) for layer in layers)
        self.norm = Norm(norm)
        inward, split = network.quantizer.project_in, network.split
        per_token = split.weight.double().view(self.tokens_per_frame, -1, split.in_features)
        weight = inward.weight.double() @ per_token  # [Q, D, C]
        bias = split.bias.double().view(self.tokens_per_frame, -1) @ inward.weight.double().T + inward.bias.double()
        self.to_latents = Affine(weight.flatten(0, 1), bias.flatten(), replace(options, dtype=torch.float32))

    def latents(self, samples: Tensor, state: list[Tensor], span: Span) -> tuple[Tensor, list[Tensor]]:
        """Samples [B, R * F] to what is quantised [B, R * Q, D]."""
        x, after = self.run(samples, state, span)
        return self.to_latents(self.norm(x)).view(x.shape[0], x.shape[1] * self.tokens_per_frame, -1), after

    def __call__(self, samples: Tensor, state: FrameState, bits: int | None = None) -> Tensor:
        """Samples [B, N * F] to tokens [B, N * Q] (of ``bits``, where they are nested); the state moves on by N."""
        length, origin, parts = self.frame_length, state.position, []
        quantizer = self.quantizer.at(bits)
        for span in self.spans(origin, samples.shape[1] // length, samples.shape[0]):
            first = (span.start - origin) * length
            part = samples[:, first : first + span.count * length]
            part = _lengthened(part, self.rows(span.count) * length)
            latents, state.tensors = self.latents(part, state.tensors, span)
            parts.append(quantizer.nearest(latents)[:, : span.count * self.tokens_per_frame])
            state.position += span.count
        return _joined(parts) if parts else samples.new_zeros(samples.shape[0], 0, dtype=torch.int64)


class DecoderSteps(FrameSteps):
    """Tokens to samples."""

    def __init__(self, network: FrameNetwork, options: InferenceOptions | None = None) -> None:
        options = options or InferenceOptions()
        super().__init__(network, network.config.decoder.dim, options)
        *layers, norm = network.decoder_layers()
        assert isinstance(norm, nn.LayerNorm)
        self.steps.extend(_step(layer, options) for layer in layers)
        self.steps.append(HeadStep(norm, network.head_project, network.head, network.subframes, options))
        outward, join = network.quantizer.project_out, network.join
        per_token = join.weight.double().view(join.out_features, self.tokens_per_frame, -1)
        weight = per_token @ outward.weight.double()  # [C, Q, D]
        bias = join.bias.double() + (per_token @ outward.bias.double()).sum(dim=1)
        self.from_codes = Affine(weight.flatten(1), bias, replace(options, dtype=torch.float32))
        self.lost_code, self.told = network.quantizer.lost_code, network.config.conceals
        self.fade = FADE_SECONDS * network.config.sample_rate / network.frame_length

    def initial_state(self, batch: int) -> FrameState:
        state = super().initial_state(batch)
        if not self.told:
            held = torch.zeros(batch, self.tokens_per_frame, len(self.lost_code), device=self.lost_code.device)
            state.tensors += [held, torch.zeros_like(held[..., :1])]
        return state

    def conceal(self, codes: Tensor, lost: Tensor, state: list[Tensor], span: Span) -> tuple[Tensor, list[Tensor]]:
        """Codes [B, R, Q, D] with others where tokens [B, R, Q, 1] were lost, and the state after.

        A network trained with lost tokens is told of them, by the code that has no bits. Others hear the last code of
        the same place in a frame, which fades to that one; state: how far it is from it [B, Q, D], frames since.
        """
        if self.told:
            return torch.where(lost, self.lost_code, codes), []
        if not lost.any():
            return codes, [codes[:, span.count - 1] - self.lost_code, torch.zeros_like(state[1])]
        table = torch.cat([state[0][:, None], codes - self.lost_code], dim=1)
        numbers = torch.arange(1, codes.shape[1] + 1, device=codes.device)[:, None, None]
        last = numbers.masked_fill(lost, 0).cummax(dim=1).values
        held = table.gather(1, last.expand_as(codes))
        since = numbers - last + (last == 0) * state[1][:, None]
        faded = self.lost_code + held * (1 - since / self.fade).clamp_min(0)
        return torch.where(lost, faded, codes), [held[:, span.count - 1], since[:, span.count - 1].float()]

    def samples(self, codes: Tensor, state: list[Tensor], span: Span) -> tuple[Tensor, list[Tensor]]:
        """Codes [B, R * Q, D] to samples [B, R * F]."""
        x = self.from_codes(codes.reshape(codes.shape[0], -1, self.tokens_per_frame * codes.shape[2]))
        return self.run(x, state, span)

    def __call__(self, tokens: Tensor, state: FrameState, bits: int | None = None) -> Tensor:
        """Tokens [B, N * Q], of ``bits`` where they are nested or ``LOST``, to samples [B, N * F], the first
        ``lookahead`` of them before the recording, none above full scale."""
        per_frame, origin, parts = self.tokens_per_frame, state.position, []
        quantizer = self.quantizer.at(bits)
        for span in self.spans(origin, tokens.shape[1] // per_frame, tokens.shape[0]):
            first = (span.start - origin) * per_frame
            part = tokens[:, first : first + span.count * per_frame]
            part = _lengthened(part, self.rows(span.count) * per_frame)
            part = part.unflatten(1, (-1, per_frame))
            lost = part == LOST
            codes = quantizer.lookup(part.masked_fill(lost, 0).flatten(1)).unflatten(1, (-1, per_frame))
            count = len(state.tensors) - 2 * (not self.told)
            codes, held = self.conceal(codes, lost[..., None], state.tensors[count:], span)
            samples, after = self.samples(codes.flatten(1, 2), state.tensors[:count], span)
            state.tensors = after + held
            parts.append(samples[:, : span.count * self.frame_length].clamp(-1, 1))
            state.position += span.count
        return _joined(parts) if parts else torch.zeros(tokens.shape[0], 0, device=tokens.device)


def _lengthened(x: Tensor, length: int) -> Tensor:
    """x [B, T] with zeros behind."""
    return F.pad(x, (0, length - x.shape[1])) if length > x.shape[1] else x


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _step(layer: nn.Module, options: InferenceOptions) -> Step:
    if isinstance(layer, FrameUnit):
        return UnitStep(layer, options)
    if isinstance(layer, TrendGate):
        return GateStep(layer, options)
    assert isinstance(layer, FrameTransformerLayer)
    return AttentionStep(layer, options)

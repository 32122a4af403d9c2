"""Streams over the steps of the frame-rate network: samples or tokens in pieces of any length, batches of any lengths.

Letters: B batch, T samples, F samples a frame, N frames, Q tokens a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sqcodec.nn.incremental import DecoderSteps, EncoderSteps, FrameState


@dataclass
class StreamState:
    """All that a stream remembers: the layers' states, inputs that fill no frame yet, and how far it is."""

    layers: FrameState
    pending: Tensor
    """[B, less than a frame]: samples or tokens."""
    total: int = 0
    """Samples that came in (encoder), or that went out, those before the recording included (decoder)."""


class EncoderStream:
    """Samples in pieces of any length; tokens as soon as their frame is complete, of ``bits`` where they are nested."""

    def __init__(self, steps: EncoderSteps, batch: int, bits: int | None = None) -> None:
        self.steps, self.bits = steps, bits
        layers = steps.initial_state(batch)
        self.state = StreamState(layers, torch.zeros(batch, 0, device=layers.tensors[0].device))

    def push(self, samples: Tensor) -> Tensor:
        """float32 [B, T] to int64 [B, tokens of the frames that are complete now]."""
        state, length = self.state, self.steps.frame_length
        state.total += samples.shape[1]
        samples = samples.to(state.pending.device)
        samples = torch.cat([state.pending, samples], dim=1) if state.pending.shape[1] else samples
        whole = samples.shape[1] // length * length
        state.pending = samples[:, whole:].clone()
        return self.steps(samples[:, :whole], state.layers, self.bits)

    def flush(self, frames: int) -> Tensor:
        """Silence up to ``frames`` frames in all: the tokens [B, n] that are still missing."""
        missing = (frames - self.state.layers.position) * self.steps.frame_length - self.state.pending.shape[1]
        total = self.state.total
        tokens = self.push(self.state.pending.new_zeros(self.state.pending.shape[0], max(0, missing)))
        self.state.total = total
        return tokens


class DecoderStream:
    """Tokens in pieces of any length, of ``bits`` where they are nested; samples as soon as they are known."""

    def __init__(self, steps: DecoderSteps, batch: int, lookahead: int, bits: int | None = None) -> None:
        self.steps, self.lookahead, self.bits = steps, lookahead, bits
        layers = steps.initial_state(batch)
        pending = torch.zeros(batch, 0, dtype=torch.int64, device=layers.tensors[0].device)
        self.state = StreamState(layers, pending)

    def push(self, tokens: Tensor) -> Tensor:
        """Integers [B, n] to float32 [B, samples of the frames that are complete now]."""
        state, per_frame = self.state, self.steps.tokens_per_frame
        tokens = torch.cat([state.pending, tokens.to(state.pending)], dim=1)
        whole = tokens.shape[1] // per_frame * per_frame
        samples = self.steps(tokens[:, :whole], state.layers, self.bits)
        state.pending = tokens[:, whole:].clone()
        before = max(0, self.lookahead - state.total)
        state.total += samples.shape[1]
        return samples[:, before:]


def encode_items(
    steps: EncoderSteps, items: Sequence[Tensor], frames: Sequence[int], bits: int | None = None
) -> list[Tensor]:
    """Samples [T] of several recordings to tokens [n], together: what each gives by itself, without padding.

    Args:
        frames: frames that each is coded as; its samples are followed by silence.
    """
    order = sorted(range(len(items)), key=lambda index: -frames[index])
    length = steps.frame_length
    batch = torch.stack([F.pad(items[index], (0, frames[order[0]] * length - len(items[index]))) for index in order])
    parts = _shrinking(steps, batch, [frames[index] for index in order], length, bits)
    return _unsorted(parts, order)


def decode_items(steps: DecoderSteps, items: Sequence[Tensor], bits: int | None = None) -> list[Tensor]:
    """Tokens [n] of several recordings, whole frames each, to samples [n / Q * F] each, lookahead included."""
    per_frame = steps.tokens_per_frame
    order = sorted(range(len(items)), key=lambda index: -len(items[index]))
    longest = len(items[order[0]])
    batch = torch.stack([F.pad(items[index], (0, longest - len(items[index]))) for index in order])
    parts = _shrinking(steps, batch, [len(items[index]) // per_frame for index in order], per_frame, bits)
    return _unsorted(parts, order)


def _shrinking(
    steps: EncoderSteps | DecoderSteps, batch: Tensor, frames: list[int], length: int, bits: int | None
) -> list[list[Tensor]]:
    """Run rows of falling numbers of ``frames``; a row leaves the batch when it is done. Outputs of each, in parts."""
    state = steps.initial_state(len(frames))
    outputs: list[list[Tensor]] = [[] for _ in frames]
    active = len(frames)
    while active and state.position < frames[0]:
        while frames[active - 1] <= state.position:
            active -= 1
        state.tensors = [tensor[:active] for tensor in state.tensors]
        part = batch[:active, state.position * length : frames[active - 1] * length]
        for row, output in enumerate(steps(part, state, bits)):
            outputs[row].append(output)
    return outputs


def _unsorted(parts: list[list[Tensor]], order: list[int]) -> list[Tensor]:
    results = [torch.zeros(0)] * len(order)
    for row, index in zip(parts, order, strict=True):
        results[index] = torch.cat(row)
    return results

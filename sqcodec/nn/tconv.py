"""TConv of SQCodec (arXiv 2504.04949) for the causal network: trends of the waveform and gates at the frame rate.

The trend of scale k is the running mean of the running maximum of |x| over k samples. As published, TConv convolves the
trends of several scales at every sample, widens them, and adds the signal itself. Here the convolutions step by
``hop`` samples, and slow trends are taken at every few samples only: the same module at a fraction of the cost.
``sqcodec.nn.published.tconv`` has the published form.

Letters: B batch, T samples, F samples a frame, N frames, P positions a frame, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW_HOPS = 2
"""A convolution of the front sees this many hops."""
GATE_SCALES = (1, 3, 5, 9)
GATE_TAPS = 7


def stride(scale: int, hop: int) -> int:
    """Samples between two values of the trend of ``scale``: the largest power of two up to (scale - 1) / 2 that
    divides the hop."""
    return min(hop & -hop, 1 << max(0, (max(1, (scale - 1) // 2)).bit_length() - 1))


def means(scale: int, hop: int) -> int:
    """Maxima that a trend averages: as many as span ``scale`` samples."""
    return -(-scale // stride(scale, hop)) if scale > 1 else 1


class Trends(nn.Module):
    """Windows of all trends, without parameters: what the convolutions of the front are applied to.

    Args:
        scales: samples, odd; 1 is the signal itself.
        frame_length: F.
        hop: samples between two windows, a divisor of F.
    """

    def __init__(self, scales: tuple[int, ...], frame_length: int, hop: int) -> None:
        super().__init__()
        if frame_length % hop:
            raise ValueError(f"trend_hop is {hop}: a divisor of the frame of {frame_length} is needed.")
        self.scales, self.frame_length, self.hop = scales, frame_length, hop
        self.steps = [hop // stride(scale, hop) for scale in scales]
        self.taps = [WINDOW_HOPS * step for step in self.steps]

    @property
    def num_features(self) -> int:
        """Values of a window."""
        return sum(self.taps)

    @property
    def overlap(self) -> int:
        """Samples of the past that the first window of a frame sees."""
        reach = max(scale - 1 + (means(scale, self.hop) - 1) * stride(scale, self.hop) for scale in self.scales)
        return (WINDOW_HOPS - 1) * self.hop + reach

    def forward(self, samples: Tensor) -> Tensor:
        """float32 [B, overlap + N F] to [B, N P, num_features]; the first ``overlap`` samples are context."""
        curves = zip(self.curves(samples), self.taps, self.steps, strict=True)
        return torch.cat([curve.unfold(1, taps, step) for curve, taps, step in curves], dim=2)

    def curves(self, samples: Tensor) -> list[Tensor]:
        """The trends [B, T'], each so long that windows of ``taps`` values, ``steps`` apart, fit from its start to its
        end: the last value of a window belongs to the last sample of its hop."""
        found, before = [], self.overlap - (WINDOW_HOPS - 1) * self.hop
        for scale in self.scales:
            step, mean = stride(scale, self.hop), means(scale, self.hop)
            if scale == 1:
                found.append(samples[:, before:])
                continue
            first = before - (mean - 2) * step - scale
            peaks = F.max_pool1d(samples[:, None, first:].abs(), scale, step)
            found.append((F.avg_pool1d(peaks, mean, 1) if mean > 1 else peaks)[:, 0])
        return found


class TrendFront(nn.Module):
    """The convolutions of TConv over windows of the trends, cut into frames: [B, N P, num_features] to [B, N, C].

    A branch for each scale and the layer that widens them are linear with nothing between: one matrix. What is added
    to other features of a frame starts at zero, so that a network trained without it can be continued with it.
    """

    def __init__(self, trends: Trends, width: int, dim: int, alone: bool) -> None:
        super().__init__()
        self.positions = trends.frame_length // trends.hop
        self.expand = nn.Linear(trends.num_features, width)
        self.project = nn.Linear(self.positions * width, dim, bias=False)
        if not alone:
            nn.init.zeros_(self.project.weight)

    def forward(self, windows: Tensor) -> Tensor:
        hidden = F.gelu(self.expand(windows), approximate="tanh")
        return self.project(hidden.view(windows.shape[0], -1, self.project.in_features))


class TrendGate(nn.Module):
    """TConv gate of a decoder stage: x + gate x, driven by the trends of the first channel of x [B, N, C], causal.

    As published but for the norm over all time: trends over 1, 3, 5 and 9 frames, convolutions of 7 taps dilated by
    1, 2, 3 and 5, merged into a gain for each channel. Convolution and merge are linear: one matrix, zero at first.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.merge = nn.Linear(GATE_TAPS * len(GATE_SCALES), dim)
        nn.init.zeros_(self.merge.weight)
        nn.init.zeros_(self.merge.bias)

    def forward(self, x: Tensor) -> Tensor:
        first = F.pad(x[..., 0].float(), (GATE_CONTEXT, 0))
        return x + self.merge(gate_windows(first)) * x


GATE_REACH = max(2 * (scale - 1) for scale in GATE_SCALES)
GATE_CONTEXT = GATE_REACH + max((GATE_TAPS - 1) * (scale // 2 + 1) for scale in GATE_SCALES)
"""Frames before its own that a gate sees."""


_DILATIONS = [scale // 2 + 1 for scale in GATE_SCALES]
_LONGEST = (GATE_TAPS - 1) * max(_DILATIONS)
_CURVES = torch.arange(len(GATE_SCALES)).repeat_interleave(GATE_TAPS)
_PLACES = torch.cat([torch.arange(_LONGEST - (GATE_TAPS - 1) * step, _LONGEST + 1, step) for step in _DILATIONS])


def gate_windows(first: Tensor) -> Tensor:
    """The first channel [B, GATE_CONTEXT + N], context included, to the taps of all trends [B, N, 28]."""
    count, level = first.shape[1] - GATE_CONTEXT, first.abs()[:, None]
    trends = []
    for scale in GATE_SCALES:
        trend = first if scale == 1 else F.avg_pool1d(F.max_pool1d(level, scale, 1), scale, 1)[:, 0]
        trends.append(trend[:, GATE_REACH - 2 * (scale - 1) :])
    frames = torch.arange(count, device=first.device)[:, None] + _PLACES.to(first.device)
    return torch.stack(trends, dim=1)[:, _CURVES.to(first.device), frames]

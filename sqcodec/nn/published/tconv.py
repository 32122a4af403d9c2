"""TConv: convolutions over envelopes ("trends") of a signal at several time scales (arXiv 2504.04949).

The envelope of scale k is the running mean of the running maximum of |x|, both over k samples. SQCodec
begins with a TConv block and gates its decoder stages with another. Letters: B batch, C channels, T time
steps; [B, C, T].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sqcodec.nn.published.layers import Conv1d, normed

FRONT_SCALES = (1, 5, 11, 21, 45)
GATE_SCALES = (1, 3, 5, 9)
BRANCH_KERNEL = 7
FRONT_BRANCH_CHANNELS = 4


def branch_context(scale: int, dilation: int) -> int:
    """Steps before its own that a causal branch sees: two poolings and a convolution."""
    return 2 * (scale - 1) + (BRANCH_KERNEL - 1) * dilation


def gate_dilation(scale: int) -> int:
    """Dilation of a gate's branch."""
    return scale // 2 + 1


FRONT_CONTEXT = max(branch_context(scale, 1) for scale in FRONT_SCALES)
GATE_CONTEXT = max(branch_context(scale, gate_dilation(scale)) for scale in GATE_SCALES)


def envelope(x: Tensor, scale: int, causal: bool) -> Tensor:
    """Envelope of x over `scale` (odd) samples; x itself at scale 1.

    Centred, or if causal over the `scale` samples up to t; zero outside the signal.
    """
    if scale == 1:
        return x
    pads = (scale - 1, 0) if causal else (scale // 2, scale // 2)
    peaks = F.max_pool1d(F.pad(x.abs(), pads), scale, stride=1)
    return F.avg_pool1d(F.pad(peaks, pads), scale, stride=1)


class TrendConv(nn.Module):
    """One convolution for each scale, over the envelope of a one-channel signal; [B, 1, T] -> [B, C, T]."""

    def __init__(
        self,
        branch_channels: int,
        scales: tuple[int, ...],
        dilations: tuple[int, ...],
        *,
        causal: bool,
        weight_norm: bool,
    ) -> None:
        super().__init__()
        self.scales = scales
        self.causal = causal
        self.branches = nn.ModuleList(
            normed(Conv1d(1, branch_channels, BRANCH_KERNEL, dilation=dilation, causal=causal), weight_norm)
            for dilation in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        outputs = [
            branch(envelope(x, scale, self.causal))
            for branch, scale in zip(self.branches, self.scales, strict=True)
        ]
        return torch.cat(outputs, dim=1)


class TrendFront(nn.Module):
    """First block of the encoder: TConv, widened, beside the signal itself; [B, 1, T] -> [B, C, T]."""

    def __init__(self, channels: int, *, causal: bool, weight_norm: bool) -> None:
        super().__init__()
        narrow = FRONT_BRANCH_CHANNELS * len(FRONT_SCALES)
        self.trends = TrendConv(
            FRONT_BRANCH_CHANNELS,
            FRONT_SCALES,
            (1,) * len(FRONT_SCALES),
            causal=causal,
            weight_norm=weight_norm,
        )
        self.expand = normed(Conv1d(narrow, 4 * narrow, 1), weight_norm)
        self.merge = normed(Conv1d(4 * narrow + 1, channels, 1), weight_norm)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.gelu(self.expand(self.trends(x)))
        return self.merge(torch.cat([wide, x], dim=1))


class TrendGate(nn.Module):
    """Gate of a decoder stage, driven by the envelopes of the first channel: x + gate x; [B, C, T].

    `norm` is an instance norm over all time, as published; without it a gate can be causal.
    """

    def __init__(self, channels: int, *, causal: bool, norm: bool, weight_norm: bool) -> None:
        super().__init__()
        dilations = tuple(gate_dilation(scale) for scale in GATE_SCALES)
        self.trends = TrendConv(1, GATE_SCALES, dilations, causal=causal, weight_norm=weight_norm)
        self.norm = nn.InstanceNorm1d(len(GATE_SCALES), affine=True) if norm else nn.Identity()
        self.merge = nn.Conv1d(len(GATE_SCALES), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.merge(self.norm(self.trends(x[:, :1]))) * x

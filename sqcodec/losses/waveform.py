"""Losses between waveforms: SI-SDR (Le Roux et al., arXiv 1811.02508). Letters: B batch, T samples."""

from __future__ import annotations

import torch
from torch import Tensor


def si_sdr_loss(output: Tensor, target: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Negative scale-invariant signal-to-distortion ratio in dB, mean over the batch; both [B, T]."""
    output = output - output.mean(-1, keepdim=True)
    target = target - target.mean(-1, keepdim=True)
    scale = (output * target).sum(-1, keepdim=True) / (target.square().sum(-1, keepdim=True) + epsilon)
    wanted = scale * target
    ratio = wanted.square().sum(-1) / ((output - wanted).square().sum(-1) + epsilon)
    return -10.0 * torch.log10(ratio + epsilon).mean()

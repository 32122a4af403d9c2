"""Distance of the features that a frozen encoder finds in two waveforms, whatever encoder that is.

L3AC (arXiv 2504.04949) and VP-VAE (arXiv 2602.17133) train with features of Whisper. Every channel is relative to
its own variance: transformers have channels a hundred times as large as others, which would count alone.

Letters: B batch, T samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ZEROS = 16
"""Zero crossings of the resampling filter on each side."""
ROLL_OFF = 0.95

Encoder = Callable[[Tensor], Tensor | list[Tensor]]
"""Samples [B, T] at its own rate to features [..., C], or to one such tensor a layer."""


class PerceptualLoss(nn.Module):
    """Mean over layers and channels (the last dimension) of mean (fake - real)² / variance of real.

    Args:
        encoder: a module in evaluation mode; its parameters are frozen.
        sample_rate: of what is compared, in Hz.
        encoder_rate: of what the encoder takes, in Hz; waveforms are resampled, differentiably.
    """

    def __init__(self, encoder: nn.Module, sample_rate: int, encoder_rate: int) -> None:
        super().__init__()
        for parameter in encoder.parameters():
            parameter.requires_grad = False
        self.encoder = encoder
        self.resample = Resample(sample_rate, encoder_rate) if sample_rate != encoder_rate else nn.Identity()

    def train(self, mode: bool = True) -> PerceptualLoss:
        """The encoder stays as it is: its features must not be random."""
        self.training = False
        return self

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Both float32 [B, T]."""
        with torch.no_grad():
            real = self._features(target)
        fake = self._features(output)
        return torch.stack([_distance(f.float(), r.float()) for f, r in zip(fake, real, strict=True)]).mean()

    def _features(self, samples: Tensor) -> list[Tensor]:
        found = self.encoder(self.resample(samples))
        return list(found) if isinstance(found, (list, tuple)) else [found]


def _distance(fake: Tensor, real: Tensor) -> Tensor:
    """A scalar. Channels that hardly move count as if they moved a tenth as much as the others."""
    fake, real = fake.flatten(0, -2), real.flatten(0, -2)
    variance = real.var(0, correction=0)
    return ((fake - real).square().mean(0) / (variance + 0.01 * variance.mean() + 1e-8)).mean()


class Resample(nn.Module):
    """Band-limited resampling as one strided convolution (windowed sinc); [B, T] -> [B, about T to / from]."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        super().__init__()
        common = math.gcd(from_rate, to_rate)
        self.step, self.phases = from_rate // common, to_rate // common
        cutoff = ROLL_OFF * min(1.0, to_rate / from_rate)
        self.reach = math.ceil(ZEROS / cutoff)
        # Output p of a group lies p step / phases input samples behind the group's first.
        offsets = torch.arange(self.phases)[:, None] * self.step / self.phases
        time = torch.arange(-self.reach, self.reach + self.step + 1)[None] - offsets
        window = torch.cos(math.pi / 2 * (time / (self.reach + 1)).clamp(-1, 1)).square()
        self.register_buffer("kernel", (cutoff * torch.sinc(cutoff * time) * window)[:, None], persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        padded = F.pad(samples[:, None], (self.reach, self.reach + self.step))
        groups = F.conv1d(padded, self.get_buffer("kernel"), stride=self.step)  # [B, phases, T / step]
        length = -(-samples.shape[-1] * self.phases // self.step)
        return groups.transpose(1, 2).flatten(1)[:, :length]

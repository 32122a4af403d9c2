"""All discriminators of a training run as one module.

The defaults are small enough for adversarial training on one CPU core; the published sizes are
``period_channels = [32, 128, 512, 1024, 1024]`` and ``stft_channels = 32`` with FFT sizes 2048, 1024 and 512.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sqcodec.discriminators.period import PeriodDiscriminator
from sqcodec.discriminators.stft import STFTDiscriminator


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Which discriminators, and how wide."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    """Samples; empty leaves the multi-period discriminator out."""
    period_channels: tuple[int, ...] = (16, 32, 64, 128, 128)
    fft_sizes: tuple[int, ...] = (1024, 512, 256)
    """Samples; empty leaves the spectral discriminator out."""
    bands: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    """Edges, as fractions of the spectrum."""
    stft_channels: int = 16

    def __post_init__(self) -> None:
        for name in ("periods", "period_channels", "fft_sizes", "bands"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.periods and not self.fft_sizes:
            raise ValueError("No discriminator is left: give periods or fft_sizes.")
        if list(self.bands) != sorted(set(self.bands)) or self.bands[0] != 0 or self.bands[-1] != 1:
            raise ValueError(f"bands are {list(self.bands)}: edges must rise from 0 to 1.")

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}


@dataclass
class Judgement:
    """What the discriminators make of a batch: score maps, and features, one list entry per part."""

    scores: list[Tensor]
    features: list[list[Tensor]]


class Discriminators(nn.Module):
    """Multi-period and multi-resolution discriminators, run one after the other."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.parts = nn.ModuleList(
            [
                *(PeriodDiscriminator(period, config.period_channels) for period in config.periods),
                *(STFTDiscriminator(size, config.bands, config.stft_channels) for size in config.fft_sizes),
            ]
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def shortest_input(self) -> int:
        """Samples that the largest FFT and the longest period need."""
        return max((*self.config.fft_sizes, *(4 * period for period in self.config.periods)))

    def forward(self, samples: Tensor) -> Judgement:
        """[B, T], of about unit power."""
        if samples.shape[-1] < self.shortest_input:
            raise ValueError(
                f"Discriminators hear {samples.shape[-1]} samples but need {self.shortest_input}: "
                "raise adversarial.crop_seconds."
            )
        judged = [part(samples) for part in self.parts]
        return Judgement([scores for scores, _ in judged], [features for _, features in judged])

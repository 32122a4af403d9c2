"""All discriminators of a training run as one module.

The defaults are small enough for adversarial training on one CPU core; the published sizes are
``period_channels = [32, 128, 512, 1024, 1024]`` and ``stft_channels = 32`` with FFT sizes 2048, 1024 and 512.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from sqcodec.discriminators.period import PeriodDiscriminator
from sqcodec.discriminators.stft import STFTDiscriminator
from sqcodec.tables import Length, Range, Table

Channels = Annotated[int, Range(1, 8192)]


@dataclass(frozen=True)
class DiscriminatorConfig(Table):
    """Which discriminators, and how wide."""

    periods: Annotated[tuple[Annotated[int, Range(1, 1024)], ...], Length(0, 32)] = (2, 3, 5, 7, 11)
    """Samples; empty leaves the multi-period discriminator out."""
    period_channels: Annotated[tuple[Channels, ...], Length(1, 16)] = (16, 32, 64, 128, 128)
    """Channels of each layer of a period's discriminator."""
    fft_sizes: Annotated[tuple[Annotated[int, Range(4, 65536, even=True)], ...], Length(0, 32)] = (1024, 512, 256)
    """Samples; empty leaves the spectral discriminator out."""
    bands: Annotated[tuple[Annotated[float, Range(0, 1)], ...], Length(2, 64)] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    """Edges, as fractions of the spectrum."""
    stft_channels: Channels = 16
    """Channels of each layer of a spectral discriminator."""

    def check(self) -> None:
        if not self.periods and not self.fft_sizes:
            raise ValueError("No discriminator is left: give periods or fft_sizes.")
        if list(self.bands) != sorted(set(self.bands)) or self.bands[0] != 0 or self.bands[-1] != 1:
            raise ValueError(f"bands are {list(self.bands)}: edges must rise from 0 to 1.")


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

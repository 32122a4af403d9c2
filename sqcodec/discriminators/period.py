"""Multi-period discriminator (HiFi-GAN, arXiv 2010.05646, section 2.3).

Each part folds the waveform into rows of one period and looks along the columns, so that it hears what repeats at
that period. Letters: B batch, T samples, P period, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqcodec.discriminators.layers import convolution, rectify


class PeriodDiscriminator(nn.Module):
    """One period: strided convolutions over [B, 1, T / P, P] with kernels of one column.

    Args:
        period: samples.
        channels: of each layer; all but the last have stride 3.
    """

    def __init__(self, period: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.period = period
        sizes = (1, *channels)
        strides = [3] * (len(channels) - 1) + [1]
        self.layers = nn.ModuleList(
            convolution(sizes[i], sizes[i + 1], (5, 1), (strides[i], 1)) for i in range(len(channels))
        )
        self.score = convolution(channels[-1], 1, (3, 1))

    def forward(self, samples: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B, T] -> scores [B, 1, T', P] and the features of each layer."""
        samples = F.pad(samples, (0, -samples.shape[-1] % self.period), mode="reflect")
        x = samples.unflatten(-1, (-1, self.period))[:, None].contiguous(memory_format=torch.channels_last)
        features = []
        for layer in self.layers:
            x = rectify(layer(x))
            features.append(x)
        return self.score(x), features

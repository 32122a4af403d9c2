"""Multi-band multi-resolution complex-STFT discriminator (DAC, arXiv 2306.06546, section 3.2).

Each part looks at the real and imaginary spectrogram of one FFT size; the bands of the spectrum have convolutions
of their own, so that quiet high bands are judged as carefully as loud low ones. Here the spectrum is also
compressed to the root of its magnitude, which lets a small network see both.

Letters: B batch, T samples, N frames, F bins, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sqcodec.discriminators.layers import convolution, rectify

POWER_FLOOR = 1e-4
"""Added to the power of a bin before compression: 40 dB below a signal of unit power."""


class STFTDiscriminator(nn.Module):
    """One resolution: a stack of convolutions for each band, one score map over all bands.

    Args:
        n_fft: window and FFT length in samples (Hann, hop a quarter).
        bands: edges of the bands as fractions of the spectrum, from 0 to 1.
        channels: of all layers.
    """

    def __init__(self, n_fft: int, bands: tuple[float, ...], channels: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        edges = [round(edge * (n_fft // 2 + 1)) for edge in bands]
        self.slices = list(zip(edges[:-1], edges[1:], strict=True))
        self.bands = nn.ModuleList(nn.ModuleList(_band_layers(channels)) for _ in self.slices)
        self.score = convolution(channels, 1, (3, 3))
        window = torch.hann_window(n_fft)
        self.register_buffer("window", window / window.square().sum().sqrt(), persistent=False)

    def spectrum(self, samples: Tensor) -> Tensor:
        """[B, T] -> compressed complex spectrum as two channels, float32 [B, 2, N, F]."""
        with torch.autocast(samples.device.type, enabled=False):
            frames = samples.float().unfold(-1, self.n_fft, self.n_fft // 4) * self.get_buffer("window")
            spectrum = torch.view_as_real(torch.fft.rfft(frames)).permute(0, 3, 1, 2)
            return spectrum * (spectrum.square().sum(1, keepdim=True) + POWER_FLOOR).pow(-0.25)

    def forward(self, samples: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B, T] -> scores [B, 1, N, F'] and the features of each band and layer."""
        spectrum = self.spectrum(samples)
        features, last = [], []
        for (start, end), layers in zip(self.slices, self.bands, strict=True):
            x = spectrum[..., start:end].contiguous(memory_format=torch.channels_last)
            for layer in layers:  # type: ignore[attr-defined]
                x = rectify(layer(x))
                features.append(x)
            last.append(x)
        return self.score(torch.cat(last, dim=-1)), features


def _band_layers(channels: int) -> list[nn.Module]:
    """Kernels of 3 frames by 9 bins, the bins halved three times, then 3 by 3."""
    layers = [convolution(2, channels, (3, 9))]
    layers += [convolution(channels, channels, (3, 9), (1, 2)) for _ in range(3)]
    return [*layers, convolution(channels, channels, (3, 3))]

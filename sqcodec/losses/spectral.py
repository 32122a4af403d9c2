"""Multi-scale spectral distance between two waveforms.

For each FFT size: L1 between log10 mel spectrograms, and between log10 power spectrograms. The mel part follows
the multi-scale mel loss of DAC (arXiv 2306.06546, section 3.3), the power part the multi-resolution STFT loss of
Parallel WaveGAN (arXiv 1910.11480).

Letters: B batch, T samples, F frames, M mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class SpectralDistance:
    """``mel`` and ``stft``: mean absolute differences of log10 power, averaged over the FFT sizes."""

    mel: Tensor
    stft: Tensor


def unit_window(size: int) -> Tensor:
    """A Hann window of unit energy: bins of white noise of power s then have power s."""
    window = torch.hann_window(size)
    return window / window.square().sum().sqrt()


def power_spectrum(samples: Tensor, window: Tensor, hop: int) -> Tensor:
    """Samples [B, T] to the power [B, F, bins] of frames as long as the window."""
    spectrum = torch.fft.rfft(samples.unfold(-1, len(window), hop) * window)
    return spectrum.real.square() + spectrum.imag.square()


class MultiScaleSpectralLoss(nn.Module):
    """Log-mel and log-power distance over several FFT sizes, hop a quarter of each.

    Args:
        sample_rate: Hz.
        fft_sizes: window and FFT lengths in samples.
        mel_bands: bands for each FFT size.
        floor: added to the power before the logarithm. Windows have unit energy, so white noise of power s has
            bins of power s: a floor of 1e-5 lies 50 dB below full scale.
    """

    def __init__(
        self,
        sample_rate: int,
        fft_sizes: tuple[int, ...] = (2048, 1024, 512, 256, 128),
        mel_bands: tuple[int, ...] = (80, 80, 64, 40, 20),
        floor: float = 1e-5,
    ) -> None:
        super().__init__()
        if len(fft_sizes) != len(mel_bands):
            raise ValueError(f"{len(fft_sizes)} FFT sizes but {len(mel_bands)} numbers of mel bands: give as many.")
        import librosa

        self.fft_sizes = fft_sizes
        self.floor = floor
        for size, bands in zip(fft_sizes, mel_bands, strict=True):
            mel = librosa.filters.mel(sr=sample_rate, n_fft=size, n_mels=bands, norm=None)
            self.register_buffer(f"window_{size}", unit_window(size), persistent=False)
            self.register_buffer(f"mel_{size}", torch.from_numpy(mel).T.contiguous(), persistent=False)

    def forward(self, output: Tensor, target: Tensor) -> SpectralDistance:
        """Distance between ``output`` and ``target``, both float32 [B, T], T at least the largest FFT size."""
        if output.shape != target.shape or output.shape[-1] < max(self.fft_sizes):
            raise ValueError(
                f"Shapes {list(output.shape)} and {list(target.shape)}: give two equal ones of at least "
                f"{max(self.fft_sizes)} samples."
            )
        mel_total, stft_total = output.new_zeros(()), output.new_zeros(())
        for size in self.fft_sizes:
            with torch.no_grad():
                target_mel, target_stft = self._log_spectra(target, size)
            output_mel, output_stft = self._log_spectra(output, size)
            mel_total = mel_total + (output_mel - target_mel).abs().mean()
            stft_total = stft_total + (output_stft - target_stft).abs().mean()
        return SpectralDistance(mel_total / len(self.fft_sizes), stft_total / len(self.fft_sizes))

    def _log_spectra(self, samples: Tensor, size: int) -> tuple[Tensor, Tensor]:
        power = power_spectrum(samples, self.get_buffer(f"window_{size}"), size // 4)
        mel = power @ self.get_buffer(f"mel_{size}")  # [B, F, M]
        return torch.log10(mel + self.floor), torch.log10(power + self.floor)

"""Multi-resolution STFT loss (Parallel WaveGAN, arXiv 1910.11480, section 2.2), as auraloss computes it.

Letters: B batch, T samples, F bins, N frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MultiResolutionSTFTLoss(nn.Module):
    """Mean over FFT sizes of spectral convergence plus the L1 distance of log magnitudes.

    Args:
        fft_sizes: FFT and window length (Hann) of each resolution, hop a quarter.
        epsilon: lowest power of a bin.
    """

    def __init__(self, fft_sizes: tuple[int, ...] = (32, 64, 128, 256, 512, 1024), epsilon: float = 1e-8) -> None:
        super().__init__()
        self.fft_sizes, self.epsilon = fft_sizes, epsilon
        for size in fft_sizes:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Both float32 [B, T]."""
        losses = []
        for size in self.fft_sizes:
            with torch.no_grad():
                real = self._magnitude(target, size)
            fake = self._magnitude(output, size)
            convergence = (real - fake).norm(dim=(-2, -1)) / real.norm(dim=(-2, -1))
            losses.append(convergence.mean() + (fake.log() - real.log()).abs().mean())
        return torch.stack(losses).mean()

    def _magnitude(self, samples: Tensor, size: int) -> Tensor:
        """[B, T] -> [B, F, N]."""
        window = self.get_buffer(f"window_{size}")
        spectrum = torch.stft(samples, size, size // 4, size, window, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return power.clamp_min(self.epsilon).sqrt()

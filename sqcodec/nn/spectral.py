"""Spectral borders of the frame-rate networks: an STFT front and an inverse-STFT head.

The head follows Vocos (arXiv 2306.00814, section 3.3): magnitude and phase of each frame, inverse FFT, window,
overlap-add. Both are causal: frame n of the front sees samples up to the end of hop n of its (shifted) input, and
the head's output for hop n is complete once frame n is known; what the windows overlap is part of the
configuration's lookahead.

Letters: B batch, T samples, N frames, F = n_fft // 2 + 1 bins.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POWER_FLOOR = 1e-7
"""Added to the power of a bin: with unit-peak windows and 16-bit audio, digital silence lies far below it."""


class STFTFront(nn.Module):
    """Waveform to per-frame features: power-compressed complex spectrum and log power.

    Args:
        n_fft: window length in samples (Hann).
        hop: samples per frame.
        exponent: magnitudes are raised to ``1 - 2 * exponent`` (0.35 gives |X|^0.3), phases kept.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop: int, exponent: float = 0.35) -> None:
        super().__init__()
        self.n_fft, self.hop, self.exponent = n_fft, hop, exponent
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    @property
    def num_features(self) -> int:
        return 3 * (self.n_fft // 2 + 1)

    @property
    def overlap(self) -> int:
        """Samples of the past that a frame sees beyond its own hop."""
        return self.n_fft - self.hop

    def forward(self, samples: Tensor) -> Tensor:
        """float32 [B, overlap + N * hop] -> float32 [B, N, 3 * F]; the first ``overlap`` samples are context."""
        frames = samples.unfold(-1, self.n_fft, self.hop) * self.window
        spectrum = torch.fft.rfft(frames)
        power = spectrum.real.square() + spectrum.imag.square() + POWER_FLOOR
        gain = power.pow(-self.exponent)
        return torch.cat([spectrum.real * gain, spectrum.imag * gain, 0.25 * torch.log(power) + 1.0], dim=-1)


class ISTFTHead(nn.Module):
    """Log magnitude and phase to waveform: inverse FFT, window, overlap-add. It has no parameters.

    Args:
        n_fft: window length in samples (Hann), a multiple of ``hop`` of at least four hops, so that the squared
            windows add up to a constant.
        hop: samples per frame.
    """

    MAX_LOG_MAGNITUDE = 6.0
    window: Tensor

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        if n_fft % hop or n_fft < 4 * hop:
            raise ValueError(
                f"An iSTFT head needs n_fft as a multiple of hop, 4 hops or more; got n_fft {n_fft}, hop {hop}."
            )
        self.n_fft, self.hop = n_fft, hop
        window = torch.hann_window(n_fft)
        self.register_buffer("window", window / (window.square().sum() / hop), persistent=False)

    @property
    def overlap(self) -> int:
        """Samples that the overlap-add still misses when a frame's hop is known."""
        return self.n_fft - self.hop

    def polar(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, n_fft + 2] -> magnitude and phase (radians), float32 [B, N, F] each."""
        log_magnitude, phase = logits.float().chunk(2, dim=-1)
        return torch.exp(log_magnitude.clamp(max=self.MAX_LOG_MAGNITUDE)), phase

    def frames(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Polar spectra [B, N, F] -> windowed frames [B, N, n_fft], ready to be overlap-added."""
        return torch.fft.irfft(torch.polar(magnitude, phase), n=self.n_fft) * self.window

    def overlap_add(self, frames: Tensor) -> Tensor:
        """[B, N, n_fft] -> [B, N * hop + overlap]."""
        batch, count, _ = frames.shape
        parts = self.n_fft // self.hop
        pieces = frames.view(batch, count, parts, self.hop)
        rows = [F.pad(pieces[:, :, part], (0, 0, part, parts - 1 - part)) for part in range(parts)]
        return torch.stack(rows).sum(0).flatten(1)

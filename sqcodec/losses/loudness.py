"""How disturbing differences of loudness are: a differentiable distance after the perceptual model of ITU-T P.862.

Letters: B batch, T samples, F bins, N frames, M Bark bands.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sqcodec.losses.spectral import power_spectrum, unit_window

SPEECH_LEVEL = 79.0
"""dB SPL that the reference is taken to be played at (P.862, section 10.2.1)."""
FRAME_SECONDS = 0.032
SONE = 0.1866
"""Scale of the loudness, of P.862 at 16 kHz."""
BARK_STEP = 0.5
QUIET = 1e-5
"""Lowest mean power of a target that is brought to that level: what is quieter is no speech (-50 dB)."""
FLOOR = 1e-3
"""Of a frame's disturbance: keeps the gradient of the power means finite."""


class LoudnessLoss(nn.Module):
    """Symmetric and asymmetric disturbance of the loudness density (P.862, sections 10.2.4 to 10.2.9).

    Power in Bark bands becomes loudness by Zwicker's law. A difference within a quarter of the lower loudness is
    masked. What is added counts more than what is missing, as it is heard as a sound of its own. Long and short-term
    means have the powers of P.862, so that the worst moments count most. Left out: time alignment, and the
    equalisation of a constant colouring; bands and thresholds come from formulas, so the distance follows PESQ but is
    no PESQ.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.window: Tensor
        self.bands: Tensor
        self.threshold: Tensor
        self.width: Tensor
        self.size = 2 * round(FRAME_SECONDS * sample_rate / 2)
        self.register_buffer("window", unit_window(self.size), persistent=False)
        hertz = np.arange(self.size // 2 + 1) * sample_rate / self.size
        bark = 26.81 * hertz / (1960.0 + hertz) - 0.53  # Traunmüller (1990), equation 6
        band = np.floor((bark - bark[2]) / BARK_STEP).astype(int)
        band[:2] = -1  # below 50 Hz
        _, band = np.unique(band, return_inverse=True)
        bands = np.eye(band.max() + 1)[band][:, 1:]  # [F, M]
        centre = (hertz @ bands) / bands.sum(0) / 1000.0
        quiet = 3.64 * centre**-0.8 - 6.5 * np.exp(-0.6 * (centre - 3.3) ** 2) + 1e-3 * centre**4  # Terhardt (1979)
        self.register_buffer("bands", torch.from_numpy(bands).float() * 2.0 / self.size, persistent=False)
        self.register_buffer("threshold", torch.from_numpy(10.0 ** (quiet / 10.0)).float(), persistent=False)
        self.register_buffer("width", torch.from_numpy(np.gradient(bark) @ bands).float(), persistent=False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Both float32 [B, T], T at least a frame; a scalar, 0 for equal ones, about 2 where PESQ is 1.5."""
        with torch.no_grad():
            level = target.square().mean(-1).clamp_min(QUIET)
            gain = (10.0 ** (SPEECH_LEVEL / 10.0) / level)[:, None, None]
            real = self._power(target) * gain
        fake = self._power(output) * gain
        # A change of a frame's level as a whole counts little (section 10.2.6).
        ratio = (self._audible(real) + 5e3) / (self._audible(fake) + 5e3)
        ratio = torch.cat((ratio[:, :1], 0.8 * ratio[:, 1:] + 0.2 * ratio[:, :-1]), 1).clamp(3e-4, 5.0)
        fake = fake * ratio[..., None]
        loud_fake, loud_real = self._loudness(fake), self._loudness(real)
        difference = loud_fake - loud_real
        heard = (difference.abs() - 0.25 * torch.minimum(loud_fake, loud_real)).clamp_min(0.0)
        factor = ((fake + 50.0) / (real + 50.0)) ** 1.2
        factor = torch.where(factor < 3.0, 0.0, factor.clamp_max(12.0))
        total = self.width.sum()
        symmetric = (((heard * self.width).square().sum(-1) + FLOOR**2) * total).sqrt()
        asymmetric = (heard * factor * self.width).sum(-1)
        weight = ((self._audible(real) + 1e5) / 1e7) ** -0.04
        return (0.1 * _pooled(symmetric * weight) + 0.0309 * _pooled(asymmetric * weight)).mean()

    def _power(self, samples: Tensor) -> Tensor:
        """[B, T] -> [B, N, M]."""
        return power_spectrum(samples, self.window, self.size // 2) @ self.bands

    def _audible(self, power: Tensor) -> Tensor:
        """[B, N, M] -> [B, N]: power of the bands above the threshold of hearing."""
        return torch.where(power > self.threshold, power, 0.0).sum(-1)

    def _loudness(self, power: Tensor) -> Tensor:
        """Zwicker's loudness density in sone a Bark."""
        law = (0.5 + 0.5 * power / self.threshold) ** 0.23 - 1.0
        return SONE * (2.0 * self.threshold) ** 0.23 * law.clamp_min(0.0)


def _pooled(frames: Tensor) -> Tensor:
    """[B, N] -> [B]: power mean of 6 over 20 frames, every 10, then of 2 (section 10.2.9)."""
    length = min(20, frames.shape[-1])
    parts = frames.clamp_max(45.0).unfold(-1, length, max(1, length // 2))
    parts = ((parts + FLOOR) ** 6).mean(-1) ** (1.0 / 6.0)
    return parts.square().mean(-1).sqrt()

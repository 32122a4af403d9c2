"""How well speech is understood: a differentiable form of STOI (Taal et al. 2011, IEEE TASLP 19 (7)).

Letters: B batch, T samples, F bins, N frames, M bands, S stretches, L frames of a stretch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sqcodec.losses.spectral import power_spectrum, unit_window

FRAME_SECONDS = 0.0256
LOWEST, BANDS = 150.0, 15
"""Centre of the lowest third of an octave in Hz, and how many there are (section II)."""
LENGTH = 30
"""Frames of a stretch: 384 ms."""
STRIDE = 3
WORST = 10.0 ** (15.0 / 20.0)
"""Error that lowers the score no further, relative to the target: 15 dB (equation 3)."""
SILENCE = 1e-4
"""Power of a frame, relative to the loudest of its clip, below which it does not count (section II: 40 dB)."""
FLOOR = 1e-9
"""Power in a band (a clip's full scale is 1) that is no sound."""


class IntelligibilityLoss(nn.Module):
    """1 - STOI: correlation of the envelopes in thirds of an octave, over stretches of 384 ms.

    Frames, bands and the limit of errors are those of STOI, at the clip's own sample rate; silent frames are cut out,
    here of the envelopes and there of the waveform. Stretches begin every third frame.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.window: Tensor
        self.bands: Tensor
        size = 2 * round(FRAME_SECONDS * sample_rate / 2)
        self.hop = size // 2
        # Zeros behind the window make bins fine enough for the lowest bands.
        self.register_buffer("window", torch.cat((unit_window(size), torch.zeros(size))), persistent=False)
        hertz = np.arange(size + 1) * sample_rate / (2 * size)
        centres = LOWEST * 2.0 ** (np.arange(BANDS) / 3.0)
        inside = (hertz[:, None] >= centres * 2.0 ** (-1 / 6)) & (hertz[:, None] < centres * 2.0 ** (1 / 6))
        inside = inside[:, inside.any(0) & (centres * 2.0 ** (1 / 6) <= sample_rate / 2)]
        self.register_buffer("bands", torch.from_numpy(inside).float() / size, persistent=False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Both float32 [B, T], at least 423 ms; a scalar from 0 (equal) to about 1 (nothing in common).

        Raises:
            ValueError: they are shorter.
        """
        least = len(self.window) + (LENGTH - 1) * self.hop
        if target.shape[-1] < least:
            raise ValueError(
                f"loss.intelligibility compares stretches of {least} samples, segments without lookahead have "
                f"{target.shape[-1]}: make data.segment_seconds longer."
            )
        with torch.no_grad():
            real = self._envelopes(target)
            power = real.square().sum(-1)  # [B, N]
            heard = power > (SILENCE * power.amax(-1, keepdim=True)).clamp_min(2 * BANDS * FLOOR)
            order = heard.int().argsort(stable=True, dim=-1, descending=True)  # sounding frames first
            counted = torch.arange(LENGTH, heard.shape[-1] + 1, STRIDE, device=heard.device) <= heard.sum(-1)[:, None]
        fake = self._envelopes(output)
        order = order[..., None].expand_as(fake)
        real, fake = (x.gather(1, order).unfold(1, LENGTH, STRIDE) for x in (real, fake))  # [B, S, M, L]
        fake = fake * (real.square().sum(-1, keepdim=True) / fake.square().sum(-1, keepdim=True)).sqrt()
        fake = torch.minimum(fake, real * (1.0 + WORST))
        real, fake = (x - x.mean(-1, keepdim=True) for x in (real, fake))
        scale = (real.square().sum(-1) + FLOOR) * (fake.square().sum(-1) + FLOOR)
        found = ((real * fake).sum(-1) / scale.sqrt()).mean(-1)  # [B, S]
        return torch.where(counted, 1.0 - found, 0.0).sum() / counted.sum().clamp_min(1)

    def _envelopes(self, samples: Tensor) -> Tensor:
        """[B, T] -> [B, N, M]: amplitude in each band."""
        return (power_spectrum(samples, self.window, self.hop) @ self.bands + FLOOR).sqrt()

"""Terms for tokens that carry words: distillation from a teacher, and tokens that stay when speech is heard otherwise.

Distillation as in SpeechTokenizer (arXiv 2308.16692) and Mimi (arXiv 2410.00037): the cosine between a teacher's
features and what a small head makes of the tokens. X-Codec (arXiv 2408.17175) takes the squared error instead; a
cosine is between 0 and 2 for any teacher, so that a weight means the same for all. Features come standardised: a few
dimensions of Whisper's are many times as large as the others, and alone would make the cosine.

Letters: B batch, N tokens, C channels, D dimensions of the teacher, T samples.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqcodec.distributed import shared_mean, shared_rand, shared_randn

GAIN_DB, NOISE_DB = 6.0, (30.0, 50.0)
"""How the same speech is heard otherwise: gain up or down, range of the signal-to-noise ratio."""


class SemanticHead(nn.Module):
    """Token features [B, N, C] to a guess of the teacher's [B, N, D]: one hidden layer that sees a few tokens.

    A linear map would not do: what six or eight scalars a token say, it could turn into six or eight dimensions.
    """

    def __init__(self, feature_dim: int, teacher_dim: int, width: int, context: int) -> None:
        super().__init__()
        self.enter = nn.Linear(feature_dim, width)
        self.mix = nn.Conv1d(width, width, context, padding=context // 2)
        self.leave = nn.Linear(width, teacher_dim)

    def forward(self, features: Tensor) -> Tensor:
        hidden = F.gelu(self.enter(features)).transpose(1, 2)
        return self.leave(F.gelu(self.mix(hidden)).transpose(1, 2))


def semantic_loss(guess: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of [B, N, D] each, in float32; mean over all tokens, where those that the teacher says nothing of
    (NaN) count as 0."""
    known = teacher.isfinite().all(-1)
    cosine = F.cosine_similarity(guess.float(), teacher.float().nan_to_num(), dim=-1)
    return ((1.0 - cosine) * known).mean()


def heard_otherwise(samples: Tensor, hop_length: int) -> Tensor:
    """Samples [B, T], each row up to a hop later, at another level, with light noise."""
    batch, length = samples.shape
    device = samples.device
    drawn = shared_rand(batch, 3, device=device)
    places = torch.arange(length, device=device) + (drawn[:, :1] * hop_length).long()
    shifted = F.pad(samples, (0, hop_length)).gather(1, places)
    gain = 10.0 ** (GAIN_DB * (2.0 * drawn[:, 1:2] - 1.0) / 20.0)
    low, high = NOISE_DB
    level = samples.square().mean(-1, keepdim=True).sqrt() * 10.0 ** (-(low + (high - low) * drawn[:, 2:]) / 20.0)
    return (gain * (shifted + level * shared_randn(batch, length, device=device))).clamp(-1.0, 1.0)


def consistency_loss(latents: Tensor, others: Tensor) -> Tensor:
    """Squared distance of two [B, N, D], over the variance of the first in each dimension."""
    flat = latents.detach().flatten(0, -2)
    variance = shared_mean(flat.square().mean(0)) - shared_mean(flat.mean(0)).square()
    return ((latents - others).square() / variance.clamp_min(1e-6)).mean()

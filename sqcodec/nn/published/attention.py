"""Causal local attention over buckets of a fixed window (arXiv 2504.04949, section 3).

A sequence is cut into buckets of `window` steps; each step sees its own bucket up to itself and the whole
bucket before, or exactly the last `window` steps, itself among them. Work and memory grow linearly with
the length, and the scores are one bucket by two at most.

Letters: B batch, N steps, C channels, H heads, E channels of a head, W buckets, w steps of a bucket.
Layout [B, N, C].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sqcodec.config import TransformerConfig

ROTARY_BASE = 10000.0
QK_NORM_SCALE = 8.0


class DynamicBias(nn.Module):
    """Position bias that a small network computes from the distance (CrossFormer, arXiv 2108.00154)."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, heads)
        )

    def forward(self, distances: Tensor) -> Tensor:
        """Distances [N], float, to biases [N, H]."""
        return self.layers(distances.unsqueeze(-1))


class LinearBias(nn.Module):
    """ALiBi (arXiv 2108.12409): a fixed penalty of slope x distance for each head."""

    slopes: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        slopes = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
        self.register_buffer("slopes", slopes, persistent=False)

    def forward(self, distances: Tensor) -> Tensor:
        """Distances [N], float, to biases [N, H]."""
        return -distances.unsqueeze(-1) * self.slopes


class PositionMask(nn.Module):
    """What is added to the scores of a bucket: the position bias, and -inf on what a step may not see."""

    def __init__(self, channels: int, window: int, config: TransformerConfig) -> None:
        super().__init__()
        self.window = window
        self.exact = config.exact_window
        self.bias: nn.Module | None = None
        if config.position == "dynamic_bias":
            self.bias = DynamicBias(channels // 2, config.heads)
        elif config.position == "alibi":
            self.bias = LinearBias(config.heads)

    def forward(self, like: Tensor, queries: int, keys: int) -> Tensor:
        """[H or 1, queries, keys] in the dtype of `like`; the queries are the last of the keys."""
        steps = torch.arange(keys, device=like.device)
        distance = steps[keys - queries :, None] - steps
        hidden = distance < 0
        if self.exact:
            hidden = hidden | (distance >= self.window)
        if self.bias is None:
            mask = torch.zeros(1, queries, keys, device=like.device)
        else:
            mask = self.bias(steps.float()).T[:, distance.abs()]
        return mask.masked_fill(hidden, float("-inf")).to(like.dtype)


def rotate(x: Tensor, first: int) -> Tensor:
    """Rotary positions (arXiv 2104.09864) first, first + 1, ... on [..., N, E]."""
    steps, width = x.shape[-2:]
    frequencies = ROTARY_BASE ** (-torch.arange(0, width, 2, device=x.device) / width)
    angles = torch.arange(first, first + steps, device=x.device)[:, None] * frequencies
    left, right = x.float().chunk(2, dim=-1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([left * cosine - right * sine, right * cosine + left * sine], dim=-1).to(x.dtype)


class LocalAttention(nn.Module):
    """Pre-norm multi-head attention within a window; the residual sum is left to the caller."""

    def __init__(self, channels: int, window: int, config: TransformerConfig) -> None:
        super().__init__()
        inner = config.heads * config.head_dim
        self.window = window
        self.heads = config.heads
        self.rotary = config.position == "rotary"
        self.norm = nn.LayerNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * inner, bias=False)
        self.to_out = nn.Linear(inner, channels, bias=False)
        self.qk_scales = nn.Parameter(torch.ones(2, config.head_dim)) if config.qk_norm else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, N, C] and the `PositionMask` of one bucket [H or 1, w, 2w], or of N <= w steps [.., N, N]."""
        return self.to_out(self.mix(self.to_qkv(self.norm(x)), mask))

    def mix(self, projected: Tensor, mask: Tensor) -> Tensor:
        """What `to_qkv` gives [B, N, 3 H E] to what `to_out` takes [B, N, H E]."""
        batch, steps, _ = projected.shape
        q, k, v = projected.unflatten(-1, (3, self.heads, -1)).unbind(2)  # [B, N, H, E]
        if self.qk_scales is not None:
            q = F.normalize(q, dim=-1) * self.qk_scales[0]
            k = F.normalize(k, dim=-1) * self.qk_scales[1]
        if steps <= self.window:
            out = self._attend(q, k, v, mask)
        else:
            padding = -steps % self.window
            q, k, v = (
                F.pad(part, (0, 0, 0, 0, 0, padding)).unflatten(1, (-1, self.window)) for part in (q, k, v)
            )  # [B, W, w, H, E]
            first = self._attend(q[:, 0], k[:, 0], v[:, 0], mask[:, :, self.window :])
            k, v = (torch.cat([part[:, :-1], part[:, 1:]], dim=2).flatten(0, 1) for part in (k, v))
            rest = self._attend(q[:, 1:].flatten(0, 1), k, v, mask)
            rest = rest.unflatten(0, (batch, -1)).flatten(1, 2)
            out = torch.cat([first, rest], dim=1)[:, :steps]
        return out.flatten(2)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """[B, q, H, E], [B, k, H, E] twice, [H or 1, q, k] -> [B, q, H, E]."""
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        if self.rotary:
            q, k = rotate(q, k.shape[2] - q.shape[2]), rotate(k, 0)
        scale = QK_NORM_SCALE if self.qk_scales is not None else q.shape[-1] ** -0.5
        if q.dtype == torch.bfloat16 and q.device.type == "cpu" and not torch.is_grad_enabled():
            weights = torch.softmax((q * scale) @ k.transpose(-1, -2) + mask, dim=-1)  # the fused kernel is slower
            return (weights @ v).transpose(1, 2)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.unsqueeze(0), scale=scale)
        return out.transpose(1, 2)


class FeedForward(nn.Module):
    """Pre-norm feed-forward layer with a GELU gate (GEGLU, arXiv 2002.05202)."""

    def __init__(self, channels: int, mult: float) -> None:
        super().__init__()
        inner = int(channels * mult * 2 / 3)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, 2 * inner, bias=False)
        self.contract = nn.Linear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.expand(self.norm(x)).chunk(2, dim=-1)
        return self.contract(value * F.gelu(gate))


class LocalTransformer(nn.Module):
    """A stack of local attention and feed-forward layers that share one position bias; [B, N, C]."""

    def __init__(self, channels: int, depth: int, window: int, config: TransformerConfig) -> None:
        super().__init__()
        self.window = window
        self.position = PositionMask(channels, window, config) if depth else None
        self.attentions = nn.ModuleList(LocalAttention(channels, window, config) for _ in range(depth))
        self.feed_forwards = nn.ModuleList(FeedForward(channels, config.ff_mult) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        steps = x.shape[1]
        if self.position is None or steps == 0:
            return x
        sizes = (steps, steps) if steps <= self.window else (self.window, 2 * self.window)
        mask = self.position(x, *sizes)
        for attention, feed_forward in zip(self.attentions, self.feed_forwards, strict=True):
            x = attention(x, mask) + x
            x = feed_forward(x) + x
        return x

"""Frame-rate networks: causal units and exact sliding-window attention on [B, N, C].

All layers see only the past. Units are ConvNeXt blocks (arXiv 2201.03545) without anything that norms over time;
attention sees exactly the last ``window`` frames, with a learned bias for each distance, so that the output for a
frame does not depend on where a recording was cut.

Letters: B batch, N frames, C channels, H heads, W window.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FrameUnit(nn.Module):
    """Residual ConvNeXt unit: causal depthwise convolution, norm, two point-wise layers, layer scale.

    The depthwise convolution is a sum of shifted products: compiled, it is one fused loop, where the bf16
    convolution of the CPU backend is slow.
    """

    def __init__(self, dim: int, kernel_size: int = 7, expansion: int = 4, layer_scale: float = 0.3) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.depthwise_weight = nn.Parameter(torch.randn(kernel_size, dim) * (0.7 / math.sqrt(kernel_size)))
        self.depthwise_bias = nn.Parameter(torch.zeros(dim))
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, expansion * dim)
        self.contract = nn.Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        count = x.shape[1]
        padded = F.pad(x, (0, 0, self.kernel_size - 1, 0))
        hidden = self.depthwise_bias + padded[:, :count] * self.depthwise_weight[0]
        for tap in range(1, self.kernel_size):
            hidden = hidden + padded[:, tap : tap + count] * self.depthwise_weight[tap]
        hidden = self.expand(self.norm(hidden))
        return x + self.scale * self.contract(F.gelu(hidden, approximate="tanh"))


class FrameTransformerLayer(nn.Module):
    """Pre-norm attention over exactly the last ``window`` frames (itself included), then a feed-forward part.

    Computed in blocks of ``window`` queries against two blocks of keys: O(N * W), never O(N^2).
    """

    def __init__(
        self, dim: int, heads: int = 4, window: int = 64, expansion: int = 4, layer_scale: float = 0.3
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} channels cannot be split into {heads} heads.")
        self.heads, self.window = heads, window
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=False)
        self.attention_out = nn.Linear(dim, dim)
        # Heads start from flat to local, as in ALiBi (arXiv 2108.12409).
        slopes = torch.tensor([0.0 if head == 0 else 0.4 * 0.25 ** (heads - 1 - head) for head in range(heads)])
        self.distance_bias = nn.Parameter(-slopes[:, None] * torch.arange(window))
        self.feed_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, expansion * dim)
        self.contract = nn.Linear(expansion * dim, dim)
        self.attention_scale = nn.Parameter(torch.full((dim,), layer_scale))
        self.feed_scale = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        x = x + self.attention_scale * self.attention_out(self._attend(self.attention_norm(x)))
        hidden = F.gelu(self.expand(self.feed_norm(x)), approximate="tanh")
        return x + self.feed_scale * self.contract(hidden)

    def _attend(self, x: Tensor) -> Tensor:
        batch, count, dim = x.shape
        window, head_dim = self.window, dim // self.heads
        blocks = -(-count // window)
        x = F.pad(x, (0, 0, 0, blocks * window - count))
        query, key, value = (
            self.query_key_value(x).view(batch, blocks, window, 3, self.heads, head_dim).permute(3, 0, 1, 4, 2, 5)
        )  # each [B, blocks, H, W, head_dim]
        key, value = _with_previous(key), _with_previous(value)
        logits = (query @ key.transpose(-1, -2)).float() * head_dim**-0.5 + self._bias(blocks, x.device)
        weights = torch.softmax(logits, dim=-1).to(value.dtype)
        mixed = (weights @ value).transpose(2, 3)  # [B, blocks, W, H, head_dim]
        return mixed.reshape(batch, blocks * window, dim)[:, :count]

    def _bias(self, blocks: int, device: torch.device) -> Tensor:
        """[blocks, H, W, 2W]: learned where the key is 0 to W - 1 frames back, -inf elsewhere and before the start."""
        window = self.window
        query = torch.arange(window, device=device)[:, None] + window
        key = torch.arange(2 * window, device=device)[None]
        distance = query - key
        seen = (distance >= 0) & (distance < window)
        bias = self.distance_bias.float()[:, distance.clamp(0, window - 1)]
        exists = (torch.arange(blocks, device=device)[:, None] > 0) | (key >= window)  # [blocks, 2W]
        return bias.masked_fill(~seen, -math.inf)[None].masked_fill(~exists[:, None, None], -math.inf)


def _with_previous(blocks: Tensor) -> Tensor:
    """[B, blocks, H, W, D] -> [B, blocks, H, 2W, D]: each block behind the one before it (zeros for the first)."""
    previous = F.pad(blocks[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
    return torch.cat([previous, blocks], dim=3)

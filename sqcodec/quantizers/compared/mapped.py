"""VQ whose codebook is a function of parameters that all codes share, so that every code moves when one is used.

Letters: B batch, N tokens, D code dimensions, K codebook size, H hidden channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sqcodec.quantizers.base import straight_through
from sqcodec.quantizers.compared.learned import (
    CodebookQuantizer,
    CommittedConfig,
    Learned,
    assign,
    random_codes,
    vq_loss,
)

HIDDEN = 64
"""Channels H inside the maps."""


@dataclass(frozen=True)
class MappedConfig(CommittedConfig):
    """TransVQ, FVQ."""

    kind: Literal["transvq", "fvq"] = "transvq"


class MappedVQ(CodebookQuantizer, kinds=("transvq", "fvq"), settings=MappedConfig):
    """Codes T(E): nearest code, straight-through gradient, and the loss of VQ-VAE (arXiv 1711.00937, eq. 3).

    "transvq": TransVQ (arXiv 2602.18896), T a light transformer over the codes. "fvq": FVQ with its VQBridge
    (arXiv 2509.10140), T compresses groups of codes to tokens, processes these with transformer blocks and recovers
    codes. Both full texts were not at hand; our reading of the abstracts: E is learned too, T adds to E and starts
    near the identity; TransVQ attends over the codes through ``POINTS`` inducing points (Set Transformer, arXiv
    1810.00825), so that its cost grows with K and not with K².
    """

    def __init__(self, feature_dim: int, config: MappedConfig) -> None:
        super().__init__(feature_dim, config)
        self.commitment = config.commitment
        self.base = nn.Parameter(random_codes(config.size, config.dim))
        maps: dict[str, type[nn.Module]] = {"transvq": CodeTransformer, "fvq": Bridge}
        self.transform = maps[config.kind](config.dim, config.size)

    def codebook(self) -> Tensor:
        return self.transform(self.base.float())

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        book = self.codebook()
        indices = assign(latents, book)
        codes = book[indices]
        return Learned(straight_through(codes, latents), indices, vq_loss(latents, codes, self.commitment))


@dataclass(frozen=True)
class GritConfig(CommittedConfig):
    """GRIT-VQ."""

    kind: Literal["gritvq"] = "gritvq"
    transform: Literal["linear", "low_rank", "mlp"] = "linear"
    """Of the codebook."""
    radius: Literal["identity", "log", "sqrt", "tanh"] = "identity"
    """The radius function f."""


class GritVQ(CodebookQuantizer, kinds=("gritvq",), settings=GritConfig):
    """GRIT-VQ (arXiv 2602.01140): the radius of the step to the nearest code carries the gradient.

    Forward, the nearest code e exactly; backward, that of z + r u with u = sg[(e - z) / |e - z|] and r = f(|e - z|),
    so that latent and code both learn from what the decoder needs, along the line between them:
    d/dz = I - f' u u^T, d/de = f' u u^T. The codes are T(E) of a frozen random E and a shared transform T that does
    not depend on data: "linear" (as in SimVQ), "low_rank" or "mlp".

    The full text was not available; our reading of the abstract: the choice of radius functions f(x) = x, log(1 + x),
    sqrt(x), tanh(x), a frozen E, and the loss of VQ-VAE beside the surrogate.
    """

    def __init__(self, feature_dim: int, config: GritConfig) -> None:
        super().__init__(feature_dim, config)
        self.commitment, self.radius = config.commitment, config.radius
        self.register_buffer("base", random_codes(config.size, config.dim))
        self.transform = CodeMap(config.dim, config.transform)

    def codebook(self) -> Tensor:
        return self.transform(self.get_buffer("base").float())

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        book = self.codebook()
        indices = assign(latents, book)
        codes = book[indices]
        loss = vq_loss(latents, codes, self.commitment)
        return Learned(radius_surrogate(latents, codes, self.radius), indices, loss)


def radius_surrogate(latents: Tensor, codes: Tensor, radius: str) -> Tensor:
    """Codes in the forward pass, the gradient of z + f(|e - z|) sg[(e - z) / |e - z|]; both [..., D]."""
    step = codes - latents
    length = (step.square().sum(-1, keepdim=True) + 1e-12).sqrt()
    direction = (step / length).detach()
    grown = {"identity": lambda x: x, "log": torch.log1p, "sqrt": lambda x: (x + 1e-3).sqrt(), "tanh": torch.tanh}
    surrogate = latents + grown[radius](length) * direction
    return codes.detach() + (surrogate - surrogate.detach())


class CodeMap(nn.Module):
    """Codes [K, D] to codes [K, D], each by itself; the identity at the start."""

    def __init__(self, dim: int, kind: str) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim, bias=kind == "mlp")
        nn.init.eye_(self.linear.weight)
        self.branch: nn.Module | None = None
        if kind == "linear":
            return
        if kind == "low_rank":
            self.linear.requires_grad_(False)
        else:
            nn.init.zeros_(self.linear.bias)
        hidden = HIDDEN if kind == "mlp" else max(1, dim // 2)
        activation = nn.GELU() if kind == "mlp" else nn.Identity()
        last = nn.Linear(hidden, dim, bias=False)
        nn.init.zeros_(last.weight)
        self.branch = nn.Sequential(nn.Linear(dim, hidden, bias=kind == "mlp"), activation, last)

    def forward(self, codes: Tensor) -> Tensor:
        mapped = self.linear(codes)
        return mapped if self.branch is None else mapped + self.branch(codes)


class Block(nn.Module):
    """Pre-norm attention of queries [Q, H] to keys [R, H], then a feed-forward part."""

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm, self.key_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key_value = nn.Linear(dim, dim, bias=False), nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim)
        self.feed = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        query = self.query(self.query_norm(queries))
        key, value = self.key_value(self.key_norm(keys)).chunk(2, -1)
        split = (part.unflatten(-1, (self.heads, -1)).transpose(0, 1)[None] for part in (query, key, value))
        mixed = F.scaled_dot_product_attention(*split)[0].transpose(0, 1).flatten(-2)
        hidden = queries + self.out(mixed)
        return hidden + self.feed(self.feed_norm(hidden))


class CodeTransformer(nn.Module):
    """Codes attend to inducing points that attended to all codes."""

    POINTS = 32

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(dim, HIDDEN), nn.Linear(HIDDEN, dim)
        nn.init.normal_(self.back.weight, std=0.1 * HIDDEN**-0.5)
        self.points = nn.Parameter(torch.randn(min(self.POINTS, size), HIDDEN))
        self.gather, self.spread = Block(HIDDEN), Block(HIDDEN)

    def forward(self, codes: Tensor) -> Tensor:
        hidden = self.into(codes)
        return codes + self.back(self.spread(hidden, self.gather(self.points, hidden)))


class Bridge(nn.Module):
    """Groups of codes to tokens, transformer blocks over these, tokens to codes."""

    TOKENS, DEPTH = 64, 2

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.group = max(1, math.ceil(size / self.TOKENS))
        self.count = math.ceil(size / self.group)
        self.compress = nn.Linear(self.group * dim, HIDDEN)
        self.place = nn.Parameter(0.02 * torch.randn(self.count, HIDDEN))
        self.blocks = nn.ModuleList(Block(HIDDEN) for _ in range(self.DEPTH))
        self.recover = nn.Linear(HIDDEN, self.group * dim)
        nn.init.normal_(self.recover.weight, std=0.1 * HIDDEN**-0.5)

    def forward(self, codes: Tensor) -> Tensor:
        size, dim = codes.shape
        padded = F.pad(codes, (0, 0, 0, self.count * self.group - size))
        tokens = self.compress(padded.view(self.count, self.group * dim)) + self.place
        for block in self.blocks:
            tokens = block(tokens, tokens)
        return codes + self.recover(tokens).view(-1, dim)[:size]

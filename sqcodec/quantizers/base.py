"""What all quantizers share: one result, one interface, mixed-radix indices.

Letters: B batch, N tokens, C feature channels, D code dimensions, K codebook size.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sqcodec.config.quantizer import QuantizerConfig
from sqcodec.distributed import shared_rand


@dataclass
class QuantizerOutput:
    """What one pass through a quantizer gives."""

    features: Tensor
    """[B, N, C], the dtype of the input: what the decoder sees."""
    indices: Tensor
    """[B, N], int64: the tokens."""
    loss: Tensor
    """Scalar, float32: added to the training loss."""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """Scalars to log, detached."""
    source: Tensor | None = None
    """[B, N, C]: the features that were quantised, where a network gives them."""


class TokenCoder(Protocol):
    """Features and latents to tokens and back, as of ``Quantizer``."""

    def nearest(self, latents: Tensor) -> Tensor: ...

    def lookup(self, indices: Tensor) -> Tensor: ...

    def encode(self, features: Tensor) -> Tensor: ...

    def decode(self, indices: Tensor) -> Tensor: ...


def radix_basis(levels: tuple[int, ...]) -> tuple[int, ...]:
    """Weight of each digit in an index: 1, L1, L1 L2, ... (the first dimension is the lowest digit)."""
    return tuple(math.prod(levels[:position]) for position in range(len(levels)))


def join_digits(digits: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Digits [..., D], integers with 0 <= digit < its level, to int64 indices [...]."""
    basis = torch.tensor(radix_basis(levels), device=digits.device)
    return (digits.long() * basis).sum(dim=-1)


def split_digits(indices: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Indices [...], 0 <= index < prod(levels), to int64 digits [..., D]."""
    basis = torch.tensor(radix_basis(levels), device=indices.device)
    radix = torch.tensor(levels, device=indices.device)
    return (indices.long().unsqueeze(-1) // basis) % radix


def straight_through(value: Tensor, gradient: Tensor) -> Tensor:
    """Exactly `value` in the forward pass, the gradient of `gradient` in the backward pass (arXiv 1308.3432)."""
    return value.detach() + (gradient - gradient.detach())


def project(features: Tensor, linear: nn.Linear) -> Tensor:
    """`linear` in float32, whatever the autocast context and the dtypes of features and weights."""
    bias = None if linear.bias is None else linear.bias.float()
    return F.linear(features.float(), linear.weight.float(), bias)


class Quantizer(nn.Module, ABC):
    """Features [B, N, C] to tokens [B, N] and back, through projections to and from D dimensions.

    Tokens that `encode` gives and `decode` takes are int64 with 0 <= token < `codebook_size`; as digits
    (`split_digits`) each is below its entry in `levels`. In evaluation `forward(x).features` equals
    `decode(forward(x).indices)`. The arithmetic is float32 also under autocast.
    """

    kinds: ClassVar[dict[str, Callable[[int, Any], Quantizer]]] = {}
    """What builds each kind that registered itself, from the number of channels and its settings."""

    def __init_subclass__(cls, kinds: tuple[str, ...] = (), settings: type[QuantizerConfig] = QuantizerConfig) -> None:
        QuantizerConfig.kinds.update(dict.fromkeys(kinds, settings))
        Quantizer.kinds.update(dict.fromkeys(kinds, cast(Any, cls)))

    def __init__(self, feature_dim: int, code_dim: int, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.codebook_size = math.prod(levels)
        self.project_in = nn.Linear(feature_dim, code_dim)
        self.project_out = nn.Linear(code_dim, feature_dim)

    @abstractmethod
    def forward(self, features: Tensor, blend: Tensor | None = None) -> QuantizerOutput:
        """Quantise features [B, N, C].

        `blend`, a scalar in [0, 1], mixes the quantised latents into the continuous ones, for a training
        run that starts without quantisation; None quantises fully.
        """

    @abstractmethod
    def nearest(self, latents: Tensor) -> Tensor:
        """Latents [B, N, D], float32, to tokens [B, N], int64."""

    @abstractmethod
    def lookup(self, indices: Tensor) -> Tensor:
        """Tokens [B, N] to codes [B, N, D], float32. Raises ValueError for a token outside [0, K)."""

    def encode(self, features: Tensor) -> Tensor:
        """Features [B, N, C] to tokens [B, N], int64."""
        with torch.autocast(features.device.type, enabled=False):
            return self.nearest(self.latents(features).detach())

    def decode(self, indices: Tensor) -> Tensor:
        """Tokens [B, N] to features [B, N, C]. Raises ValueError for a token outside [0, K)."""
        return self.features(self.lookup(indices), self.project_out.weight.dtype)

    @property
    def lost_code(self) -> Tensor:
        """The code [D] of a token that says nothing: the middle of all."""
        return torch.zeros_like(self.project_out.weight[0], dtype=torch.float32)

    def at(self, bits: int | None) -> TokenCoder:
        """The same with tokens of ``bits``; None: those that it has by itself. ValueError where it has no others."""
        if bits is not None:
            raise ValueError(f"Tokens of {bits} bits: this quantizer has one size.")
        return self

    def latents(self, features: Tensor) -> Tensor:
        """Features [B, N, C] to what is quantised [B, N, D], float32."""
        with torch.autocast(features.device.type, enabled=False):
            return project(features, self.project_in)

    def features(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """Codes [B, N, D] to features [B, N, C] of `dtype`."""
        with torch.autocast(codes.device.type, enabled=False):
            return project(codes, self.project_out).to(dtype)

    def check_indices(self, indices: Tensor, size: int | None = None) -> None:
        """Raise ValueError unless all tokens are integers from 0 to ``size`` - 1 (default: the codebook's)."""
        size = self.codebook_size if size is None else size
        if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
            raise ValueError(f"Tokens are {indices.dtype}: they must be integers")
        if indices.numel():
            low, high = (int(value) for value in torch.aminmax(indices))
            if low < 0 or high >= size:
                raise ValueError(f"Tokens span {low} to {high}: this quantizer knows 0 to {size - 1}")


class ManyRates(Quantizer):
    """A quantizer whose tokens can be cut: the first b bits of a token are the token at b bits."""

    powers: Tensor

    def set_bits(self, bits: tuple[int, int, int]) -> None:
        """Of a token: lowest, default, highest."""
        self.lowest, self.default, self.highest = bits
        self.codebook_size = 2**self.default
        self.register_buffer("powers", 2 ** torch.arange(self.highest + 1), persistent=False)

    def checked_bits(self, bits: int | None) -> int:
        """The default for None. ValueError where tokens cannot have so many."""
        if bits is None:
            return self.default
        if not self.lowest <= bits <= self.highest:
            raise ValueError(f"Tokens of {bits} bits: this model has {self.lowest} to {self.highest}.")
        return bits

    def drawn_bits(self, latents: Tensor) -> Tensor:
        """Bits of each training segment [B, 1], int64, all equally likely."""
        drawn = shared_rand(len(latents), 1, device=latents.device) * (self.highest - self.lowest + 1)
        return (drawn.long() + self.lowest).clamp_max(self.highest)

    def at(self, bits: int | None) -> TokenCoder:
        return self if bits is None else _Fixed(self, self.checked_bits(bits))

    @abstractmethod
    def nearest(self, latents: Tensor, bits: int | None = None) -> Tensor:
        """Latents [B, N, D] to tokens [B, N] of ``bits`` (None: the default)."""

    @abstractmethod
    def lookup(self, indices: Tensor, bits: int | None = None) -> Tensor:
        """Tokens [B, N] of ``bits`` to codes [B, N, D]."""

    def encode(self, features: Tensor, bits: int | None = None) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return self.nearest(self.latents(features).detach(), bits)

    def decode(self, indices: Tensor, bits: int | None = None) -> Tensor:
        return self.features(self.lookup(indices, bits), self.project_out.weight.dtype)


class _Fixed:
    """``ManyRates`` with tokens of one number of bits."""

    def __init__(self, quantizer: ManyRates, bits: int) -> None:
        self.quantizer, self.bits = quantizer, bits

    def nearest(self, latents: Tensor) -> Tensor:
        return self.quantizer.nearest(latents, self.bits)

    def lookup(self, indices: Tensor) -> Tensor:
        return self.quantizer.lookup(indices, self.bits)

    def encode(self, features: Tensor) -> Tensor:
        return self.quantizer.encode(features, self.bits)

    def decode(self, indices: Tensor) -> Tensor:
        return self.quantizer.decode(indices, self.bits)

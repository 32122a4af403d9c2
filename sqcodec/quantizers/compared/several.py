"""Quantizers with several codes a token, as the baselines that this project's one quantizer is compared with.

A token stays one integer: the codes of all codebooks are the digits of one mixed-radix index (``join_digits``), so
that the token interface, the code file and the language-model tools see one stream. Its bit rate is that of all
codebooks, log2(K1) + log2(K2) + ... a token, divided by the tokens that share a code (``QuantizerConfig.token_bits``).
They train with the package vector-quantize-pytorch (see ``library``).

Letters: B batch, N tokens, D code dimensions, Q codebooks, Kq codes of a codebook, S tokens that share a code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sqcodec.config.quantizer import Dimensions, Levels
from sqcodec.quantizers.base import join_digits, split_digits, straight_through
from sqcodec.quantizers.compared.learned import Learned, LearnedQuantizer
from sqcodec.quantizers.compared.library import MovingConfig, vector_quantize
from sqcodec.quantizers.vector import nearest_codes
from sqcodec.tables import Length, Range


@dataclass(frozen=True)
class BooksConfig(MovingConfig):
    """Settings of several codebooks."""

    several: ClassVar[bool] = True

    levels: Levels = ()
    """Codes of each codebook."""
    dim: Dimensions = 0
    """Dimensions d of a code vector, or of all together (pvq)."""

    @classmethod
    def sized(cls, codes: int, dim: int, levels: Sequence[int], books: Sequence[int]) -> dict[str, Any]:
        return {"levels": books, "dim": dim}


@dataclass(frozen=True)
class SeveralConfig(BooksConfig):
    """Several codebooks: residual (rvq) or one for each part of the vector (pvq)."""

    kind: Literal["rvq", "pvq"] = "rvq"

    def check(self) -> None:
        super().check()
        self.require(self.kind != "pvq" or self.dim % len(self.levels) == 0, "dim",
                     f"a multiple of the number of codebooks ({len(self.levels)})")


@dataclass(frozen=True)
class MultiScaleConfig(BooksConfig):
    """Residual codebooks at several rates."""

    kind: Literal["msrvq"] = "msrvq"
    strides: Annotated[tuple[Annotated[int, Range(1, 1024)], ...], Length(1, 64)] = ()
    """Tokens that share a code of each codebook, such as [2, 1]."""

    def check(self) -> None:
        super().check()
        self.require(len(self.strides) == len(self.levels), "strides",
                     f"one number of tokens for each of {len(self.levels)} codebooks")

    @property
    def token_bits(self) -> float:
        return sum(math.log2(size) / stride for size, stride in zip(self.levels, self.strides, strict=True))


class SeveralCodebooks(LearnedQuantizer):
    """Q codebooks of ``quantizer.levels`` codes, each a VQ of moving averages."""

    def __init__(self, feature_dim: int, config: BooksConfig, widths: list[int]) -> None:
        super().__init__(feature_dim, config.dim, config.levels)
        self.books = nn.ModuleList(
            vector_quantize(config, width, size)
            for width, size in zip(widths, config.levels, strict=True)
        )

    def codes_of(self, book: int) -> Tensor:
        """float32 [Kq, D of this codebook]."""
        codebook: Any = self.books[book].codebook
        return codebook.float()

    def find(self, book: int, latents: Tensor) -> Tensor:
        """Nearest codes [B, N] of one codebook."""
        return nearest_codes(latents.flatten(0, -2), self.codes_of(book)).unflatten(0, latents.shape[:-1])


class ProductVQ(SeveralCodebooks, kinds=("pvq",), settings=SeveralConfig):
    """Product VQ: the latent is cut into Q parts, each with a codebook (Jégou et al. 2011; arXiv 1910.05453)."""

    def __init__(self, feature_dim: int, config: SeveralConfig) -> None:
        self.width = config.dim // len(config.levels)
        super().__init__(feature_dim, config, [self.width] * len(config.levels))

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        codes, digits, loss = [], [], torch.zeros((), device=latents.device)
        for book, part in zip(self.books, latents.split(self.width, -1), strict=True):
            found, index, one = book(part.contiguous())
            codes.append(found)
            digits.append(index)
            loss = loss + one.sum()
        return Learned(torch.cat(codes, -1), join_digits(torch.stack(digits, -1), self.levels), loss)

    def nearest(self, latents: Tensor) -> Tensor:
        parts = latents.split(self.width, -1)
        digits = [self.find(book, part.contiguous()) for book, part in enumerate(parts)]
        return join_digits(torch.stack(digits, -1), self.levels)

    def lookup(self, indices: Tensor) -> Tensor:
        self.check_indices(indices)
        digits = split_digits(indices, self.levels)
        return torch.cat([self.codes_of(book)[digits[..., book]] for book in range(len(self.books))], -1)


class MultiScaleVQ(SeveralCodebooks, kinds=("msrvq",), settings=MultiScaleConfig):
    """Multi-scale residual VQ: codebook q codes the mean residual of Sq tokens at a time (SNAC, arXiv 2410.14411).

    A code that Sq tokens share is the digit of the first of them; in the others that digit is 0 and means nothing.
    Groups count from the first token of a call, so Sq must divide the tokens of a frame (``ModelConfig`` checks it);
    the last group may be shorter. "Our reading": plain means and repetition, none of SNAC's other layers.
    """

    def __init__(self, feature_dim: int, config: BooksConfig) -> None:
        super().__init__(feature_dim, config, [config.dim] * len(config.levels))
        self.strides = config.strides or (1,) * len(config.levels)

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        residual, codes, digits = latents, torch.zeros_like(latents), []
        loss = torch.zeros((), device=latents.device)
        for book, stride in zip(self.books, self.strides, strict=True):
            found, index, part = book(group_means(residual, stride))
            spread = spread_groups(found.detach(), stride, latents.shape[-2])
            residual, codes = residual - spread, codes + spread
            digits.append(first_of_group(index, stride, latents.shape[-2]))
            loss = loss + part.sum()
        # Each codebook passes the gradient of its own input: together that would count the latents Q times.
        return Learned(straight_through(codes, latents), join_digits(torch.stack(digits, -1), self.levels), loss)

    def nearest(self, latents: Tensor) -> Tensor:
        digits, residual, count = [], latents, latents.shape[-2]
        for book, stride in enumerate(self.strides):
            index = self.find(book, group_means(residual, stride))
            residual = residual - spread_groups(self.codes_of(book)[index], stride, count)
            digits.append(first_of_group(index, stride, count))
        return join_digits(torch.stack(digits, -1), self.levels)

    def lookup(self, indices: Tensor) -> Tensor:
        self.check_indices(indices)
        digits, count = split_digits(indices, self.levels), indices.shape[-1]
        codes = torch.zeros(*indices.shape, self.project_in.out_features, device=indices.device)
        for book, stride in enumerate(self.strides):
            found = self.codes_of(book)[digits[..., ::stride, book]]
            codes = codes + spread_groups(found, stride, count)
        return codes


class ResidualVQ(MultiScaleVQ, kinds=("rvq",), settings=SeveralConfig):
    """Residual VQ: each codebook codes what those before left (SoundStream, arXiv 2107.03312, section III-C)."""


def group_means(latents: Tensor, stride: int) -> Tensor:
    """[B, N, D] to the means of groups of ``stride`` tokens [B, ceil(N / S), D]; the last group may be shorter."""
    count = latents.shape[-2]
    groups = -(-count // stride)
    padded = F.pad(latents, (0, 0, 0, groups * stride - count)).unflatten(-2, (groups, stride))
    sizes = torch.full((groups, 1), stride, device=latents.device, dtype=latents.dtype)
    if count and count % stride:
        sizes[-1] = count % stride
    return padded.sum(-2) / sizes


def spread_groups(codes: Tensor, stride: int, count: int) -> Tensor:
    """[B, G, D] to [B, N, D]: each code for all tokens of its group."""
    return codes.repeat_interleave(stride, dim=-2)[..., :count, :]


def first_of_group(index: Tensor, stride: int, count: int) -> Tensor:
    """[B, G] to [B, N]: the code at the first token of its group, 0 at the others."""
    found = torch.zeros(*index.shape, stride, dtype=index.dtype, device=index.device)
    found[..., 0] = index
    return found.flatten(-2)[..., :count]

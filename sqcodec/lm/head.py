"""Tokens of a scalar quantizer, in and out of a language model, without a table of K rows.

In: the sum of D embeddings, one for each digit. Out: p(token | h) = p(d_1 | h) p(d_2 | h, d_1) ... with a softmax as
wide as the levels (7) for each digit, so that 42 outputs do for 117,649 codes, and the product is an exact distribution
over all of them. The first digit has one value more: the end of the clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sqcodec.quantizers import split_digits
from sqcodec.vocabulary.factors import symbol_offsets


def split_ids(ids: Tensor, levels: Sequence[int]) -> Tensor:
    """Ids [...] to symbols [..., D]; an id of K or more gets those of token 0."""
    offsets = torch.from_numpy(symbol_offsets(levels)).to(ids.device)
    return split_digits(torch.where(ids < math.prod(levels), ids, 0), tuple(levels)) + offsets


class FactorisedEmbedding(nn.Module):
    """Ids [B, L] to vectors [B, L, H].

    Args:
        num_others: ids from K on: the separator, and characters.
    """

    def __init__(self, levels: Sequence[int], num_others: int, hidden: int) -> None:
        super().__init__()
        self.levels, self.codebook_size = tuple(levels), math.prod(levels)
        self.digits = nn.Embedding(sum(levels), hidden)
        self.others = nn.Embedding(num_others, hidden)

    def forward(self, ids: Tensor) -> Tensor:
        speech = self.digits(split_ids(ids, self.levels)).sum(dim=-2)
        others = self.others((ids - self.codebook_size).clamp_min(0))
        return torch.where((ids < self.codebook_size)[..., None], speech, others)


class FactorisedHead(nn.Module):
    """Log-probabilities of tokens, and samples, one digit after the other.

    z_i = gelu(A_i h + sum over j < i of V_ij[d_j]); p(d_i | h, d_1 ... d_(i-1)) = softmax(W_i z_i).

    Args:
        width: of z_i.
    """

    mask: Tensor

    def __init__(self, levels: Sequence[int], hidden: int, width: int) -> None:
        super().__init__()
        self.levels, self.width = tuple(levels), width
        dimension = [position for position, size in enumerate(levels) for _ in range(size)]
        later = [[float(i > j) for i in range(len(levels))] for j in dimension]
        self.register_buffer("mask", torch.tensor(later))  # [symbols, D]: whether a digit may know the symbol
        self.project = nn.Linear(hidden, len(levels) * width)
        self.earlier = nn.Embedding(sum(levels), len(levels) * width)
        self.outputs = nn.ModuleList(
            nn.Linear(width, count + (position == 0)) for position, count in enumerate(levels)
        )

    @property
    def end(self) -> int:
        """The value of the first digit that ends a clip."""
        return self.levels[0]

    def losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Nats of each digit [M, D] for hidden states [M, H] and the tokens [M] that follow; K means the end.

        The end is told by the first digit alone: the others of such a row are 0.
        """
        count = len(self.levels)
        ends = targets >= math.prod(self.levels)
        symbols = split_ids(targets, self.levels)
        chosen = torch.zeros(len(symbols), sum(self.levels), device=hidden.device, dtype=hidden.dtype)
        chosen.scatter_(1, symbols, 1.0)
        rows = self.earlier.weight * self.mask.repeat_interleave(self.width, dim=1)
        inner = F.gelu(self.project(hidden) + chosen @ rows.to(hidden.dtype)).unflatten(-1, (count, self.width))
        offsets = torch.from_numpy(symbol_offsets(self.levels)).to(targets.device)
        digits = symbols - offsets
        digits[:, 0] = torch.where(ends, self.end, digits[:, 0])
        nats = [
            F.cross_entropy(output(inner[:, position]).float(), digits[:, position], reduction="none")
            for position, output in enumerate(self.outputs)
        ]
        keep = torch.ones(len(targets), count, device=targets.device)
        keep[ends, 1:] = 0
        return torch.stack(nats, dim=1) * keep

    def sample(
        self, hidden: Tensor, temperature: float, top_p: float, generator: torch.Generator, may_end: bool = True
    ) -> Tensor:
        """Tokens [M] for hidden states [M, H]; K where a clip ends.

        Args:
            top_p: of each digit, only the most likely values that together have this probability.
        """
        count = len(self.levels)
        pre = self.project(hidden).unflatten(-1, (count, self.width))
        offsets = symbol_offsets(self.levels)
        token = torch.zeros(len(hidden), dtype=torch.int64, device=hidden.device)
        ended = torch.zeros_like(token, dtype=torch.bool)
        basis = 1
        for position, output in enumerate(self.outputs):
            logits = output(F.gelu(pre[:, position])).float()
            if position == 0 and not may_end:
                logits[:, self.end] = -torch.inf
            digit = _draw(logits / temperature, top_p, generator)
            if position == 0:
                ended, digit = digit == self.end, digit.clamp_max(self.end - 1)
            token += digit * basis
            basis *= self.levels[position]
            pre = pre + self.earlier(digit + int(offsets[position])).unflatten(-1, (count, self.width))
        return torch.where(ended, basis, token)


def _draw(logits: Tensor, top_p: float, generator: torch.Generator) -> Tensor:
    """One value of each row [M, V]."""
    values, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    values = torch.where(values.cumsum(dim=-1) - values < top_p, values, 0.0)
    return order.gather(1, torch.multinomial(values, 1, generator=generator))[:, 0]

"""K-means on latents, over one or several processes: seeds, then Lloyd's iterations.

Each process holds a part of the points; sums and counts are reduced over all, so that every process ends with the
same codes. On a CPU everything is deterministic by the seed; on CUDA sums have no fixed order, so that two fits may
differ in the last bits and, rarely, in what follows from them. A fit can be continued from the state of any iteration.

Letters: M points of this process, D dimensions, K codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sqcodec.distributed import first_of, gather_rows, shared_sum, world
from sqcodec.quantizers.neighbours import Search
from sqcodec.quantizers.vector import nearest_codes

SEEDING_POINTS_PER_CODE = 8
"""Seeds come from at most this many points a code."""

FEW = 512
"""Up to so many codes are seeded by K-means++, which finds narrow clusters better but takes a pass over the points for
each code; more by a tree."""

CLIP_QUANTILE, CLIP_POINTS = 0.9, 4096
"""Weights of K-means++ are clipped at this quantile (estimated on so many points), as the authors of VP-VAE do:
otherwise outliers take seeds of which few points make use."""


@dataclass(frozen=True)
class Fit:
    """``codes`` [K, D] after ``iteration`` Lloyd iterations, and the mean distance that they leave."""

    codes: Tensor
    iteration: int
    error: float


def fit_codes(
    points: Tensor, size: int, iterations: int, seed: int = 0, start: Fit | None = None
) -> Iterator[Fit]:
    """Yields the fit after each Lloyd iteration, continuing behind ``start``.

    Args:
        points: float32 [M, D] of this process; all processes hold equally many.
        size: codes K, at most the points of all processes together.
        iterations: in all, those of ``start`` included.
    """
    if start is None:
        start = Fit(seed_codes(points, size, seed), 0, float("inf"))
    codes = start.codes.to(points.device)
    for iteration in range(start.iteration + 1, iterations + 1):
        index, distance = _assign(points, codes)
        counts = shared_sum(torch.bincount(index, minlength=size).double())
        sums = shared_sum(torch.zeros(size, points.shape[1], dtype=torch.float64, device=points.device).index_add_(
            0, index, points.double()
        ))
        number = torch.tensor(float(len(points)), dtype=torch.float64).to(points.device)
        total = shared_sum(torch.stack([distance.double().sum(), number]))
        codes = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], codes.double()).float()
        codes = _refill(codes, counts, points, distance)
        yield Fit(codes, iteration, float(total[0] / total[1]))


def seed_codes(points: Tensor, size: int, seed: int = 0) -> Tensor:
    """Seeds [K, D] from a random part of the points: of K-means++ (``FEW``), or the means of neighbourhoods.

    Neighbourhoods are halved as of a tree (``halved``); where K is no power of two, those with the largest spread are
    halved once more. Against K-means++ on latents (egs/mini/codec1/RESULTS.md, "Seeds of codebooks"): 20 times as fast
    at 4096 codes, as near to new points, and more even in use.
    """
    most = size * SEEDING_POINTS_PER_CODE // world()[1]
    generator = torch.Generator().manual_seed(seed)
    pool = gather_rows(points[torch.randperm(len(points), generator=generator)[:most].to(points.device)])
    if len(pool) < size:
        raise ValueError(f"{len(pool)} latents are too few for {size} codes: use more audio.")
    if size <= FEW:
        return _far_apart(pool, size, generator)
    coarse = 2 ** (size.bit_length() - 1)
    if size == coarse:
        pool = pool[: len(pool) // size * size]
        return pool[halved(pool, size)].view(size, -1, pool.shape[1]).mean(1)
    if len(pool) < 2 * coarse:  # few points: repeat some
        pool = torch.cat((pool, pool))
    pool = pool[: len(pool) // (2 * coarse) * 2 * coarse]
    halves = pool[halved(pool, 2 * coarse)].view(coarse, 2, -1, pool.shape[1])
    spread = (halves - halves.mean((1, 2), keepdim=True)).square().sum((1, 2, 3))
    again = torch.zeros(coarse, dtype=torch.bool, device=pool.device)
    again[spread.topk(size - coarse).indices] = True
    return torch.cat((halves[~again].mean((1, 2)), halves[again].mean(2).flatten(0, 1)))


def _far_apart(pool: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Seeds of K-means++ (Arthur and Vassilvitskii 2007): points drawn with chances in proportion to the squared
    distance to those drawn before, clipped (``CLIP_QUANTILE``). The first process draws."""
    chosen = torch.randint(len(pool), (1,), generator=generator)
    codes = pool[chosen.to(pool.device)]
    nearest = (pool - codes).square().sum(-1)
    while len(codes) < size:
        if not bool((nearest > 0).any()):  # fewer distinct points than codes: repeat some
            nearest = torch.ones_like(nearest)
        sample = nearest[:: -(-len(nearest) // CLIP_POINTS)]
        clip = sample.kthvalue(max(1, round(CLIP_QUANTILE * len(sample)))).values
        edges = (nearest.clamp_max(clip) if clip > 0 else nearest).double().cumsum(0)
        drawn = torch.rand(1, generator=generator, dtype=torch.float64).to(pool.device) * edges[-1]
        new = pool[first_of(torch.searchsorted(edges, drawn, right=True)).clamp_max(len(pool) - 1)]
        codes = torch.cat([codes, new])
        nearest = torch.minimum(nearest, (pool - new).square().sum(-1))
    return codes


def halved(points: Tensor, parts: int) -> Tensor:
    """An order of points [M, D] in which each half, each quarter, ... each of ``parts`` is a neighbourhood: int64 [M].

    Each neighbourhood is cut at the median of the direction in which it is longest (principal direction divisive
    partitioning, Boley 1998). ``parts``: a power of two that divides M.
    """
    order = torch.arange(len(points), device=points.device)[None]
    while len(order) < parts:
        members = points.double()[order]  # [neighbourhoods, members, D]
        centred = members - members.mean(dim=1, keepdim=True)
        longest = torch.linalg.eigh(centred.mT @ centred).eigenvectors[..., -1:]
        ranks = (centred @ longest).squeeze(-1).argsort(dim=1, stable=True)
        order = order.gather(1, ranks).view(2 * len(order), -1)
    return order.flatten()


def _assign(points: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """(index, distance) of the nearest code of each point."""
    if points.device.type == "cpu" and len(codes) > 64:
        distance, index = Search(codes).nearest(points)
        return index, distance
    index = nearest_codes(points, codes)
    return index, (points - codes[index]).norm(dim=-1)


def _refill(codes: Tensor, counts: Tensor, points: Tensor, distance: Tensor) -> Tensor:
    """Moves codes that no point uses to the points (of the first process) that are farthest from their codes."""
    empty = (counts == 0).nonzero().flatten()
    if len(empty):
        take = min(len(empty), len(points))
        far = distance.topk(take).indices
        moved = gather_rows(points[far])[:take]
        codes = codes.clone()
        codes[empty[:take]] = moved
    return codes

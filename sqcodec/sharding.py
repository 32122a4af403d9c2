"""One global batch over several processes: the same random numbers and statistics as one process would have.

Process r of W holds rows r B to (r + 1) B of a global batch of W B rows, and all processes seed alike, so that each
can draw the numbers of the whole batch and keep its own. Without torch.distributed everything is local.

Letters: B rows of a process, W processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_alone = False


@contextmanager
def alone() -> Iterator[None]:
    """What one process does for itself, such as validation: within the block it is one of one, and waits for nobody."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def world() -> tuple[int, int]:
    """(rank, number of processes)."""
    if _alone:
        return 0, 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def shared_sum(values: Tensor) -> Tensor:
    """Sum of a tensor over the processes, in place and without gradient."""
    if world()[1] > 1:
        torch.distributed.all_reduce(values)
    return values


def first_of(values: Tensor) -> Tensor:
    """The first process's values, for all, in place: on GPUs the same sum may differ in its last bits."""
    if world()[1] > 1:
        torch.distributed.broadcast(values, 0)
    return values


def shared_rand(*shape: int, device: torch.device) -> Tensor:
    """This process's rows of uniform numbers [B, ...] drawn for the global batch."""
    rank, size = world()
    if size == 1:
        return torch.rand(shape, device=device)
    return torch.rand((size * shape[0], *shape[1:]), device=device)[rank * shape[0] : (rank + 1) * shape[0]]


def shared_randn(*shape: int, device: torch.device) -> Tensor:
    """This process's rows of normal numbers [B, ...] drawn for the global batch."""
    rank, size = world()
    if size == 1:
        return torch.randn(shape, device=device)
    return torch.randn((size * shape[0], *shape[1:]), device=device)[rank * shape[0] : (rank + 1) * shape[0]]


def shared_mean(values: Tensor) -> Tensor:
    """Mean of a tensor over the processes, differentiable (each process then has the gradient of the mean loss)."""
    if world()[1] == 1:
        return values
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(values) / world()[1]


def gather_rows(rows: Tensor) -> Tensor:
    """Rows [B, ...] of every process, in rank order [W B, ...], without gradient."""
    size = world()[1]
    if size == 1:
        return rows.detach()
    parts = [torch.empty_like(rows) for _ in range(size)]
    torch.distributed.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)

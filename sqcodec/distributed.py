"""Several processes, one global batch: the same random numbers and statistics as one process would have.

torchrun starts them, DistributedDataParallel averages their gradients.

Process r of W holds rows r B to (r + 1) B of a global batch of W B rows, and all processes seed alike, so that each
can draw the numbers of the whole batch and keep its own. Without torch.distributed everything is local.

Letters: B rows of a process, W processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

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


def num_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def set_up(device: str) -> torch.device:
    """Joins the other processes where torchrun started several; returns this process's device.

    Raises:
        ValueError: a CUDA device is asked for and there is none.
    """
    chosen = torch.device(device)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: PyTorch finds no CUDA device here; use --device cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        if chosen.type == "cuda":
            chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    return chosen


def tear_down() -> None:
    """Leaves the group of processes, if there is one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def barrier() -> None:
    """Waits for the other processes."""
    if world()[1] > 1:
        torch.distributed.barrier()


def wrap(module: nn.Module) -> Callable:
    """The module itself, or with its gradients averaged over the processes."""
    if world()[1] == 1:
        return module
    return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


def mean_over_processes(row: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Means of numbers that all processes have under the same names."""
    if world()[1] == 1:
        return dict(row)
    values = torch.tensor([row[name] for name in sorted(row)], device=device, dtype=torch.float64)
    return dict(zip(sorted(row), (shared_sum(values) / world()[1]).tolist(), strict=True))

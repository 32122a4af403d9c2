"""Several processes: torchrun starts them, DistributedDataParallel averages their gradients.

Each process trains on its rows of the same global batch, so that two processes give what one gives.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import torch
from torch import nn

from sqcodec.sharding import shared_sum, world

__all__ = ["barrier", "mean_over_processes", "set_up", "tear_down", "world", "wrap"]


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

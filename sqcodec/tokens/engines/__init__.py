"""Who runs the shards: each engine takes tasks and yields results in any order, one for every task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from sqcodec.extras import require
from sqcodec.tokens.plan import ShardTask
from sqcodec.tokens.worker import ShardResult, run_shard

ENGINES = ("local", "ray", "serial")


def run_tasks(engine: str, tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardResult]:
    """Runs all tasks on ``workers`` processes.

    Raises:
        ValueError: no such engine.
        ImportError: its package is not installed.
    """
    if engine == "serial":
        return _run_serial(tasks)
    if engine == "local":
        from sqcodec.tokens.engines.local import run_local

        return run_local(tasks, workers)
    if engine == "ray":
        require("ray.data", "ray", "Engine ray")
        from sqcodec.tokens.engines.ray_data import run_ray

        return run_ray(tasks, workers)
    raise ValueError(f"Unknown engine {engine!r}. Choose one of: {', '.join(ENGINES)}")


def _run_serial(tasks: Sequence[ShardTask]) -> Iterator[ShardResult]:
    """In this process, with one thread as elsewhere: for a single GPU, and for finding mistakes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from map(run_shard, tasks)
    finally:
        torch.set_num_threads(threads)

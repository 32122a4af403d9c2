"""Ray Data: shards as rows of a dataset, mapped over a pool of actors of the whole cluster.

`ray.init()` finds a running cluster by RAY_ADDRESS; without one it starts one on this machine. All nodes must see the
corpus and the output folder under the same paths, and have this package. An actor that dies is started again and its
shards are done over: that is what Ray Data does of itself, with no end of retries.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from typing import Any, cast

import ray
import ray.data

from sqcodec.tokens.plan import ShardTask
from sqcodec.tokens.worker import ShardResult, prepare_process, run_shard


class ShardActor:
    """One worker process. Rows are bytes: Arrow has no type for a task, and makes one of no other."""

    def __init__(self) -> None:
        prepare_process()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"result": pickle.dumps(run_shard(pickle.loads(row["task"])))}


def run_ray(tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardResult]:
    """Results as they come. On a GPU every worker has one to itself."""
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = ray.data.from_items([{"task": pickle.dumps(task)} for task in tasks], override_num_blocks=len(tasks))
        pool = ray.data.ActorPoolStrategy(size=min(workers, len(tasks)), max_tasks_in_flight_per_actor=1)
        actor = cast(Any, ShardActor)  # map takes a class, which its annotation leaves out
        gpus = 1 if tasks[0].device.startswith("cuda") else 0
        for row in rows.map(actor, compute=pool, num_cpus=1, num_gpus=gpus).iter_rows():
            yield pickle.loads(row["result"])
    finally:
        if started:
            ray.shutdown()

"""Processes of this machine. A worker that dies takes the pool with it: a new one goes on with what is not done.

A shard that was under way at two such deaths is run alone; where it kills its worker again it is given up, and said so.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from sqcodec.tokens.plan import ShardTask
from sqcodec.tokens.worker import ShardResult, prepare_process, run_shard

MOST_DEATHS = 2

_log = logging.getLogger(__name__)


def run_local(tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardResult]:
    """Results as they come. An exception of a task that is not about a clip (a full disk) ends the run."""
    waiting, deaths = list(tasks), Counter[int]()
    while waiting:
        suspects = [task for task in waiting if deaths[task.number] >= MOST_DEATHS]
        if suspects:
            done, died = yield from _attempt([suspects[0]], 1)
            waiting = [task for task in waiting if task.number not in done]
            if died:
                waiting.remove(suspects[0])
                yield ShardResult(suspects[0].number, error="its worker process dies each time")
            continue
        done, died = yield from _attempt(waiting, workers)
        waiting = [task for task in waiting if task.number not in done]
        for number in died:
            deaths[number] += 1
        if died:
            _log.warning("A worker process died; %d shards are done over.", len(died))


def _attempt(
    tasks: Sequence[ShardTask], workers: int
) -> Generator[ShardResult, None, tuple[set[int], set[int]]]:
    """One pool, until all is done or a worker dies. Returns the shards done, and those under way at a death."""
    done: set[int] = set()
    queue = list(reversed(tasks))
    running: dict[Future[ShardResult], ShardTask] = {}
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), context, prepare_process)
    try:
        while queue or running:
            while queue and len(running) < workers:  # what waits in the pool would count as under way
                task = queue.pop()
                running[pool.submit(run_shard, task)] = task
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = future.result()
                del running[future]
                done.add(result.number)
                yield result
    except BrokenProcessPool:
        for future, task in running.items():
            if future.done() and not future.exception():
                done.add(task.number)
                yield future.result()
        return done, {task.number for task in running.values()} - done
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return done, set()

"""The whole evaluation: which clips and systems, in parallel processes, resumed where it stopped, summed up."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sqcodec.distributed import num_cores
from sqcodec.extras import MissingExtra, version

from .memory import peak_memory
from .results import Results, Row, RowStore
from .scorers import REFERENCE_RATE, all_metrics, core_metrics, scorers_for
from .summary import break_down, compare, summarise
from .systems import SystemInfo, system_key
from .utterances import Utterance, list_utterances
from .work import Task, clip_path, load_system, prepare_worker, run_task

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What to evaluate. `systems` are texts as `make_system` takes, the first one is what others are compared with.

    `metrics`: names; empty means the core ones. `jobs`: processes; 0 means one for each core that is allowed.
    `memory`: also measure each system's peak memory, in a process of its own.
    `strict`: a system or metric that cannot run is an error rather than left out and reported.
    """

    source: str | Sequence[str]
    systems: list[str]
    out: Path
    split: str | None = None
    limit: int | None = None
    metrics: list[str] = field(default_factory=list)
    jobs: int = 0
    device: str = "cpu"
    command: str = ""
    memory: bool = False
    strict: bool = False


def evaluate(options: Options, progress: Callable[[int, int], None] | None = None) -> Results:
    """Runs it all and returns the results; the caller writes the reports.

    Args:
        progress: called with (rows done, rows in all) after each clip.
    Raises:
        ValueError, FileNotFoundError: the clips or systems do not exist, or nothing is left to evaluate.
        MissingExtra: a named metric or system has no package or tool here, and `strict`.
    """
    utterances = list_utterances(options.source, options.split, options.limit)
    left_out: dict[str, str] = {}
    metrics = _usable_metrics(options, left_out)
    infos = _usable_systems(options, left_out)
    options.out.mkdir(parents=True, exist_ok=True)
    store = RowStore(options.out)
    tasks = [_task(utterance, infos, metrics, store, options) for utterance in utterances]
    total = len(utterances) * len(infos)
    done = total - sum(len(task.systems) for task in tasks)
    if progress:
        progress(done, total)
    for rows in _run([task for task in tasks if task.systems], options.jobs or num_cores()):
        store.add(rows)
        done += len(rows)
        if progress:
            progress(done, total)
    rows = [store.rows[system_key(text), u.name] for text in infos for u in utterances]
    systems = {system_key(text): {"text": text, **asdict(info)} for text, info in infos.items()}
    summary = summarise(rows, systems, metrics, options.out)
    peaks = _peaks(options, infos, utterances, store) if options.memory else {}
    for system, values in summary.items():
        values["peak_mib"] = peaks.get(system)
    named = [options.source] if isinstance(options.source, (str, os.PathLike)) else options.source
    source = ", ".join(map(str, named[:3])) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    packages = dict.fromkeys(package for scorer in scorers_for(metrics) for package in scorer.packages)
    versions = {"python": platform.python_version()}
    versions |= {name: version(name) for name in ("sqcodec", "numpy", *packages)}
    first = next(iter(systems))
    return Results(
        command=options.command,
        created=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        source=source + (f" (split {options.split})" if options.split else ""),
        reference_rate=REFERENCE_RATE,
        versions=versions,
        metrics={name: asdict(metric) for name, metric in all_metrics().items() if name in metrics},
        systems=systems,
        summary=summary,
        breakdowns={by: break_down(rows, systems, metrics, by) for by in ("corpus", "source", "speaker")},
        comparisons=compare(rows, first, systems, metrics),
        left_out=left_out,
        rows=rows,
        baseline=first,
    )


def _usable_metrics(options: Options, left_out: dict[str, str]) -> list[str]:
    names = options.metrics or core_metrics()
    usable = []
    for scorer in scorers_for(names):
        own = [metric.name for metric in scorer.metrics if metric.name in names]
        try:
            scorer.load()
            usable += own
        except MissingExtra as error:
            if options.strict:
                raise
            left_out.update(dict.fromkeys(own, str(error)))
            _LOG.warning("%s left out: %s", ", ".join(own), error)
    return usable


def _usable_systems(options: Options, left_out: dict[str, str]) -> dict[str, SystemInfo]:
    infos, keys = {}, set()
    load_system.cache_clear()
    for text in dict.fromkeys(options.systems):
        try:
            info = load_system(text, options.device).info()
        except (MissingExtra, OSError) as error:
            if options.strict or text.startswith("sqcodec:"):
                raise
            left_out[text] = str(error)
            _LOG.warning("%s left out: %s", text, error)
            continue
        if system_key(text) in keys:
            raise ValueError(f"Two systems would be named '{system_key(text)}': rename one of the folders.")
        keys.add(system_key(text))
        infos[text] = info
    if not infos:
        raise ValueError("No system is left to evaluate: " + " ".join(left_out.values() or ["none was named."]))
    return infos


def _task(
    utterance: Utterance, infos: dict[str, SystemInfo], metrics: list[str], store: RowStore, options: Options
) -> Task:
    """What is still to do for a clip: all of a system's metrics, or those that an earlier run did not have."""
    todo: dict[str, list[str]] = {}
    known: dict[str, Row] = {}
    clip = _clip_fingerprint(utterance)
    fingerprints = {text: f"{info.fingerprint} | {clip}" for text, info in infos.items()}
    for text in infos:
        key = system_key(text)
        row = store.rows.get((key, utterance.name))
        is_current = row is not None and row.status == "ok" and row.fingerprint == fingerprints[text]
        if row is not None and is_current and clip_path(options.out, key, utterance.name).exists():
            missing = row.missing(metrics, utterance.text)
            if missing:
                todo[text], known[text] = missing, row
        else:
            todo[text] = metrics
    return Task(utterance, todo, fingerprints, known, str(options.out), options.device)


def _clip_fingerprint(utterance: Utterance) -> str:
    """By content, so that a copied or moved corpus costs nothing."""
    try:
        return hashlib.blake2b(Path(utterance.path).read_bytes(), digest_size=8).hexdigest()
    except OSError:
        return "missing"


def _run(tasks: list[Task], jobs: int) -> Iterator[list[Row]]:
    """Rows of each task, in the order in which they get ready. One job runs in this process."""
    if jobs == 1 or len(tasks) < 2:
        yield from map(run_task, tasks)
        return
    load_system.cache_clear()  # the workers have their own
    before = dict(os.environ)
    prepare_worker()  # children take the environment before they import anything
    try:
        pool = ProcessPoolExecutor(
            min(jobs, len(tasks)), multiprocessing.get_context("spawn"), initializer=prepare_worker
        )
        with pool:
            futures = [pool.submit(run_task, task) for task in tasks]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "A worker process was killed (out of memory?). What it finished is kept: run the same command again, "
            "with fewer --jobs."
        ) from error
    finally:
        os.environ.clear()
        os.environ.update(before)


def _peaks(
    options: Options, infos: dict[str, SystemInfo], utterances: list[Utterance], store: RowStore
) -> dict[str, float]:
    """Peak memory by system, on the longest clip that all of them coded."""
    by_clip = [[store.rows[system_key(text), clip.name] for text in infos] for clip in utterances]
    coded = [(rows[0].seconds, i) for i, rows in enumerate(by_clip) if all(row.status == "ok" for row in rows)]
    if not coded:
        return {}
    longest = max(coded)[1]
    fingerprints = {text: row.fingerprint for text, row in zip(infos, by_clip[longest], strict=True)}
    found = peak_memory(fingerprints, utterances[longest], options.out, options.device)
    return {system_key(text): peak for text, peak in found.items()}

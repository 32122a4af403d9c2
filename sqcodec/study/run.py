"""Runs the jobs of a study one after the other, each in a process of its own, and keeps their results."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
import shutil
import time
import traceback
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqcodec.data.manifest import read_manifest
from sqcodec.files import append_lines, read_lines
from sqcodec.study.plan import Job, Plan

log = logging.getLogger(__name__)

RESULTS = "results.jsonl"
"""One line a finished run. A run without a line is run (again)."""
PRELOADED = ("librosa.filters", "librosa.core", "pesq", "pystoi", "scipy.spatial", "vector_quantize_pytorch")
"""Imported before the runs fork, so that none pays for it; each is needed by some runs only."""


def read_results(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Results of a study by key: of each run that ended the last line of ``RESULTS``."""
    return {result["key"]: result for result in read_lines(Path(folder) / RESULTS)}


def run_study(plan: Plan, out: str | Path, cache: str | None, device: str = "cpu", retry: bool = False) -> None:
    """Runs what the store in ``out`` has no result of. A run that fails is a result too: ``failed`` says why.

    Raises:
        ValueError: the first two runs fail for the same reason, such as an unusable corpus.

    Args:
        cache: where decoded audio is kept; None: in ``out``.
        retry: also what failed before.
    """
    out = Path(out)
    import_module("sqcodec.study.trial")
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            import_module(name)
    jobs, failure, succeeded = plan.jobs(), None, any("failed" not in result for result in read_results(out).values())
    for number, job in enumerate(jobs, start=1):
        known = read_results(out).get(job.key)
        if known is not None and not (retry and "failed" in known):
            continue
        started = time.monotonic()
        log.info("run %d of %d: %s", number, len(jobs), job.key)
        folder = out / "runs" / job.key.replace("/", "-")
        result = _apart(plan, job, folder, cache or str(out / "cache"), device)
        shutil.rmtree(folder, ignore_errors=True)
        succeeded = succeeded or "failed" not in result
        if not succeeded and failure is not None and failure["failed"] == result["failed"]:
            raise ValueError(f"The first two runs failed alike, so the others would: {result['failed']}")
        if not succeeded and failure is None and number < len(jobs):
            failure = result  # kept back: what all runs share is no finding
            log.info("  failed: %s", result["failed"])
            continue
        if failure is not None:
            append_lines(out / RESULTS, [failure])
            failure = None
        append_lines(out / RESULTS, [result])
        shown = ("failed",) if "failed" in result else ("mel", "pesq_wb", "stoi", "cvu", "cpu_seconds")
        log.info("  %s (%.0f s)", {name: result.get(name) for name in shown}, time.monotonic() - started)


def fit_to_corpus(plan: Plan) -> Plan:
    """The study on the corpus that its overrides name: where that has none of the clips that the base recipe holds out,
    a tenth of its speakers are held out instead."""
    data = plan.recipe(plan.jobs()[0]).data
    if not data.manifest:
        raise ValueError("No corpus: give --data MANIFEST or FOLDER (or data.manifest in the base recipe).")
    clips = read_manifest(data.manifest)
    unknown = set(data.validation_speakers) - {clip.speaker for clip in clips}
    if not unknown:
        return plan
    log.info("the corpus has no clips of %s: a tenth of its speakers are held out", ", ".join(sorted(unknown)))
    changes = ("data.validation_speakers=[]", f"data.validation_share={data.validation_share or 0.1}")
    return dataclasses.replace(plan, overrides=(*plan.overrides, *changes))


def _apart(plan: Plan, job: Job, folder: Path, cache: str, device: str) -> dict[str, Any]:
    """The result of a job from a process of its own, so that memory is its own and a crash ends nothing else."""
    # Forked where that is safe: the parent imported everything and computed nothing.
    # Others start fresh, because an accelerator does not survive a fork.
    context: Any = multiprocessing.get_context("fork" if device == "cpu" else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, plan, job, folder, cache, device))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        return _failure(plan, job, f"the process ended with status {process.exitcode}")
    finally:
        if process.is_alive():
            process.join(10)
            process.kill()


def _child(sender: Connection, plan: Plan, job: Job, folder: Path, cache: str, device: str) -> None:
    import torch

    from sqcodec.study.trial import run_trial

    if device == "cpu":
        torch.set_num_threads(1)
    try:
        sender.send(run_trial(plan, job, folder, cache, device))
    except Exception as error:  # a run that cannot train is a finding, and the study goes on
        log.debug("%s", traceback.format_exc())
        sender.send(_failure(plan, job, f"{type(error).__name__}: {error}"))


def _failure(plan: Plan, job: Job, reason: str) -> dict[str, Any]:
    return {
        "key": job.key, "row": job.row, "size": job.size, "seed": job.seed, "steps": job.steps,
        "label": plan.rows[job.row].label, "failed": reason,
    }  # fmt: skip

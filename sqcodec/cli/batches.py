"""Many short recordings: read ahead, coded together, written behind.

Files of similar length share a batch, whose tokens are those of each file by itself (``Codec.encode_batch``). While one
batch is coded, a thread reads and resamples the next one, and another one writes the last one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from .files import PIPE, Job
from .jobs import Coded, check_output, code_header, report, report_failure

if TYPE_CHECKING:
    import numpy as np

    from sqcodec.codec import Codec

LONGEST_SECONDS = 60.0
"""A longer file is coded by itself, in bounded memory."""
GROUP_SECONDS = 120.0
"""Of audio, all channels together, in one batch; three of them are in memory at once."""


@dataclass
class Recording:
    """One file on its way: samples [C, T] at the model's rate, or what went wrong."""

    job: Job
    samples: np.ndarray | None = None
    sample_rate: int = 0
    length: int = 0
    error: Exception | None = None
    tokens: np.ndarray | None = None
    elapsed: float = 0.0
    coded: Coded | None = field(default=None, repr=False)


def split_jobs(jobs: list[Job]) -> tuple[list[list[Job]], list[Job]]:
    """Groups of jobs for batches, files of similar lengths together, and the jobs to do one by one."""
    from sqcodec import audio

    lengths, others = {}, []
    for index, job in enumerate(jobs):
        try:
            if job.problem or PIPE in (job.source, job.target):
                raise ValueError
            with audio.AudioReader(job.source) as reader:
                info = reader.info
        except (ValueError, OSError):
            others.append(job)
            continue
        if info.seconds * info.num_channels > LONGEST_SECONDS:
            others.append(job)
        else:
            lengths[index] = info.seconds * info.num_channels
    groups: list[list[Job]] = []
    total = 0.0
    for index in sorted(lengths, key=lambda index: lengths[index]):
        total += lengths[index]
        if not groups or total > GROUP_SECONDS:
            groups.append([])
            total = lengths[index]
        groups[-1].append(jobs[index])
    return groups, others


def encode_groups(codec: Codec, groups: list[list[Job]], arguments: argparse.Namespace) -> int:
    """Code all groups and report each file; how many failed. An exception (SIGTERM too) stops the threads at once."""
    failures, stopped = 0, Event()
    with ThreadPoolExecutor(1, "read") as reading, ThreadPoolExecutor(1, "write") as writing:
        written: list[Future[list[Recording]]] = []

        def read(group: list[Job]) -> Future[list[Recording]]:
            return reading.submit(_read, codec.sample_rate, group, arguments, stopped)

        try:
            for group in _ahead(read, groups):
                _encode(codec, [recording for recording in group if recording.samples is not None], arguments.bits)
                written.append(writing.submit(_write, codec, group, arguments, stopped))
                while len(written) > 1:
                    failures += _report(written.pop(0).result(), arguments)
            for future in written:
                failures += _report(future.result(), arguments)
        except BaseException:
            stopped.set()
            raise
    return failures


def _ahead(
    read: Callable[[list[Job]], Future[list[Recording]]], groups: list[list[Job]]
) -> Iterator[list[Recording]]:
    """Groups that are read, one of them ahead."""
    pending = [read(group) for group in groups[:1]]
    for index in range(len(groups)):
        group = pending.pop().result()
        pending = [read(following) for following in groups[index + 1 : index + 2]]
        yield group


def _read(sample_rate: int, group: list[Job], arguments: argparse.Namespace, stopped: Event) -> list[Recording]:
    import numpy as np

    from sqcodec import audio

    recordings: list[Recording] = []
    for job in group:
        recording, start = Recording(job), time.perf_counter()
        try:
            check_output(job, arguments.force)
            with audio.AudioReader(job.source, allow_cut=arguments.allow_cut) as reader:
                blocks = []
                for block in reader.blocks(sample_rate):
                    if stopped.is_set():
                        return recordings
                    blocks.append(block)
                recording.samples = np.concatenate(blocks, axis=1)
                recording.sample_rate, recording.length = reader.sample_rate, reader.samples_read
        except (ValueError, OSError) as error:
            recording.error = error
        recording.elapsed = time.perf_counter() - start
        recordings.append(recording)
    return recordings


def _encode(codec: Codec, recordings: list[Recording], bits: int | None) -> None:
    """All channels of all recordings in one batch; its time is shared out by length."""
    import numpy as np

    rows = [row for recording in recordings if recording.samples is not None for row in recording.samples]
    if not rows:
        return
    start = time.perf_counter()
    tokens = iter(codec.encode_batch(rows, bits=bits))
    elapsed = (time.perf_counter() - start) / sum(map(len, rows))
    for recording in recordings:
        assert recording.samples is not None
        recording.tokens = np.stack([next(tokens).numpy() for _ in recording.samples])
        recording.elapsed += elapsed * recording.samples.size
        recording.samples = None


def _write(codec: Codec, group: list[Recording], arguments: argparse.Namespace, stopped: Event) -> list[Recording]:
    from sqcodec import container

    predictor = codec.predictor if arguments.compact else None
    for recording in group:
        if recording.tokens is None or stopped.is_set():
            continue
        start = time.perf_counter()
        channels, count = recording.tokens.shape
        header = code_header(codec, recording.sample_rate, recording.length, channels, count, arguments.bits)
        try:
            size = container.write(recording.job.target, header, recording.tokens, predictor)
        except (ValueError, OSError) as error:
            recording.error = error
            continue
        elapsed = recording.elapsed + time.perf_counter() - start
        recording.coded = Coded.of(recording.job, codec, header, size, elapsed)
    return group


def _report(group: list[Recording], arguments: argparse.Namespace) -> int:
    for recording in group:
        if recording.coded is not None:
            report(recording.job, recording.coded, arguments)
        elif recording.error is not None:
            report_failure(recording.job, recording.error, arguments)
    return sum(recording.coded is None for recording in group)

"""Files one after the other: the line for each, its errors, its progress."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqcodec.files import write_atomically

from .files import PIPE, Job
from .options import check_new
from .parser import UsageError, describe, printable

if TYPE_CHECKING:
    from sqcodec.codec import Codec
    from sqcodec.container import CodeHeader


@dataclass(frozen=True)
class Coded:
    """What became of one file. `tokens` is per channel; rates in kbit/s, of all channels together."""

    input: str
    output: str
    model: str
    seconds: float
    channels: int
    tokens: int
    bytes: int
    nominal_kbps: float
    actual_kbps: float
    elapsed: float
    times_real_time: float

    @classmethod
    def of(cls, job: Job, codec: Codec | None, header: CodeHeader, size: int, elapsed: float) -> Coded:
        """From a code file of `size` bytes, made or read in `elapsed` seconds; without a model if its tokens are
        nested."""
        rates, bits = header.rates, header.bits
        if rates is not None and bits is not None:
            kbps = rates.kbps(bits)
        else:
            assert codec is not None
            kbps = codec.bit_rate / 1000
        return cls(
            input=job.source,
            output=job.target,
            model=header.model if codec is None else codec.name,
            seconds=header.seconds,
            channels=header.num_channels,
            tokens=header.num_tokens,
            bytes=size,
            nominal_kbps=kbps * header.num_channels,
            actual_kbps=size * 8 / header.seconds / 1000,
            elapsed=elapsed,
            times_real_time=header.seconds / elapsed,
        )

    def line(self) -> str:
        """For people."""
        tokens = f"{self.tokens} tokens" if self.channels == 1 else f"{self.channels} x {self.tokens} tokens"
        return (
            f"{self.input} -> {self.output}: {self.seconds:.2f} s, {tokens}, {self.nominal_kbps:.3f} kbit/s "
            f"nominal, {self.actual_kbps:.3f} actual, {self.times_real_time:.1f} times real time"
        )


def code_header(
    codec: Codec,
    original_sample_rate: int,
    num_samples: int,
    num_channels: int,
    num_tokens: int,
    bits: int | None = None,
) -> CodeHeader:
    """The header of a code file that `codec` makes; `num_samples` at the original rate, `num_tokens` a channel, of
    `bits` each where the model has several rates."""
    from sqcodec.container import CodeHeader

    return CodeHeader(
        model=codec.name,
        weights_hash=codec.weights_hash,
        sample_rate=codec.sample_rate,
        original_sample_rate=original_sample_rate,
        num_samples=num_samples,
        num_channels=num_channels,
        num_tokens=num_tokens,
        codebook_size=codec.config.codes(bits),
        levels=codec.levels,
        bits_range=codec.bits_range,
        hop_length=codec.hop_length if codec.bits_range else 0,
    )


def run_jobs(jobs: list[Job], arguments: argparse.Namespace, work: Callable[[Job, Progress], Coded]) -> int:
    """Do all jobs: a line for each that works, an error for each that does not, the rest goes on."""
    return finish(do_jobs(jobs, arguments, work), len(jobs))


def do_jobs(jobs: list[Job], arguments: argparse.Namespace, work: Callable[[Job, Progress], Coded]) -> int:
    """``run_jobs`` without the summary: how many failed."""
    failures = 0
    for job in jobs:
        try:
            check_output(job, arguments.force)
            with Progress(job.source, arguments.quiet) as progress:
                coded = work(job, progress)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, MemoryError) as error:
            failures += report_failure(job, error, arguments)
            continue
        report(job, coded, arguments)
    return failures


def report(job: Job, coded: Coded, arguments: argparse.Namespace) -> None:
    """The line of a file that was done."""
    stream = sys.stderr if job.target == PIPE else sys.stdout
    print(json.dumps(asdict(coded)) if arguments.json else printable(coded.line()), file=stream, flush=True)


def report_failure(job: Job, error: Exception, arguments: argparse.Namespace) -> int:
    """What is said of a file that was not done: one failure, or with SQCODEC_DEBUG the error itself."""
    from sqcodec.audio import CutAudioError

    if os.environ.get("SQCODEC_DEBUG"):
        raise error
    hint = ""
    if isinstance(error, CutAudioError) and "allow_cut" in arguments:
        hint = "; --allow-cut codes what is there"
    print(printable(f"sqcodec: error: {describe(error, job.source)}{hint}"), file=sys.stderr)
    if arguments.json and job.target != PIPE:
        print(json.dumps({"input": job.source, "error": describe(error)}), flush=True)
    return 1


def finish(failures: int, total: int) -> int:
    """Exit status of so many jobs."""
    if failures and total > 1:
        print(f"sqcodec: {failures} of {total} files failed", file=sys.stderr)
    return 1 if failures else 0


def check_output(job: Job, force: bool) -> None:
    """Refuse what would fail after the work: an existing file, a folder that is missing or locked."""
    if job.problem:
        raise ValueError(job.problem)
    if job.target == PIPE:
        return
    target = Path(job.target)
    if target.is_file():
        check_new(target, force)
    if target.exists():
        return
    if job.make_folder:
        target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"{target}: no permission to write in {target.parent}")


class Progress:
    """Seconds of audio done, as a bar on stderr where that is a terminal; and the time taken."""

    def __init__(self, name: str, quiet: bool) -> None:
        self._name = "stdin" if name == PIPE else name
        self._hidden = quiet or not sys.stderr.isatty()
        self._bar: Any = None
        self._start = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds since `begin`: reading, coding and writing, not the loading of the model."""
        return time.perf_counter() - self._start

    def begin(self, total: float | None) -> None:
        """Start the clock and show the bar: `total` seconds to do, None where unknown."""
        self._start = time.perf_counter()
        if not self._hidden:
            from tqdm import tqdm

            layout = "{desc}: {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
            self._bar = tqdm(
                total=total,
                desc=Path(self._name).name,
                leave=False,
                file=sys.stderr,
                bar_format=layout if total else None,
            )

    def add(self, seconds: float) -> None:
        if self._bar is not None:
            self._bar.update(seconds)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def read_input(job: Job) -> bytes:
    """All of a file, or of stdin."""
    return sys.stdin.buffer.read() if job.source == PIPE else Path(job.source).read_bytes()


def write_output(job: Job, data: bytes) -> int:
    """A file, whole or not at all, or stdout; the number of bytes."""
    if job.target == PIPE:
        with binary_stdout() as stream:
            stream.write(data)
    else:
        write_atomically(job.target, data)
    return len(data)


@contextmanager
def binary_stdout() -> Iterator[Any]:
    """stdout for bytes; refuses a terminal."""
    if sys.stdout.isatty():
        raise UsageError("binary output does not go to a terminal: name an output file, or redirect")
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()

"""What the verbs share: options, the model, one line per file, errors, progress."""

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

if TYPE_CHECKING:
    from sqcodec.codec import Codec, Precision
    from sqcodec.container import CodeHeader

DEFAULT_MODEL = "speech-3k"
TOKEN_MODEL = "speech-1k"
"""For language models."""


class HelpFormatter(argparse.HelpFormatter):
    """Texts of several lines stay as they are written; others are wrapped."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """A parser of the command line, and of each command. It tells the nearest word for one that it does not know."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": HelpFormatter, **options})
        self._apart = False  # while options are parsed first, then what stands between them

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Of a command, all there are, so that an unknown one ends with the usage of the command it was given to. Files
        may stand before and behind an option."""
        found, left = super().parse_known_args(args, namespace)
        if self._subparsers is None and not self._apart:
            options = [text for text in left if text.startswith("-") and text != PIPE]
            if left and not options:
                self._apart = True
                found, left = self.parse_known_intermixed_args(args)
                self._apart = False
            if left:
                from sqcodec.tables import nearest

                unknown = (options or left)[0].partition("=")[0]
                self.error(f"unrecognized arguments: {' '.join(left)}{nearest(unknown, self._option_string_actions)}")
            found.usage = self.format_usage()
        return found, left

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            from sqcodec.tables import nearest

            choices = [str(choice) for choice in action.choices]
            hint = nearest(str(value), choices)
            raise argparse.ArgumentError(action, f"'{value}' is none of: {', '.join(choices)}{hint}")


class Renamed(argparse.Action):
    """The spelling of before: it works for one version, with a hint at the new one (`const`)."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        print(f"sqcodec: note: {option} is now {self.const}, and goes with the next version", file=sys.stderr)
        setattr(namespace, self.dest, values)


class UsageError(Exception):
    """The command line does not make sense: exit status 2."""


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


def add_rate_options(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """--kbps or --bits."""
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument(
        "--kbps", type=float, metavar="RATE", help="kbit/s a channel, of a model with several rates: the most that fits"
    )
    group.add_argument("--bits", type=positive, metavar="N", help="bits of a token instead (`sqcodec info MODEL`)")


def add_coding_options(parser: argparse.ArgumentParser, default_model: str | None) -> None:
    """What `encode` and `decode` share."""
    add_options(parser, "--model", default=default_model,
                help=f"a model's name (`sqcodec models`) or folder; default: "
                f"{default_model or 'the model that the .sqc file names'}")  # fmt: skip
    add_options(parser, "--device", "--threads", "--precision")
    parser.add_argument(
        "--compile", action="store_true",
        help="compile the activations of a published model: seconds the first time, then a tenth faster; same tokens",
    )  # fmt: skip
    add_options(parser, "--force", "--json", "--quiet")


def add_options(parser: argparse._ActionsContainer, *names: str, **changes: Any) -> None:
    """Options that mean the same everywhere, by name; `changes` to what argparse is told of them."""
    for name in names:
        parser.add_argument(*(["-o", name] if name == "--out" else ["-q", name] if name == "--quiet" else [name]),
                            **_shared()[name] | changes)  # fmt: skip


def _shared() -> dict[str, dict[str, Any]]:
    return {
        "--model": {"metavar": "NAME|FOLDER", "default": DEFAULT_MODEL, "help": f"default: {DEFAULT_MODEL}"},
        "--out": {"metavar": "DIR", "required": True},
        # `main` puts a real device in the place of "auto"
        "--device": {"default": "cpu",
                     "help": "cpu, cuda, cuda:1, ..., or auto: the GPU where there is one; default: cpu"},
        "--threads": {"type": positive, "metavar": "N", "help": "CPU threads; default: all cores"},
        "--jobs": {"type": positive, "metavar": "N", "help": "processes; default: all cores"},
        "--precision": {"choices": ("float32", "bfloat16"), "default": "float32",
                        "help": "of the large layers; bfloat16 is faster where the processor has it, and not exactly "
                        "the same"},
        "--split": {"metavar": "NAME", "help": "only this split of the manifest"},
        "--set": {"action": "append", "default": [], "metavar": "KEY=VALUE", "help": "override a recipe entry"},
        "--data": {"metavar": "MANIFEST|FOLDER", "help": "manifest (.tsv, .jsonl) or folder of audio"},
        "--cache": {"metavar": "DIR", "help": "where decoded audio is kept; default: in the run folder"},
        "--force": {"action": "store_true", "help": "overwrite existing files"},
        "--json": {"action": "store_true", "help": "JSON on stdout: an object for each file or row"},
        "--quiet": {"action": "store_true", "help": "no progress"},
    }  # fmt: skip


def add_corpus(parser: argparse.ArgumentParser, help: str = "manifest (.tsv, .jsonl) or folder of audio") -> None:
    """The corpus, first or behind --data; `corpus` reads it."""
    parser.add_argument("corpus", nargs="?", metavar="MANIFEST|FOLDER", help=help)
    add_options(parser, "--data", help="the same, as an option")


def corpus(arguments: argparse.Namespace) -> str:
    """What `add_corpus` asked for. Raises UsageError for none and for two."""
    if (arguments.corpus is None) == (arguments.data is None):
        raise UsageError("name a MANIFEST or FOLDER, first or behind --data, and one of them")
    return arguments.corpus or arguments.data


def positive(text: str) -> int:
    """argparse type: an integer of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of 1 or more")
    return int(text)


def show_log() -> None:
    """What a long run tells goes to stderr; of several processes the first one speaks."""
    import logging

    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.ERROR
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def set_threads(count: int | None) -> None:
    """So many threads for PyTorch; None leaves them."""
    import torch

    if count:
        torch.set_num_threads(count)


def check_new(path: Path, force: bool) -> None:
    """Raises FileExistsError where there is something already, unless ``force``."""
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; --force overwrites it")


def load_codec(
    name: str, device: str, threads: int | None, precision: Precision = "float32", compiled: bool = False
) -> Codec:
    """The model on its device; a remark on stderr where its training is not done.

    Raises ValueError or OSError with what is wrong and what is allowed.
    """
    import torch

    import sqcodec
    from sqcodec.checkpoint import training_progress

    set_threads(threads)
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise UsageError(f"--device {device!r} is no device; use cpu, cuda or cuda:0, cuda:1, ...") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: PyTorch finds no CUDA device here; use --device cpu")
    codec = sqcodec.load(name, device=device, precision=precision, compiled=compiled)
    progress = codec.folder and training_progress(codec.folder)
    if progress and progress[0] < progress[1]:
        state = "is at step {} of {} of its training" if progress[0] else "is untrained: it is at step {} of {}"
        print(printable(f"sqcodec: note: '{name}' {state.format(*progress)}"), file=sys.stderr)
    return codec


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


def printable(text: str) -> str:
    """Text for a terminal: control characters (a file's name may hold them) as escapes, tabs and line ends kept."""
    return "".join(
        letter if letter.isprintable() or letter in "\t\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


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


def describe(error: BaseException, source: str | None = None) -> str:
    """An exception as one sentence; names the file where the exception does not."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    else:
        text = str(error) or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)
    return text if source is None or source == PIPE or source in text else f"{source}: {text}"


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


def add_inputs(parser: argparse.ArgumentParser, out: str) -> None:
    """Files in, and where they go, as `plan` takes them; ``out`` is the help of --out."""
    parser.add_argument("inputs", nargs="+", metavar="IN", help="files, folders, globs, or - for stdin")
    add_options(parser, "--out", required=False, metavar="PATH", help=out)


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

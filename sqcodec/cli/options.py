"""Options that mean the same for every verb, and what they load."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .parser import UsageError, printable

if TYPE_CHECKING:
    from sqcodec.codec import Codec, Precision

DEFAULT_MODEL = "speech-3k"
TOKEN_MODEL = "speech-1k"
"""For language models."""


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


def add_corpus(parser: argparse.ArgumentParser, help: str = "manifest (.tsv, .jsonl) or folder of audio") -> None:
    """The corpus, first or behind --data; `corpus` reads it."""
    parser.add_argument("corpus", nargs="?", metavar="MANIFEST|FOLDER", help=help)
    add_options(parser, "--data", help="the same, as an option")


def corpus(arguments: argparse.Namespace) -> str:
    """What `add_corpus` asked for. Raises UsageError for none and for two."""
    if (arguments.corpus is None) == (arguments.data is None):
        raise UsageError("name a MANIFEST or FOLDER, first or behind --data, and one of them")
    return arguments.corpus or arguments.data


def add_inputs(parser: argparse.ArgumentParser, out: str) -> None:
    """Files in, and where they go, as `plan` takes them; ``out`` is the help of --out."""
    parser.add_argument("inputs", nargs="+", metavar="IN", help="files, folders, globs, or - for stdin")
    add_options(parser, "--out", required=False, metavar="PATH", help=out)


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

"""The command line: one parser, one module per group of verbs.

A verb's module has `add_parser(subparsers)`, which sets `run=function(arguments) -> exit status`. Heavy
imports (torch, numpy, soundfile) belong inside the verbs: `sqcodec --help` must answer at once. Exit status:
0 done, 1 failure, 2 usage. A user's mistake is one line on stderr; with SQCODEC_DEBUG=1 it is a traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence

from .files import PlanError
from .parser import Parser, UsageError, describe, printable

MODULES = (
    "encode", "decode", "cut", "stream", "export", "demo", "bench", "info", "models", "prepare", "training", "study",
    "evaluate", "profile", "tokens", "lm", "entropy",
)  # fmt: skip


TERMINATED = 143
"""Exit status after SIGTERM."""


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"sqcodec {version('sqcodec')}")
        except PackageNotFoundError:
            print("sqcodec (not installed)")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The whole parser."""
    parser = Parser(
        prog="sqcodec", description="Speech as one short stream of tokens: audio in, .sqc file out, and back."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    subparsers = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    for name in MODULES:
        importlib.import_module(f"{__name__}.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = build_parser()
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        parser.print_help()
        return 0
    arguments = parser.parse_args(argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        if getattr(arguments, "device", "") == "auto":
            from sqcodec.codec import pick_device

            arguments.device = str(pick_device("auto"))
        return arguments.run(arguments)
    except (UsageError, PlanError) as error:
        print(printable(f"{arguments.usage}sqcodec {arguments.verb}: {error}"), file=sys.stderr)
        return 2
    except SystemExit as error:
        if error.code == TERMINATED:  # all is unwound; what Python does to torch at its end takes a second more
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            os._exit(TERMINATED)
        raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush goes nowhere
        return 1
    except (ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):  # torch's word for MemoryError
            raise
        if os.environ.get("SQCODEC_DEBUG"):
            raise
        print(printable(f"sqcodec: error: {describe(error)}"), file=sys.stderr)
        return 1


def _terminate(*_: object) -> None:
    """SIGTERM unwinds the stack, so that temporary files are removed."""
    raise SystemExit(TERMINATED)

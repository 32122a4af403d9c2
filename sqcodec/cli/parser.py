"""How the command line is read, and what is said of a mistake."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from .files import PIPE


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


def printable(text: str) -> str:
    """Text for a terminal: control characters (a file's name may hold them) as escapes, tabs and line ends kept."""
    return "".join(
        letter if letter.isprintable() or letter in "\t\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def describe(error: BaseException, source: str | None = None) -> str:
    """An exception as one sentence; names the file where the exception does not."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    else:
        text = str(error) or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)
    return text if source is None or source == PIPE or source in text else f"{source}: {text}"

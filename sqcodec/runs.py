"""A run folder, for every trainer: one trainer at a time, a checked state and the one before it, metrics, signals."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import pickle
import signal
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from sqcodec.files import published, read_lines, remove_partial, write_atomically

log = logging.getLogger(__name__)

STATE_NAME, PREVIOUS_NAME, DAMAGED_NAME = "state.pt", "state.previous.pt", "state.damaged.pt"
LOCK_NAME = ".lock"
METRICS_NAME = "metrics.jsonl"


# ---- state


def write_state(path: str | Path, state: dict[str, Any]) -> None:
    """Writes tensors, numbers, strings and containers of them; the file has checksums."""
    with published(path) as partial:
        _save(partial, state)


def read_state(path: str | Path) -> dict[str, Any]:
    """What ``write_state`` wrote; nothing but tensors and plain containers is ever unpickled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, by a single bit too.
    """
    try:
        with zipfile.ZipFile(path) as file:  # torch writes the CRC-32 of every part, and does not look at it
            if any(part.compress_type != zipfile.ZIP_STORED for part in file.infolist()):
                raise ValueError("a part of it is compressed")
            damaged = file.testzip()
        if damaged:
            raise ValueError(f"the checksum of {damaged} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile,
            zipfile.LargeZipFile, pickle.UnpicklingError) as error:  # fmt: skip
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that is an offset which no file has
            raise
        reason = str(error).partition("\n")[0]
        raise ValueError(f"'{path}' is damaged: {reason}") from None


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Writes a run's state; the one before it is kept beside it."""
    path, previous = folder / STATE_NAME, folder / PREVIOUS_NAME
    with published(path) as partial:
        _save(partial, state)
        if path.exists():  # a second name, so that there is a state at every moment
            with published(previous) as second:
                os.link(path, second)


def _save(path: Path, state: dict[str, Any]) -> None:
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:  # torch's own error hides the system's, such as a full disk
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def load_state(folder: Path) -> dict[str, Any] | None:
    """The newest state of a run that is whole, with a warning where that is the one before; None where there is none.

    A damaged state is renamed to ``state.damaged.pt``: it never takes the place of a whole one.

    Raises:
        ValueError: all there are are damaged.
    """
    path, previous = folder / STATE_NAME, folder / PREVIOUS_NAME
    try:
        return read_state(path)
    except FileNotFoundError:
        if not previous.exists():
            return None
        problem = f"'{path}' is missing"
    except ValueError as error:
        problem = str(error)
        os.replace(path, folder / DAMAGED_NAME)
    try:
        state = read_state(previous)
    except (ValueError, FileNotFoundError):
        raise ValueError(
            f"{problem}; there is no whole state before it. The weights in '{folder / 'model'}' are as last "
            f"saved; to train again, take another folder or remove '{folder}'."
        ) from None
    log.warning("%s: going on from the state before it, of step %s", problem, state.get("step"))
    return state


def has_state(folder: Path) -> bool:
    return (folder / STATE_NAME).exists() or (folder / PREVIOUS_NAME).exists()


# ---- one trainer


@contextlib.contextmanager
def trainer_lock(folder: Path) -> Iterator[None]:
    """Keeps a second trainer off a folder; a lock of a dead process is none. What killed ones left half is removed.

    Raises:
        ValueError: another process trains there; the message says which.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = folder / LOCK_NAME
    # "a": opening must not erase who holds it. The lock is the process's, not its workers': it ends when it ends.
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise ValueError(
                f"'{folder}' is being trained by {holder}: wait until it is done, end it, or give another --out."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        for inner in (folder, *(part for part in folder.iterdir() if part.is_dir())):
            remove_partial(inner)
        try:
            yield
        finally:
            file.truncate(0)


# ---- metrics


def cut_metrics(folder: Path, step: int) -> None:
    """Removes the lines of later steps, which will come again, and what a crash left half."""
    path = folder / METRICS_NAME
    kept = [row for row in read_metrics(folder) if row["step"] <= step]
    if path.is_file() and len(kept) < len(path.read_bytes().splitlines()):
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))


def add_metrics(folder: Path, row: dict[str, Any]) -> None:
    """Appends a line."""
    with (folder / METRICS_NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl that are whole."""
    return [row for row in read_lines(folder / METRICS_NAME) if "step" in row]


def has_metrics(folder: Path, step: int, name: str) -> bool:
    """Whether a line of a step has this number."""
    return any(row["step"] == step and name in row for row in read_metrics(folder))


# ---- signals


class Interruption(contextlib.AbstractContextManager["Interruption"]):
    """Within the block Ctrl-C (SIGINT) and SIGTERM only set ``asked``: the run finishes its step, saves, and ends.

    A second one ends the run at once; so does the first where ``nothing_to_save()``. Outside the main thread signals
    are left alone.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, nothing_to_save: Callable[[], bool]) -> None:
        self.nothing_to_save, self.asked = nothing_to_save, 0
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked or self.nothing_to_save():
            self.end(number)
        self.asked = number
        log.warning("%s: after this step the run is saved and ends (once more: at once)", signal.Signals(number).name)

    def end(self, number: int) -> None:
        """Raises what the signal stands for."""
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

"""A write that fails leaves the file as it was and nothing beside it; two writers of one name do not meet."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from sqcodec.files import published, remove_partial, write_atomically
from sqcodec.runs import write_state


@contextmanager
def small_disk() -> Iterator[None]:
    """Files end at 10 kB: within the block alone, since the tests' own output may be a longer file."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    text, state = tmp_path / "recipe.json", tmp_path / "state.pt"
    write_atomically(text, "old")
    write_state(state, {"step": 1})
    before = state.read_bytes()
    with small_disk(), pytest.raises(OSError, match=r"recipe\.json"):
        write_atomically(text, b"x" * 20_000)
    with small_disk(), pytest.raises(OSError, match=r"state\.pt"):
        write_state(state, {"step": torch.zeros(20_000)})
    assert text.read_text() == "old" and state.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.json", "state.pt"]


def test_two_writers_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with published(path) as first, published(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_goes(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "a")
    (tmp_path / ".a.01234567.partial").write_text("half")
    remove_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_links_devices_and_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", "a")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "a"
    write_atomically("/dev/null", "a")
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        write_atomically(tmp_path, "a")
    with pytest.raises(FileNotFoundError, match="nowhere/a"):
        write_atomically(tmp_path / "nowhere" / "a", "a")

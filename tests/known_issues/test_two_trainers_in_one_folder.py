"""One run folder, one trainer; the lock of a dead process is none."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from sqcodec.cli import main
from sqcodec.runs import trainer_lock

DATA = Path(__file__).parent.parent / "data"


def hold(folder: Path, ready) -> None:
    with trainer_lock(folder):
        ready.set()
        signal.pause()


def test_a_second_trainer_is_told_and_a_dead_one_is_none(tmp_path: Path, capsys) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    first = context.Process(target=hold, args=(tmp_path, ready))
    first.start()
    assert ready.wait(20)
    (tmp_path / ".state.pt.0123abcd.partial").write_text("half")
    recipe = Path(__file__).parent.parent.parent / "recipes" / "mini_speech.toml"
    try:
        with pytest.raises(ValueError, match=rf"being trained by process {first.pid} on .*another --out"), \
                trainer_lock(tmp_path):  # fmt: skip
            pass
        assert main(["train", str(recipe), "--data", str(DATA), "--out", str(tmp_path)]) == 1
        assert capsys.readouterr().err.count("\n") == 1
        assert len(list(tmp_path.iterdir())) == 2  # nothing was touched
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.join()
    with trainer_lock(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]

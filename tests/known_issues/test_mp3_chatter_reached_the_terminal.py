"""A damaged mp3 brought ninety lines of libmpg123 to the terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from sqcodec import audio


@pytest.fixture
def damaged(tmp_path):
    """An mp3 with junk in three places, of which it loses little."""
    path = tmp_path / "a.mp3"
    generator = np.random.default_rng(0)
    audio.save(path, generator.uniform(-0.3, 0.3, (1, 320000)), 16000)
    data = bytearray(path.read_bytes())
    for place in (20000, 30000, 50000):
        data[place : place + 400] = bytes(400)
    path.write_bytes(data)
    return path


def test_it_is_one_warning(damaged, caplog, capfd):
    try:
        audio.load(damaged)
    except audio.AudioError:
        pytest.fail("a little damage in the middle is read over")
    assert capfd.readouterr().err == ""
    assert len(caplog.messages) == 1 and "the mp3 decoder complained" in caplog.text and "a.mp3" in caplog.text


def test_what_others_say_is_passed_on(damaged, capfd):
    with audio.AudioReader(damaged) as reader, reader._chatter.caught():
        os.write(2, b"mine\nNote: Trying to resync...\n")
    assert capfd.readouterr().err == "mine\n"


def test_without_stderr(damaged):
    code = f"from sqcodec import audio; print(audio.load({str(damaged)!r})[0].shape[0])"
    command = ["bash", "-c", 'exec "$@" 2>&-', "bash", sys.executable, "-c", code]
    assert subprocess.run(command, stdout=subprocess.PIPE, timeout=60).stdout == b"1\n"

"""SIGTERM while a folder was coded took five seconds: threads went on with what they had, and Python with its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cli_helpers import names, speech

from sqcodec import audio, cli
from sqcodec.cli import batches


def make_files(count: int, seconds: float) -> None:
    Path("in").mkdir()
    audio.save("in/0.wav", speech(seconds), 16000)
    for index in range(1, count):
        os.link("in/0.wav", f"in/{index}.wav")


def test_the_reading_thread_stops_in_the_middle_of_its_group(workplace, monkeypatch, capsys):
    make_files(100, 0.2)
    whole = audio.AudioReader.blocks

    def slowly(*arguments, **options):
        for block in whole(*arguments, **options):
            time.sleep(0.05)
            yield block

    def interrupted(*_: object) -> None:
        time.sleep(0.2)  # the next group is on its way
        nonlocal start
        start = time.monotonic()
        raise KeyboardInterrupt

    start = 0.0
    monkeypatch.setattr(audio.AudioReader, "blocks", slowly)
    monkeypatch.setattr(batches, "GROUP_SECONDS", 10.0)
    monkeypatch.setattr(batches, "_encode", interrupted)
    assert cli.main(["encode", "in", "--out", "out", "--model", "tiny"]) == 130
    assert time.monotonic() - start < 1


def test_nothing_partial_is_left(workplace):
    make_files(300, 20.0)
    command = [sys.executable, "-m", "sqcodec", "encode", "in", "--out", "out", "--model", "tiny"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        process.wait(20)
        taken = time.monotonic() - start
    assert process.returncode == 143 and taken < 1
    assert all(name.endswith(".sqc") for name in names(Path("out"))) and len(names(Path("out"))) < 300

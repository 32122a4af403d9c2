"""SIGTERM while a folder was coded took five seconds: threads went on with what they had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cli_helpers import names, speech

from sqcodec import audio


def test_within_a_second(workplace):
    """Two on a busy machine; what was begun would take many more."""
    Path("in").mkdir()
    audio.save("in/0.flac", speech(55, rate=44100), 44100)
    for index in range(1, 300):
        os.link("in/0.flac", f"in/{index}.flac")
    command = [sys.executable, "-m", "sqcodec", "encode", "in", "--out", "out", "--model", "tiny"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        process.wait(20)
        taken = time.monotonic() - start
    assert process.returncode == 143 and taken < 2
    assert all(name.endswith(".sqc") for name in names(Path("out"))) and len(names(Path("out"))) < 300

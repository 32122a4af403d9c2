"""token-report worked for 44 s before it missed scikit-learn; evaluate without its extra named no remedy."""

from __future__ import annotations

import sys

import pytest
from cli_helpers import failure, speech

from sqcodec import audio, cli


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("sklearn", ["token-report", "in.wav"], "lm"),
        ("scipy", ["evaluate", ".", "--baselines", "original", "--out", "report"], "eval"),
    ],
)
def test_it_is_said_first(workplace, monkeypatch, capsys, package, arguments, extra):
    audio.save("in.wav", speech(0.2), 16000)
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(arguments) == 1
    errors = failure(capsys)
    assert f"'{package}'" in errors and f"pip install 'sqcodec[{extra}]'" in errors and errors.count("\n") == 1


def test_peers_say_how_they_are_named(workplace, capsys):
    audio.save("in.wav", speech(0.2), 16000)
    assert cli.main(["evaluate", ".", "--baselines", "mimi", "--out", "report", "-q"]) == 1
    assert "Unknown system 'mimi'" in (errors := failure(capsys)) and "DAC and Mimi are hf:FOLDER" in errors

"""What new users typed: a second wav as output, decode for encode, a folder, a file that is not there, an empty wav."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_helpers import decode, encode, failure, names, program, speech

from sqcodec import audio


@pytest.fixture(autouse=True)
def files(workplace):
    audio.save("talk.wav", speech(0.2), 16000)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["talk.wav", "out.wav"], "out.wav: no such file; an output ends in one of: .sqc"),
        (["talk.wav", "empty"], "empty is a folder with nothing to code in it; to write into it: --out empty"),
        (["talk.wav", "talk.wav", "out"], "out: no such file"),
        (["talk.sqc", "talk.wav"], "did you mean 'sqcodec decode talk.sqc'?"),
    ],
)
def test_nothing_is_written_before_the_question_is_answered(arguments, message, tmp_path, capsys):
    Path("empty").mkdir()
    Path("talk.sqc").write_bytes(b"precious")
    assert encode(*arguments, "--force") == 2
    assert message in failure(capsys)
    assert Path("talk.sqc").read_bytes() == b"precious" and names(tmp_path) == ["talk.sqc", "talk.wav"]


def test_decode_asks_whether_encode_was_meant(capsys):
    assert decode("talk.wav", "talk.sqc") == 2
    assert "did you mean 'sqcodec encode talk.wav'?" in failure(capsys)


def test_a_folder_with_an_empty_wav(capsys):
    Path("in").mkdir()
    audio.save("in/whole.wav", speech(0.2), 16000)
    soundfile.write("in/empty.wav", np.zeros(0), 16000)
    assert encode("in") == 1
    assert "in/empty.wav: holds no samples" in failure(capsys)
    assert Path("in/whole.sqc").exists()


def test_a_missing_file_is_reported_without_loading_torch():
    code = (
        "import sys; from sqcodec import cli; status = cli.main(['encode', 'missing.wav']); "
        "sys.exit(9 if 'torch' in sys.modules else status)"
    )
    done = program(code=code)
    assert done.returncode == 1 and b"missing.wav: No such file" in done.stderr


def test_control_characters_in_a_name_stay_off_the_terminal(capsys):
    name = "a\x1b]0;title\x07\x9b31m.wav"
    audio.save(name, speech(0.2), 16000)
    assert encode(name) == 0 and encode(name) == 1
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert "\\x1b]0;title\\x07\\x9b31m" in text and not {"\x1b", "\x07", "\x9b"} & set(text)

"""What the command line refuses: one line on stderr, no traceback, no file.

Calls `main` in this process, which saves the seconds that importing torch takes.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_helpers import decode, encode, failure, names, speech

from sqcodec import audio, cli, container


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["none.wav"], 1, "none.wav: No such file"),
        (["none/*.wav"], 1, "none/*.wav: no file matches"),
        (["empty"], 1, "empty: no file in it ends in"),
        (["in.wav", "none/x.sqc"], 1, "there is no folder none"),
        (["in.wav", "done.sqc"], 1, "done.sqc exists; --force overwrites it"),
        (["same.wav", "same.flac", "-o", "folder.sqc"], 1, "folder.sqc/same.sqc is already the output"),
        (["folder.wav"], 1, "folder.wav: no file in it"),
        (["in.wav", "-o", "in.wav"], 2, "must be a folder"),
        (["in.wav", "in.wav", "x.sqc"], 2, "use --out FOLDER"),
        (["empty", "x.sqc"], 2, "use --out FOLDER"),
        (["-", "in.wav"], 2, "cannot be one of several"),
        (["-", "--out", "empty"], 2, "name the output"),
        (["in.wav", "--device", "abacus"], 2, "--device 'abacus'"),
        (["in.wav", "--threads", "0"], 2, "'0' is not an integer of 1 or more"),
        (["same.wav", "same.flac"], 1, "same.sqc is already the output of same.wav"),
        (["zero.wav"], 1, "zero.wav: holds no samples"),
        (["nan.wav"], 1, "nan.wav: a sample at 0.100 s is NaN or infinite"),
        (["text.wav"], 1, "text.wav: not readable as audio"),
        (["header.wav"], 1, "header.wav: not readable as audio"),
        (["cut.flac"], 1, "cut.flac: "),
        (["done.sqc", "-o", "x.sqc"], 2, "did you mean 'sqcodec decode done.sqc'?"),
        (["in.wav", "/dev/full"], 1, "/dev/full: No space left"),
    ],
)
def test_what_encode_refuses(arguments, status, message, tmp_path, capsys):
    audio.save("in.wav", speech(0.2), 16000)
    audio.save("same.wav", speech(0.2), 16000)
    audio.save("same.flac", speech(2.0), 16000)
    Path("cut.flac").write_bytes(Path("same.flac").read_bytes()[:9000])
    soundfile.write("zero.wav", np.zeros(0), 16000)
    soundfile.write("nan.wav", np.where(np.arange(4800) == 1600, np.nan, 0), 16000, subtype="FLOAT")
    Path("text.wav").write_text("hello")
    Path("header.wav").write_bytes(Path("in.wav").read_bytes()[:30])
    Path("done.sqc").write_bytes(b"\x89SQC...")
    for folder in ("empty", "folder.wav", "folder.sqc"):
        Path(folder).mkdir()
    before = set(names(tmp_path))
    try:
        assert encode(*arguments) == status
    except SystemExit as error:
        assert error.code == status
    assert message in failure(capsys)
    assert set(names(tmp_path)) - before <= {"same.sqc", "folder.sqc/same.sqc"}


def test_no_permission(tmp_path, capsys):
    audio.save("in.wav", speech(0.2), 16000)
    audio.save("secret.wav", speech(0.2), 16000)
    Path("secret.wav").chmod(0)
    Path("locked").mkdir(mode=0o555)
    encode("in.wav")  # the model is loaded while it may still be read
    is_root = os.geteuid() == 0
    if is_root:
        pytest.skip("root may do everything; tests/test_audio.py drops its rights for this")
    assert encode("secret.wav") == 1
    assert "secret.wav: Permission denied" in failure(capsys)
    assert encode("in.wav", "locked/in.sqc") == 1
    assert "no permission to write in locked" in failure(capsys)


def test_force_overwrites_and_same_file_is_refused(capsys):
    audio.save("in.wav", speech(0.2), 16000)
    assert encode("in.wav") == 0 and encode("in.wav", "--force") == 0
    Path("copy.wav").write_bytes(b"old")
    assert decode("in.sqc", "copy.wav") == 1 and Path("copy.wav").read_bytes() == b"old"
    assert decode("in.sqc", "copy.wav", "--force") == 0 and audio.info("copy.wav").num_samples == 3200
    Path("link.sqc").symlink_to("in.wav")
    assert encode("in.wav", "link.sqc", "--force") == 1
    assert "input and output are the same file" in failure(capsys)


def rewritten(changes: dict, tokens: np.ndarray | None = None) -> None:
    """bad.sqc: in.sqc with a changed header, checksums right."""
    header, old = container.read("in.sqc")
    tokens = old if tokens is None else tokens
    container.write("bad.sqc", replace(header, **changes), tokens)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": "lost", "weights_hash": "0" * 16}, "needs model 'lost' with hash"),
        (
            {"weights_hash": "0" * 16},
            "bad.sqc: needs model 'tiny' with hash 0000000000000000, and no model of that hash is registered",
        ),
        ({"sample_rate": 24000, "num_samples": 100}, "are not those of the model"),
        ({"levels": None}, "are not those of the model"),
        ({"num_samples": 2**60}, "damaged: 53 tokens give at most 3392 samples"),
    ],
)
def test_code_files_of_another_model_or_forged_are_refused(changes, message, tmp_path, capsys):
    audio.save("in.wav", speech(0.2), 16000)
    assert encode("in.wav") == 0
    rewritten(changes)
    assert decode("bad.sqc", "bad.wav") == 1
    assert message in failure(capsys)
    assert names(tmp_path) == ["bad.sqc", "in.sqc", "in.wav"]


def test_allow_mismatch(capsys):
    audio.save("in.wav", speech(0.2), 16000)
    assert encode("in.wav") == 0
    assert decode("in.sqc", "out.wav", "--model", "other") == 1
    assert "made by model 'tiny'" in failure(capsys)
    assert decode("in.sqc", "out.wav", "--model", "other", "--allow-mismatch") == 0
    assert audio.info("out.wav").num_samples == 3200


def test_damaged_code_files_are_refused(tmp_path, capsys):
    audio.save("in.wav", speech(0.2), 16000)
    assert encode("in.wav") == 0
    good = Path("in.sqc").read_bytes()
    for data in [b"", good[:20], good[:-1], good + b"\0", good[:-9] + b"\xff" + good[-8:], b"RIFF" + good]:
        Path("bad.sqc").write_bytes(data)
        assert decode("bad.sqc", "bad.wav") == 1
        assert "bad.sqc: " in failure(capsys)
        assert cli.main(["info", "bad.sqc"]) == 1
        assert "bad.sqc: " in failure(capsys)
    assert decode("in.wav", "bad.wav") == 2
    assert "did you mean 'sqcodec encode in.wav'?" in failure(capsys)
    assert names(tmp_path) == ["bad.sqc", "in.sqc", "in.wav"]

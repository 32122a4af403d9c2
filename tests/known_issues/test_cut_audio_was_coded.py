"""A wav, aiff, au, w64 or Ogg file that was cut to half its size was coded without a word."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_helpers import encode, failure

from sqcodec import audio, cli
from sqcodec.data.cache import build_cache
from sqcodec.data.manifest import read_manifest

SILENT_ABOUT_THEIR_LENGTH = {"IRCAM", "PAF", "PVF", "XI"}
"""Their headers do not say how long they are."""


def noise(num_samples: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, (num_samples, channels)).astype(np.float32)


def whole_files(channels: int) -> dict[str, bytes]:
    """A file of every format that libsndfile writes and reads again."""
    files = {}
    for name in soundfile.available_formats():
        for endian in ("LITTLE", "BIG"):
            buffer = io.BytesIO()
            try:
                subtype = soundfile.default_subtype(name) or "PCM_16"
                soundfile.write(buffer, noise(24000, channels), 16000, subtype, endian, name)
                soundfile.read(io.BytesIO(buffer.getvalue()))
            except (soundfile.SoundFileError, ValueError, TypeError):
                continue
            files[f"{name}-{endian}"] = buffer.getvalue()
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(24000, channels), 16000, "OPUS", format="OGG")
    return files | {"OPUS": buffer.getvalue()}


@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_cut_anywhere_is_refused_and_whole_is_not(tmp_path, channels, monkeypatch):
    monkeypatch.chdir(tmp_path)  # libsndfile leaves a file "._" for the format SD2
    files = whole_files(channels)
    assert len({name.split("-")[0] for name in files}) >= 15
    path = tmp_path / "a.audio"
    for name, data in files.items():
        path.write_bytes(data)
        audio.load(path)
        if name.split("-")[0] in SILENT_ABOUT_THEIR_LENGTH:
            continue
        for share in (0.1, 0.3, 0.5, 0.77, 0.96, 0.998):
            path.write_bytes(data[: int(share * len(data))])
            with pytest.raises(audio.AudioError, match=r"a\.audio"):
                audio.load(path)
                pytest.fail(f"{name} cut to {share} was read")


@pytest.mark.parametrize("size", [0, 2**32 - 1, 2**31 - 1, 2**31, 0x7FFFF000])
def test_a_wav_from_a_pipe_does_not_know_its_length(tmp_path, size):
    soundfile.write(tmp_path / "a.wav", noise(1000), 16000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[40:44] = struct.pack("<I", size)
    (tmp_path / "a.wav").write_bytes(data)
    if size:  # libsndfile takes 0 at its word
        assert audio.load(tmp_path / "a.wav")[0].shape == (1, 1000)


def test_a_hole_between_pages_of_ogg(tmp_path):
    soundfile.write(tmp_path / "a.ogg", noise(80000), 16000)
    data = (tmp_path / "a.ogg").read_bytes()
    pages = [place for place in range(len(data)) if data.startswith(b"OggS", place)]
    assert len(pages) > 4
    (tmp_path / "a.ogg").write_bytes(data[: pages[3]] + data[pages[4] :])
    with pytest.raises(audio.CutAudioError, match="pages before byte"):
        audio.load(tmp_path / "a.ogg")


def test_what_is_there_can_be_had(tmp_path, caplog):
    soundfile.write(tmp_path / "a.wav", noise(1000), 16000)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:1044])
    assert audio.load(tmp_path / "a.wav", allow_cut=True)[0].shape == (1, 500)
    assert "1000 of 2000 bytes of samples are there" in caplog.text


def test_encode_refuses_and_says_how_to_go_on(workplace, capsys):
    for name in ("whole.wav", "cut.wav", "gone.ogg"):
        soundfile.write(name, noise(80000 if name == "gone.ogg" else 16000), 16000)
    for name in ("cut.wav", "gone.ogg"):
        data = Path(name).read_bytes()
        Path(name).write_bytes(data[: int(0.7 * len(data))])
    assert encode("cut.wav") == 1
    errors = failure(capsys)
    assert "cut.wav: cut off or damaged: 22" in errors and "--allow-cut codes what is there" in errors
    assert encode("whole.wav", "cut.wav", "gone.ogg") == 1
    assert failure(capsys).count("--allow-cut") == 2 and Path("whole.sqc").exists() and not Path("cut.sqc").exists()
    assert encode("cut.wav", "--allow-cut") == 0
    assert encode("gone.ogg", "x.sqc", "--allow-cut") == 0


def test_prepare_and_tokens_list_them_and_leave_them_out(workplace, capsys):
    Path("in/anna").mkdir(parents=True)
    for name in ("whole", "cut"):
        soundfile.write(f"in/anna/{name}.wav", noise(16000) if name == "cut" else noise(16001), 16000)
    Path("in/anna/cut.wav").write_bytes(Path("in/anna/cut.wav").read_bytes()[:20000])
    assert cli.main(["prepare", "in", "--out", "list.jsonl"]) == 0
    printed = capsys.readouterr()
    assert "1 clips" in printed.out and "1 cut" in printed.out and "cut.wav: cut off or damaged" in printed.err
    assert [json.loads(line)["path"] for line in Path("list.jsonl").read_text().splitlines()] == ["in/anna/whole.wav"]
    arguments = ["--model", "tiny", "--format", "npz", "--engine", "serial"]
    assert cli.main(["tokens", "in", "--out", "tokens", *arguments]) == 0
    assert "1 skipped" in capsys.readouterr().out
    assert "cut off" in Path("tokens/skipped.jsonl").read_text()


def test_training_leaves_it_out(tmp_path, caplog):
    for name, count in (("whole", 16000), ("cut", 24000)):
        soundfile.write(tmp_path / f"{name}.wav", noise(count, 2), 16000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:20000])
    cache = build_cache(read_manifest(tmp_path), tmp_path / "cache", 16000)
    assert len(cache) == 1 and cache.total == 16000
    assert "cut.wav: cut off or damaged" in caplog.text

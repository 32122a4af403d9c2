"""The command line on a tiny random model: the real program as a subprocess, and any kind of audio."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import decode, encode, names, program, speech

import sqcodec
from sqcodec import audio, checkpoint, container

# ---- the program


def test_there_and_back(tmp_path):
    audio.save("in.wav", speech(2.5), 16000)
    done = program("encode", "in.wav", "--model", "tiny")
    assert (done.returncode, done.stderr) == (0, b"")
    line = done.stdout.decode()
    assert line.startswith("in.wav -> in.sqc: 2.50 s, 628 tokens, 2.106 kbit/s nominal,") and "real time" in line
    header, tokens = container.read("in.sqc")
    assert (header.model, header.num_samples, header.num_tokens) == ("tiny", 40000, 628)
    expected = sqcodec.load("tiny").encode(audio.load("in.wav")[0], 16000)
    assert np.array_equal(tokens, expected.numpy())
    done = program("decode", "in.sqc", "out.wav", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    result = json.loads(done.stdout)
    assert (result["tokens"], result["channels"], result["seconds"]) == (628, 1, 2.5)
    assert result["actual_kbps"] == pytest.approx(Path("in.sqc").stat().st_size * 8 / 2.5 / 1000)
    samples, rate = audio.load("out.wav")
    assert rate == 16000 and samples.shape == (1, 40000)
    assert np.abs(samples - np.clip(sqcodec.load("tiny").decode(tokens, 40000).numpy(), -1, 1)).max() < 2**-15


def test_pipes_give_the_same_bytes(tmp_path):
    audio.save("in.wav", speech(1.3, 44100), 44100)
    assert encode("in.wav", "in.sqc") == 0
    assert decode("in.sqc", "out.wav", "--original-rate") == 0
    coded = program("encode", "-", "--model", "tiny", input=Path("in.wav").read_bytes())
    assert coded.returncode == 0 and coded.stdout == Path("in.sqc").read_bytes()
    assert b"- -> -: 1.30 s" in coded.stderr
    back = program("decode", "-", "--original-rate", input=coded.stdout)
    assert back.returncode == 0 and back.stdout == Path("out.wav").read_bytes()
    with open("in.sqc", "rb") as stream:
        assert program("decode", "-", "named.flac", stdin=stream).returncode == 0
    assert audio.info("named.flac").num_samples == round(1.3 * 16000)
    assert b"empty" in (done := program("decode", "-", input=b"")).stderr and done.returncode == 1


def test_folder_run_goes_on_after_a_bad_file(tmp_path):
    for name in ["a.wav", "deep/er/b.flac", "deep/c.ogg"]:
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        audio.save(Path("in", name), speech(0.3), 16000)
    Path("in/deep/bad.wav").write_bytes(b"RIFF????WAVE")
    Path("in/.hidden.wav").write_bytes(b"")
    Path("in/notes.txt").write_text("not audio")
    done = program("encode", "in", "--out", "codes", "--model", "tiny")
    assert done.returncode == 1 and done.stdout.count(b"\n") == 3
    assert b"in/deep/bad.wav: not readable as audio" in done.stderr and b"1 of 4 files failed" in done.stderr
    assert b"Traceback" not in done.stderr
    assert names(Path("codes")) == ["a.sqc", "deep/c.sqc", "deep/er/b.sqc"]
    assert decode("codes", "--out", "wavs", "--format", "flac") == 0
    assert names(Path("wavs")) == ["a.flac", "deep/c.flac", "deep/er/b.flac"]


def test_help_and_version_are_fast():
    start = time.perf_counter()
    assert b"encode" in program("--help").stdout
    assert time.perf_counter() - start < 1.5  # 0.15 s on a free core; importing torch alone takes longer
    assert program("--version").stdout.startswith(b"sqcodec")
    code = (
        "import sys, sqcodec.cli; sqcodec.cli.build_parser();"
        "print({'torch', 'numpy', 'soundfile', 'tqdm'} & set(sys.modules))"
    )
    options = {"capture_output": True, "text": True, "cwd": Path(sqcodec.__file__).parent.parent}
    assert subprocess.run([sys.executable, "-c", code], **options).stdout == "set()\n"
    assert program().returncode == 0 and b"encode" in program().stdout
    assert program("frobnicate").returncode == 2


def test_full_disk_leaves_nothing(tmp_path):
    audio.save("in.wav", speech(8), 16000)
    assert encode("in.wav") == 0
    code = (
        "import resource, sys; from sqcodec import cli;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY));"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(sqcodec.__file__).parent.parent)}
    for verb, *arguments in [("encode", "in.wav", "b.sqc", "--model", "tiny"), ("decode", "in.sqc", "b.wav")]:
        command = [sys.executable, "-c", code, verb, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 1 and "too large" in done.stderr and arguments[1] in done.stderr
        assert "Traceback" not in done.stderr
    assert names(tmp_path) == ["in.sqc", "in.wav"]


def test_termination_leaves_nothing(tmp_path, home):
    hours = 3
    tokens = np.zeros((1, hours * 3600 * 250 + 3), np.int64)
    weights_hash = checkpoint.hash_folder(home / "models" / "tiny")
    header = container.CodeHeader(
        model="tiny",
        weights_hash=weights_hash,
        sample_rate=16000,
        original_sample_rate=16000,
        num_samples=hours * 3600 * 16000,
        num_channels=1,
        num_tokens=tokens.shape[1],
        codebook_size=343,
        levels=(7, 7, 7),
    )
    container.write("long.sqc", header, tokens)
    command = [sys.executable, "-m", "sqcodec", "decode", "long.sqc"]
    environment = {**os.environ, "PYTHONPATH": str(Path(sqcodec.__file__).parent.parent)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        while not list(tmp_path.glob(".*.partial")) and process.poll() is None:
            time.sleep(0.02)
        assert names(tmp_path)[0].endswith(".partial")
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (143, b"")
    assert names(tmp_path) == ["long.sqc"]


# ---- any audio


@pytest.mark.parametrize(
    "rate, channels, seconds, extension, subtype",
    [
        (16000, 1, 1 / 16000, "wav", None),  # one sample
        (96000, 1, 1 / 96000, "wav", None),
        (96000, 2, 0.51, "wav", "PCM_24"),
        (8000, 1, 0.51, "wav", "PCM_U8"),
        (44100, 3, 0.51, "flac", None),
        (22050, 1, 30.0, "ogg", None),  # more than one chunk
        (11025, 6, 0.2, "wav", "FLOAT"),
    ],
)
def test_rate_channels_and_length_come_back(rate, channels, seconds, extension, subtype):
    samples = speech(seconds, rate, channels)
    audio.save(f"in.{extension}", samples, rate, subtype=subtype)
    assert encode(f"in.{extension}", "x.sqc") == 0
    header = container.read("x.sqc")[0]
    assert (header.original_sample_rate, header.num_channels) == (rate, channels)
    assert decode("x.sqc", "model.wav") == 0 and decode("x.sqc", "original.wav", "--original-rate") == 0
    assert audio.info("original.wav").sample_rate == rate and audio.info("model.wav").sample_rate == 16000
    assert audio.load("original.wav")[0].shape == (channels, header.num_samples)
    assert audio.load("model.wav")[0].shape == (channels, header.coded_length)
    assert extension == "ogg" or header.num_samples == samples.shape[1]


def test_each_channel_is_coded_by_itself():
    samples = speech(1.0, channels=2)
    audio.save("both.wav", samples, 16000)
    audio.save("left.wav", samples[:1], 16000)
    audio.save("right.wav", samples[1:], 16000)
    assert encode("both.wav", "left.wav", "right.wav") == 0
    both, left, right = (container.read(f"{name}.sqc")[1] for name in ("both", "left", "right"))
    assert np.array_equal(both, np.concatenate([left, right]))


@pytest.mark.parametrize("samples", [np.zeros(8000), np.sign(speech(0.5)[0]), 3 * speech(0.5)[0]])
def test_silence_and_clipping_work(samples):
    audio.save("in.wav", samples, 16000)
    assert encode("in.wav") == 0 and decode("in.sqc", "out.wav") == 0
    assert audio.info("out.wav").num_samples == len(samples)


def test_subtype_of_the_output():
    audio.save("in.wav", speech(0.2), 16000)
    assert encode("in.wav") == 0
    assert decode("in.sqc", "out.wav", "--subtype", "FLOAT") == 0
    assert audio.info("out.wav").subtype == "FLOAT"

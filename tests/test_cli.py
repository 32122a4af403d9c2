"""The command line on a tiny random model: what it writes, what it says, what it refuses.

The main paths run the real program as a subprocess; the long table of mistakes calls `main` in this process,
which saves the seconds that importing torch takes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import sqcodec
from sqcodec import audio, checkpoint, cli, container
from sqcodec.cli import common
from sqcodec.config import DecoderConfig, EncoderConfig, ModelConfig, QuantizerConfig, TransformerConfig
from sqcodec.nn import build_network

HOP = 64


def tiny_config(name: str) -> ModelConfig:
    return ModelConfig(
        name=name,
        feature_dim=16,
        lookahead=192,
        encoder=EncoderConfig(front="stft", n_fft=256, hop=HOP, dims=(16,), strides=(), depths=(1,)),
        transformer=TransformerConfig(window=8, heads=2, head_dim=8, position="distance_bias"),
        decoder=DecoderConfig(head="istft", n_fft=256, hop=HOP, dims=(16,), strides=(), depths=(1,), gate=False),
        quantizer=QuantizerConfig(levels=(7, 7, 7)),
    )


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """SQCODEC_HOME with two models of one configuration: "tiny" and "other"."""
    folder = tmp_path_factory.mktemp("home")
    for seed, name in enumerate(["tiny", "other"]):
        torch.manual_seed(seed)
        config = tiny_config(name)
        checkpoint.save_model(folder / "models" / name, config, build_network(config).state_dict())
    return folder


@pytest.fixture(autouse=True)
def environment(home, tmp_path, monkeypatch):
    monkeypatch.setenv("SQCODEC_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    terminate = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, terminate)


def program(*arguments: object, **options) -> subprocess.CompletedProcess:
    """The real program."""
    command = [sys.executable, "-m", "sqcodec", *map(str, arguments)]
    path = f"{Path(sqcodec.__file__).parent.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, env=environment, timeout=120, **options)


def encode(*arguments: object) -> int:
    return cli.main(["encode", *map(str, arguments), "--model", "tiny"])


def decode(*arguments: object) -> int:
    return cli.main(["decode", *map(str, arguments)])


def speech(seconds: float, rate: int = 16000, channels: int = 1) -> np.ndarray:
    """[C, T]: something with the envelope of syllables, different in each channel."""
    time_axis = np.arange(max(round(seconds * rate), 1)) / rate
    phase = 2 * np.pi * (150 + 30 * np.sin(5 * time_axis)) * time_axis + np.arange(channels)[:, None]
    return (0.3 * np.sin(phase) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time_axis))).astype(np.float32)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


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
    assert program().returncode == 2 and program("frobnicate").returncode == 2


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
    weights_hash = checkpoint.hash_weights(home / "models" / "tiny")
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
        while not list(tmp_path.glob(".*.part")) and process.poll() is None:
            time.sleep(0.02)
        assert names(tmp_path)[0].endswith(".part")
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


# ---- mistakes


def failure(capsys, status: int = 1) -> str:
    """stderr of the run before: its lines, none a traceback."""
    errors = capsys.readouterr().err
    assert errors and "Traceback" not in errors
    return errors


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
        (["done.sqc", "-o", "x.sqc"], 1, "done.sqc: not readable as audio"),
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
    assert encode("in.sqc", "in.sqc", "--force") == 1
    assert "input and output are the same file" in failure(capsys)


def rewritten(changes: dict, tokens: np.ndarray | None = None) -> None:
    """bad.sqc: in.sqc with a changed header, checksums right."""
    header, old = container.read("in.sqc")
    tokens = old if tokens is None else tokens
    container.write("bad.sqc", replace(header, **changes), tokens)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": "lost"}, "needs model 'lost' with weights"),
        (
            {"weights_hash": "0" * 16},
            "bad.sqc: made by model 'tiny' with weights 0000000000000000; the model 'tiny'",
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
    assert decode("in.wav", "bad.wav") == 1
    assert "in.wav: not a code file" in failure(capsys)
    assert names(tmp_path) == ["bad.sqc", "in.sqc", "in.wav"]


# ---- info, models, import


def test_info(home, capsys):
    audio.save("in.flac", speech(0.2, 44100, 2), 44100)
    assert encode("in.flac") == 0
    capsys.readouterr()
    assert cli.main(["info", "in.sqc", "in.flac", "tiny", str(home / "models" / "tiny"), "--json"]) == 0
    code, sound, model, folder = map(json.loads, capsys.readouterr().out.splitlines())
    assert (code["model"], code["channels"], code["original_sample_rate"], code["samples"]) == (
        "tiny",
        2,
        44100,
        8820,
    )
    assert (sound["format"], sound["channels"], sound["samples"]) == ("FLAC", 2, 8820)
    assert model["weights_hash"].startswith(code["weights_hash"]) and model["hop_length"] == HOP
    assert model == folder
    assert cli.main(["info", "in.sqc", "nothing"]) == 1
    out, errors = capsys.readouterr()
    assert "levels: 7 7 7" in out and "Unknown model 'nothing'" in errors


def test_models(capsys):
    assert cli.main(["models"]) == 0
    table = capsys.readouterr().out
    assert "kbit/s" in table and "tiny" in table and "2.106" in table
    assert cli.main(["models", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"tiny", "other"} <= {row["name"] for row in rows}


def test_import_stores_a_model_under_its_new_name(tmp_path, monkeypatch, capsys):
    from sqcodec import compat

    config = tiny_config("theirs")
    network = build_network(config)
    monkeypatch.setenv("SQCODEC_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(compat, "load_published", lambda source, path: (config, network.state_dict()))
    assert cli.main(["import", "downloads", "--as", "mine"]) == 0
    assert "mine: " in capsys.readouterr().out
    assert sqcodec.load("mine").name == "mine"
    audio.save("in.wav", speech(0.2), 16000)
    assert cli.main(["encode", "in.wav", "--model", "mine"]) == 0 and decode("in.sqc", "out.wav") == 0
    assert cli.main(["import", "downloads", "--as", "mine"]) == 1
    assert "--force replaces it" in failure(capsys)
    assert cli.main(["import", "downloads", "--as", "../mine"]) == 2
    assert "use letters" in failure(capsys)


def test_import_of_what_is_not_there(capsys):
    assert cli.main(["import", "nowhere", "--as", "mine"]) == 1
    assert "nowhere" in failure(capsys)
    assert cli.main(["import", "hub:no-such-model", "--as", "mine"]) == 1
    assert "no-such-model" in failure(capsys)


def test_default_model_is_the_registry_s():
    from sqcodec import registry

    assert common.DEFAULT_MODEL == registry.DEFAULT_MODEL

"""`sqcodec entropy`: a predictor from a folder of audio, measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_helpers import failure, speech

import sqcodec
from sqcodec import cli, container
from sqcodec.entropy import Predictor
from sqcodec.entropy.train import coded_bits


@pytest.fixture
def corpus(tmp_path):
    for index in range(4):
        (tmp_path / "corpus" / f"s{index}").mkdir(parents=True)
        soundfile.write(tmp_path / "corpus" / f"s{index}" / "a.wav", speech(6 + index)[0], 16000)
    return tmp_path / "corpus"


def test_a_predictor_is_trained_and_saves_bits(corpus, home, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("SQCODEC_HOME", str(home))
    out = tmp_path / "entropy.safetensors"
    arguments = ["entropy", "train", "tiny", "--data", str(corpus), "--out", str(out), "--hold-out", "s1"]
    assert cli.main([*arguments, "--steps", "12", "--units", "16"]) == 0
    assert "saved" in capsys.readouterr().out
    predictor = Predictor.load(out)
    assert predictor.alphabet_sizes == (7, 7, 7) and predictor.num_units == 16
    assert cli.main(["entropy", "measure", "tiny", "--data", str(corpus), "--predictor", str(out), "--json"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    silence = sqcodec.load("tiny").encode(np.zeros(48000, np.float32)).numpy()
    spent, tokens = coded_bits(predictor, [*silence])
    assert spent / tokens < 0.8 * line["coded_bits"]
    assert 0 < line["coded_bits"] < line["bits"] and line["saving"] > 0.05
    assert cli.main(arguments) == 1
    assert "--force" in failure(capsys)
    assert cli.main([*arguments[:-1], "nobody", "--force"]) == 1
    assert "nobody" in failure(capsys)


def test_one_predictor_serves_every_rate_of_a_model(corpus, nested_home, tmp_path, capsys, monkeypatch) -> None:
    models = tmp_path / "home" / "models"
    shutil.copytree(nested_home / "models", models)
    monkeypatch.setenv("SQCODEC_HOME", str(tmp_path / "home"))
    coarse = ["tokens", str(corpus), "--out", str(tmp_path / "coarse"), "--model", "nested"]
    assert cli.main([*coarse, "--format", "npz", "--engine", "serial"]) == 0
    train = ["entropy", "train", "nested", "--steps", "12", "--units", "16", "--data"]
    assert cli.main([*train, str(tmp_path / "coarse")]) == 1
    assert "needed are 65536: sqcodec tokens --bits 16" in failure(capsys)
    assert cli.main([*train, str(corpus)]) == 0
    capsys.readouterr()
    assert cli.main(["entropy", "measure", "nested", "--data", str(corpus), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [line["bits"] for line in lines] == [6, 9, 12, 16] and all(line["saving"] > 0.02 for line in lines)
    source = str(corpus / "s1" / "a.wav")
    for bits in ("16", "9"):
        out = str(tmp_path / f"{bits}.sqc")
        assert cli.main(["encode", source, out, "--model", "nested", "--compact", "--bits", bits]) == 0
    assert cli.main(["cut", str(tmp_path / "16.sqc"), str(tmp_path / "cut.sqc"), "--bits", "9"]) == 0
    data = (tmp_path / "9.sqc").read_bytes()
    assert (tmp_path / "cut.sqc").read_bytes() == data and data[5] == container.PAYLOAD_ENTROPY


def test_a_model_without_predictor_says_how_to_get_one(corpus, home, capsys, monkeypatch) -> None:
    monkeypatch.setenv("SQCODEC_HOME", str(home))
    assert cli.main(["entropy", "measure", "tiny", "--data", str(corpus)]) == 1
    assert "sqcodec entropy train tiny" in failure(capsys)


def test_compact_files_decode_to_the_same_audio(corpus, home, tmp_path, capsys, monkeypatch) -> None:
    models = tmp_path / "home" / "models"
    models.mkdir(parents=True)
    shutil.copytree(home / "models" / "tiny", models / "tiny")
    monkeypatch.setenv("SQCODEC_HOME", str(tmp_path / "home"))
    source, fixed, compact = str(corpus / "s1" / "a.wav"), str(tmp_path / "fixed.sqc"), str(tmp_path / "compact.sqc")
    assert cli.main(["encode", source, compact, "--model", "tiny", "--compact"]) == 1
    assert "sqcodec entropy train tiny" in failure(capsys)
    assert cli.main(["entropy", "train", "tiny", "--data", str(corpus), "--steps", "12", "--units", "16"]) == 0
    assert cli.main(["encode", source, fixed, "--model", "tiny"]) == 0
    assert cli.main(["encode", source, compact, "--model", "tiny", "--compact"]) == 0
    assert cli.main(["encode", str(corpus), "--out", str(tmp_path / "many"), "--model", "tiny", "--compact"]) == 0
    assert (tmp_path / "many" / "s1" / "a.sqc").read_bytes() == Path(compact).read_bytes()
    assert Path(compact).stat().st_size < 0.95 * Path(fixed).stat().st_size
    capsys.readouterr()
    assert cli.main(["info", compact, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["payload"] == "compact" and values["actual_kbps"] < values["fixed_rate_kbps"]
    assert values["fixed_rate_kbps"] == pytest.approx(Path(fixed).stat().st_size * 8 / values["seconds"] / 1000)
    assert cli.main(["info", fixed, compact]) == 0
    plain, small = (about.splitlines() for about in capsys.readouterr().out.strip().split("\n\n"))
    assert plain[:4] == [f"file: {fixed}", *small[1:4]] and plain[4] == "payload: fixed rate" and plain[5] == small[5]
    assert small[4] == "payload: compact, entropy coded with the model's predictor"
    size = Path(compact).stat().st_size
    assert small[6].startswith(f"rate as stored: {values['actual_kbps']:.3f} kbit/s, {size} bytes (")
    assert plain[6].endswith(f"{values['fixed_rate_kbps']:.3f} kbit/s, {Path(fixed).stat().st_size} bytes")
    assert plain[7] == small[7] == "rates of the model: one"
    assert cli.main(["decode", fixed, str(tmp_path / "a.wav")]) == 0
    assert cli.main(["decode", compact, str(tmp_path / "b.wav")]) == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert cli.main(["import", str(models / "tiny"), "--as", "again"]) == 0
    again, copy = models / "again" / "entropy.safetensors", tmp_path / "copy"
    sqcodec.load("again").save_pretrained(copy)
    assert (copy / "entropy.safetensors").read_bytes() == again.read_bytes()
    for place in (models / "tiny", models / "again"):
        (place / "entropy.safetensors").unlink()
    assert cli.main(["decode", compact, str(tmp_path / "c.wav")]) == 1
    assert "predictor" in failure(capsys)

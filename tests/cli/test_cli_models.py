"""info, models and import."""

from __future__ import annotations

import json

from cli_helpers import HOP, decode, encode, failure, speech, tiny_config

import sqcodec
from sqcodec import audio, cli
from sqcodec.cli import options
from sqcodec.nn import build_network


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
    assert cli.main(["info", "none.sqc"]) == 1
    assert "none.sqc: No such file" in failure(capsys)
    assert cli.main(["info", "in.sqc", "nothing"]) == 1
    out, errors = capsys.readouterr()
    assert "levels 7 7 7" in out and "audio: 0.20 s, 2 channels, 44100 Hz, coded at 16000 Hz" in out
    assert "file: in.sqc" in out and "Unknown model 'nothing'" in errors


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

    assert options.DEFAULT_MODEL == registry.DEFAULT_MODEL

"""A run is registered under a name; what it coded is decoded by that name, or by its hash, and never by a path."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import sqcodec
from sqcodec import audio, cli, container
from sqcodec.checkpoint import save_model
from sqcodec.config import ModelConfig
from sqcodec.nn import build_network


@pytest.fixture
def run(tiny_config: ModelConfig, tmp_path: Path, monkeypatch) -> Path:
    """A run folder whose model is called "speech", and in.wav."""
    monkeypatch.setenv("SQCODEC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(tiny_config, name="speech")
    save_model("runs/mine/model", config, build_network(config).state_dict(), {"step": "7"})
    Path("runs/mine/discriminator").mkdir()
    Path("runs/mine/discriminator/config.toml").write_text("")
    audio.save("in.wav", 0.1 * np.sin(np.arange(3200)), 16000)
    return Path("runs/mine")


def test_a_run_is_registered_under_a_name(run: Path, capsys) -> None:
    assert cli.main(["encode", "in.wav", "before.sqc", "--model", str(run)]) == 0
    assert cli.main(["decode", "before.sqc", "out.wav"]) == 1
    message = capsys.readouterr().err
    assert "before.sqc: needs model 'speech' with hash" in message and "sqcodec import FOLDER --as NAME" in message
    assert message.count("\n") == 1

    assert cli.main(["import", str(run), "--as", "mine"]) == 0
    mine, own = sqcodec.load("mine"), sqcodec.load(run)
    assert (mine.name, mine.weights_hash) == ("mine", own.weights_hash)
    assert (Path("home/models/mine") / "discriminator" / "config.toml").is_file()
    assert cli.main(["decode", "before.sqc", "out.wav"]) == 0  # found by its hash
    assert cli.main(["encode", "in.wav", "after.sqc", "--model", "mine"]) == 0
    assert container.read("after.sqc")[0].model == "mine"
    assert cli.main(["decode", "after.sqc", "out2.wav"]) == 0
    assert cli.main(["import", str(run / "model"), "--as", "mine"]) == 1  # a model folder, too, but not over another
    assert cli.main(["import", str(run / "model"), "--as", "mine", "--force"]) == 0
    assert [path.name for path in Path("home/models").iterdir()] == ["mine"]


def test_a_model_called_the_same_is_not_the_same(run: Path, tiny_config: ModelConfig, capsys) -> None:
    """Another "speech" is registered; the right model is found by its hash."""
    torch.manual_seed(1)
    save_model("home/models/speech", tiny_config, build_network(tiny_config).state_dict())
    assert cli.main(["encode", "in.wav", "--model", str(run)]) == 0
    assert cli.main(["decode", "in.sqc", "out.wav"]) == 1
    assert "no model of that hash is registered" in capsys.readouterr().err
    assert cli.main(["import", str(run), "--as", "mine"]) == 0
    assert cli.main(["decode", "in.sqc", "out.wav"]) == 0


@pytest.mark.parametrize("name", ["runs/mine", "./runs/mine", "mine", "../mine", "..", "."])
def test_a_code_file_chooses_no_folder(run: Path, name: str, capsys) -> None:
    """The header's name is that of a registered model, whatever folders there are."""
    if name == "mine":
        Path("mine").symlink_to(run)
    assert cli.main(["encode", "in.wav", "--model", str(run)]) == 0
    header, tokens = container.read("in.sqc")
    container.write("in.sqc", dataclasses.replace(header, model=name), tokens)
    assert cli.main(["decode", "in.sqc", "out.wav"]) == 1
    assert f"needs model {name!r}" in capsys.readouterr().err and not Path("out.wav").exists()

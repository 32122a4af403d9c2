"""A damaged training state is always noticed; the one before it goes on; where there is none, one line says so."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch
from test_training_kill import assert_equal
from test_training_modes import recipe, rows, train

from sqcodec.checkpoint import load_model
from sqcodec.runs import read_state, write_state
from sqcodec.training.loop import Trainer


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path: Path) -> None:
    path, moments = tmp_path / "state.pt", random.Random(0)
    state = {"step": 3, "name": "x", "network": {"weight": torch.randn(400), "codes": torch.arange(50)}, "eta": 1.5}
    write_state(path, state)
    assert_equal(read_state(path), state)
    whole, noticed, flips = path.read_bytes(), 0, 600
    for _ in range(flips):
        damaged = bytearray(whole)
        damaged[moments.randrange(len(whole))] ^= 1 << moments.randrange(8)
        path.write_bytes(damaged)
        try:
            found = read_state(path)
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            noticed += 1
        else:
            assert_equal(found, state)  # in the padding, or in a date
    assert noticed > flips / 2
    for _ in range(30):
        path.write_bytes(whole[: moments.randrange(len(whole))])
        with pytest.raises(ValueError, match="is damaged"):
            read_state(path)


def flip(path: Path) -> None:
    """One bit, in the middle of the file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def test_the_state_before_the_damaged_one_goes_on(tiny_config, tmp_path: Path, caplog) -> None:
    run, settings = tmp_path / "run", recipe(tiny_config, steps=4, save_every=2)
    train(settings, run, tmp_path / "cache")
    expected, lines = read_state(run / "state.pt"), rows(run)
    weights = load_model(run / "model")[1]
    flip(run / "state.pt")
    again = train(settings, run, tmp_path / "cache")
    assert "going on from the state before it, of step 2" in caplog.text and again.step == 4
    assert_equal(read_state(run / "state.pt")["network"], expected["network"])
    assert all(torch.equal(weights[name], tensor) for name, tensor in load_model(run / "model")[1].items())
    clock = "speed"
    assert [row | {clock: 0} for row in rows(run)] == [row | {clock: 0} for row in lines]
    # The damaged one never took the place of a whole one, and a run that lacks the newest goes on too.
    assert read_state(run / "state.previous.pt")["step"] == 2
    (run / "state.pt").unlink()
    assert Trainer(settings, run, tmp_path / "cache").resume()


def test_no_whole_state_is_one_line(tiny_config, tmp_path: Path) -> None:
    run, settings = tmp_path / "run", recipe(tiny_config, steps=2)
    train(settings, run, tmp_path / "cache")
    shutil.copy(run / "state.pt", tmp_path / "kept.pt")
    flip(run / "state.pt")
    (run / "state.previous.pt").write_bytes(b"")
    trainer = Trainer(settings, run, tmp_path / "cache")
    with pytest.raises(ValueError, match=r"state\.pt' is damaged.*no whole state before it.*another folder or remove"):
        trainer.resume()
    shutil.copy(tmp_path / "kept.pt", run / "state.pt")
    assert trainer.resume() and trainer.step == 2

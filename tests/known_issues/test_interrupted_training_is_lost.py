"""Ctrl-C and SIGTERM while training: the step is finished, state and model saved, and the run goes on from there."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from test_training_modes import recipe, rows, train

from sqcodec.checkpoint import load_model
from sqcodec.runs import read_state
from sqcodec.training.loop import Trainer

ENDS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: SystemExit}


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_loses_no_step(tiny_config, tmp_path: Path, caplog, number: int) -> None:
    settings = recipe(tiny_config, steps=6, save_every=100, log_every=2)
    whole = train(settings, tmp_path / "whole", tmp_path / "cache")
    trainer = Trainer(settings, tmp_path / "parts", tmp_path / "cache")
    batch, before = trainer.batches.get, signal.getsignal(number)

    def get(step: int) -> torch.Tensor:
        if step == 2:
            os.kill(os.getpid(), number)
        return batch(step)

    trainer.batches.get = get  # type: ignore[method-assign]
    with pytest.raises(ENDS[number]):
        trainer.run()
    assert "once more: at once" in caplog.text
    assert "stopped at step 3 of 6" in caplog.text and "is that of step 3" in caplog.text
    assert signal.getsignal(number) is before
    assert read_state(tmp_path / "parts" / "state.pt")["step"] == 3
    assert load_model(tmp_path / "parts" / "model")[2]["step"] == "3"
    parts = train(settings, tmp_path / "parts", tmp_path / "cache")
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, parts.network.state_dict()[name]), name
    assert [row["mel"] for row in rows(tmp_path / "parts")] == [row["mel"] for row in rows(tmp_path / "whole")]


def test_a_second_signal_and_one_with_nothing_to_save_end_at_once(tiny_config, tmp_path: Path) -> None:
    trainer = Trainer(recipe(tiny_config, save_every=100), tmp_path / "run", tmp_path / "cache")
    batch, asked = trainer.batches.get, []

    def get(step: int) -> torch.Tensor:
        if step >= len(asked):
            asked.append(step)
            os.kill(os.getpid(), signal.SIGINT)
            if step == 1:
                os.kill(os.getpid(), signal.SIGINT)
        return batch(step)

    trainer.batches.get = get  # type: ignore[method-assign]
    for steps in ([0], [0, 1]):
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
        assert asked == steps and read_state(tmp_path / "run" / "state.pt")["step"] == 0

"""Training to a time budget ends annealed and on time, in one command, also when it is taken up again."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from test_training_modes import DATA, recipe

from sqcodec.checkpoint import load_model
from sqcodec.cli import main
from sqcodec.runs import load_state
from sqcodec.training.loop import Trainer
from sqcodec.training.recipe import load_recipe
from sqcodec.training.recipes import find_recipe

TINY = (
    "model.feature_dim=16", "model.encoder.dim=16", "model.encoder.depth=1", "model.decoder.dim=16",
    "model.decoder.depth=1", "model.transformer.heads=2", "model.transformer.decoder_depth=1", "data.workers=0",
    "data.batch_size=2", "data.segment_seconds=0.4", "data.split=", "data.validation_speakers=[]",
    "train.compile=false", "train.log_every=1", "train.save_every=1000000", "train.warmup_steps=1",
    "adversarial.period_channels=[4,4]", "adversarial.periods=[2]", "adversarial.fft_sizes=[256]",
    "adversarial.stft_channels=2", "adversarial.crop_batch=1",
    "adversarial.crop_seconds=0.3",
)  # fmt: skip


@pytest.mark.parametrize("name", ["speech_3k_gpu", "speech_1k_gpu"])
def test_one_command_ends_annealed(name: str, tmp_path) -> None:
    run = tmp_path / "run"
    command = ["train", name, "--data", str(DATA), "--out", str(run), "--minutes", "0.1"]
    assert main([*command, *(part for setting in TINY for part in ("--set", setting))]) == 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = [row["learning_rate"] for row in rows]
    highest = load_recipe(find_recipe(name)).train.learning_rate
    assert rates == sorted(rates, reverse=True) and rates[0] == pytest.approx(highest) and rates[-1] < 0.5 * highest
    heard = ["adversarial" in row for row in rows]
    assert not heard[0] and heard[-1]
    config, _, about = load_model(run / "model")
    assert about["step"] == about["steps"] == str(len(rows)) and config.conceals
    state = load_state(run)
    assert state is not None and 6 <= state["seconds"] < 30


def test_the_budget_counts_what_was_trained_before(tiny_config, tmp_path, monkeypatch) -> None:
    """A clock of one second a step: 6 s are six steps, of which an interrupted run has made two."""
    clock = iter(range(10_000))
    monkeypatch.setattr("sqcodec.training.loop.time", SimpleNamespace(monotonic=lambda: next(clock)))
    settings = recipe(tiny_config, steps=100, decay_steps=50, warmup_steps=0, log_every=1)
    settings = dataclasses.replace(settings, train=dataclasses.replace(settings.train, minutes=0.1))
    trainer = Trainer(settings, tmp_path / "run", tmp_path / "cache")
    batch = trainer.batches.get
    trainer.batches.get = lambda step: batch(step) if step < 3 else stop(trainer)  # type: ignore
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    trainer = Trainer(settings, tmp_path / "run", tmp_path / "cache")
    assert trainer.resume() and trainer.spent == trainer.step > 0
    trainer.run()
    assert trainer.step == 6 and trainer.done and trainer.planned == 6
    again = Trainer(settings, tmp_path / "run", tmp_path / "cache")
    assert again.resume() and again.done
    longer = dataclasses.replace(settings, train=dataclasses.replace(settings.train, minutes=0.2))
    assert not Trainer(longer, tmp_path / "run", tmp_path / "cache").done


def stop(trainer: Trainer) -> torch.Tensor:
    trainer.save()
    raise KeyboardInterrupt

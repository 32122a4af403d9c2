"""A run that is killed again and again, at random moments, ends where an uninterrupted one ends, bit for bit."""

from __future__ import annotations

import dataclasses
import multiprocessing
import random
import time
from pathlib import Path

import pytest
import torch
from test_training_modes import recipe, train, vp_config

from sqcodec.training.recipe import AdversarialRecipe, Recipe

STEPS, KILLS = 8, 5
SMALL = AdversarialRecipe(
    weight=0.5, feature_matching=0.5, alone_steps=2, ramp_steps=4, crop_seconds=0.1, periods=[2], period_channels=[4],
    fft_sizes=[128], stft_channels=4,
)  # fmt: skip


def run(recipe: Recipe, folder: Path, cache: Path) -> None:
    torch.set_num_threads(1)
    train(recipe, folder, cache)


@pytest.mark.parametrize("kind", ["fsp-gan", "vp"])
def test_killed_many_times_at_random_moments(tiny_config, tmp_path, kind: str) -> None:
    settings = (
        dataclasses.replace(recipe(tiny_config, steps=STEPS), adversarial=SMALL)
        if kind == "fsp-gan"
        else recipe(vp_config(tiny_config), steps=STEPS)
    )
    context = multiprocessing.get_context("fork")  # a new interpreter for each would take minutes

    def start(folder: str) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=run, args=(settings, tmp_path / folder, tmp_path / "cache"))
        process.start()
        return process

    began = time.monotonic()
    whole = start("whole")
    whole.join()
    took = time.monotonic() - began
    moments, killed = random.Random(7), 0
    for _ in range(KILLS):
        process = start("killed")
        process.join(moments.uniform(0.15, 0.6) * took)
        killed += process.is_alive()
        process.kill()
        process.join()
    last = start("killed")
    last.join()
    assert whole.exitcode == last.exitcode == 0 and killed >= 2
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "killed")]
    assert_equal(*states)


def assert_equal(first: object, second: object, where: str = "state") -> None:
    """Equal through all containers, tensors bit for bit."""
    if isinstance(first, dict) and isinstance(second, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        assert len(first) == len(second), where
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_equal(a, b, f"{where}[{number}]")
    elif isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        assert torch.equal(first, second), where
    else:
        assert first == second, where

"""Processes that prepare batches change nothing, also where a run is resumed: they take none of the step's numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from test_training_modes import recipe, train

from sqcodec.data.loader import Batches
from sqcodec.training.recipe import Recipe


def test_starting_the_workers_draws_no_random_numbers() -> None:
    class Sampler:
        def batch(self, step: int, rank: int, size: int):
            return torch.full((1, 2), float(step)).numpy()

    batches = Batches(Sampler(), workers=1)  # type: ignore[arg-type]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert batches.get(3)[0, 0] == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_a_resumed_run_with_workers_is_that_without(tiny_config, tmp_path: Path) -> None:
    def with_workers(settings: Recipe) -> Recipe:
        return dataclasses.replace(settings, data=dataclasses.replace(settings.data, workers=1))

    whole = train(recipe(tiny_config, steps=4), tmp_path / "whole", tmp_path / "cache")
    train(with_workers(recipe(tiny_config, steps=2)), tmp_path / "parts", tmp_path / "cache")
    parts = train(with_workers(recipe(tiny_config, steps=4)), tmp_path / "parts", tmp_path / "cache")
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, parts.network.state_dict()[name]), name

"""Calibration of vector perturbation: by its seed alone; the global random state stays as it was, on any device."""

from __future__ import annotations

import pytest
import torch

from sqcodec.quantizers import PerturbationOptions, VectorPerturbation
from sqcodec.training.vp import calibrate


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_calibration_leaves_the_global_random_state(device: str) -> None:
    def state() -> torch.Tensor:
        return torch.cuda.get_rng_state() if device == "cuda" else torch.get_rng_state()

    perturbation = VectorPerturbation(3, 64, PerturbationOptions(neighbours_per_code=8))
    latents = torch.randn(1, 600, 3, generator=torch.Generator().manual_seed(0)).to(device)
    perturbation(latents)
    assert perturbation.full
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = state()
        found.append(calibrate(perturbation, seed=9))
        assert torch.equal(state(), before)
    assert found[0] == pytest.approx(found[1], abs=0 if device == "cpu" else 1e-3)


def test_several_processes_calibrate_as_one_does(monkeypatch) -> None:
    """Every process holds the whole queue: nothing is to be gathered, nor counted once a process."""
    from sqcodec import distributed

    def nobody(*_: object) -> None:
        raise AssertionError("waits for other processes")

    for name in ("all_reduce", "all_gather"):
        monkeypatch.setattr(torch.distributed, name, nobody)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, source: tensor)
    perturbation = VectorPerturbation(3, 64, PerturbationOptions(neighbours_per_code=8))
    perturbation(torch.randn(1, 600, 3, generator=torch.Generator().manual_seed(0)))
    alone = calibrate(perturbation, seed=9)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert distributed.world() == (1, 2)
    assert calibrate(perturbation, seed=9) == alone

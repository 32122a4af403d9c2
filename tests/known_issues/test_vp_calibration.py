"""Vector perturbation was calibrated on the mean of all moves, rejected ones as zero: eta ran to its bound, and most
moves were rejected. It was also calibrated on the very latents that its codebook was fitted to.

Letters: D dimensions, K codes.
"""

from __future__ import annotations

import pytest
import torch

from sqcodec.quantizers import PerturbationOptions, VectorPerturbation
from sqcodec.quantizers.neighbours import neighbour_distances
from sqcodec.training.vp import calibrate, quick_codes


@pytest.mark.parametrize(
    ("dim", "size", "per_code"), [(3, 256, 0), (5, 1024, 0), (8, 1024, 0), (6, 4096, 16), (5, 16384, 4)]
)
def test_accepted_moves_are_as_long_as_the_quantisation_error(dim: int, size: int, per_code: int) -> None:
    perturbation = VectorPerturbation(dim, size, PerturbationOptions(neighbours_per_code=per_code))
    generator = torch.Generator().manual_seed(2)
    perturbation.queue = torch.randn(perturbation.queue.shape, generator=generator)
    perturbation.filled = len(perturbation.queue)
    eta = calibrate(perturbation, seed=0)
    fresh = torch.randn(8, 500, dim, generator=generator)
    torch.manual_seed(0)
    _, metrics = perturbation(fresh)
    codes, _ = quick_codes(perturbation, seed=1)
    error = float(neighbour_distances(fresh.flatten(0, 1), codes, (1,)).mean())
    assert 0.9 < eta < 1.5
    assert metrics["acceptance"] > 0.28
    assert metrics["perturbation"] == pytest.approx(error, rel=0.05)


def test_the_sample_of_the_calibration_is_held_out_of_the_codebook() -> None:
    perturbation = VectorPerturbation(2, 64, PerturbationOptions(neighbours_per_code=8))
    generator = torch.Generator().manual_seed(0)
    perturbation.queue, perturbation.filled = torch.randn(512, 2, generator=generator), 512
    codes, sample = quick_codes(perturbation, seed=0)
    assert codes.shape == (64, 2) and sample.shape == (128, 2)
    fresh, fitted = torch.randn(2000, 2, generator=generator), perturbation.queue
    errors = [float(neighbour_distances(points, codes, (1,)).mean()) for points in (sample, fresh, fitted)]
    assert errors[0] == pytest.approx(errors[1], rel=0.1) and errors[2] < 0.9 * errors[1]

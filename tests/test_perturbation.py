"""Vector perturbation: what its statistics are, on densities that are known. Letters: D dimensions, K codes."""

from __future__ import annotations

import math

import pytest
import torch

from sqcodec.quantizers import PerturbationOptions, VectorPerturbation, VectorQuantizer
from sqcodec.quantizers.kmeans import fit_codes, seed_codes
from sqcodec.quantizers.neighbours import brute_force_distances, neighbour_distances
from sqcodec.quantizers.norm import norm_loss
from sqcodec.quantizers.perturbation import ball_noise, perturb
from sqcodec.training.vp import calibration_due


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noise(count: int, dim: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(2, count, generator=generator)
    return ball_noise(torch.randn(count, dim, generator=generator), uniform[0]), uniform[1]


def filled(dim: int, size: int, **options: float) -> VectorPerturbation:
    """A perturbation whose queue holds a standard normal."""
    perturbation = VectorPerturbation(dim, size, PerturbationOptions(**options))  # type: ignore[arg-type]
    perturbation.queue = normal(*perturbation.queue.shape, seed=2)
    perturbation.filled = len(perturbation.queue)
    return perturbation


def test_noise_is_uniform_in_the_ball() -> None:
    points, _ = noise(40_000, 3)
    radius = points.norm(dim=-1)
    assert radius.max() <= 1 + 1e-6
    for share in (0.1, 0.5, 0.9):  # the volume within r is r^3
        assert (radius <= share ** (1 / 3)).float().mean() == pytest.approx(share, abs=0.01)
    assert points.mean(0).abs().max() < 0.01
    assert torch.allclose(points.T @ points / len(points), torch.eye(3) / 5, atol=0.01)


def test_tree_and_brute_force_agree() -> None:
    points, reference = normal(50, 4), normal(900, 4, seed=1)
    exact = torch.cdist(points.double(), reference.double()).sort(dim=1).values[:, [7, 0, 11]].float()
    assert torch.allclose(neighbour_distances(points, reference, (8, 1, 12)), exact, atol=1e-5)
    assert torch.allclose(brute_force_distances(points, reference, (8, 1, 12), budget=5000), exact, atol=1e-5)
    with pytest.raises(ValueError, match="no 8-th"):
        neighbour_distances(points, reference[:7], (8,))


def test_moves_stay_within_their_cells_radius_both_ways() -> None:
    reference, latents = normal(4096, 3), normal(2000, 3, seed=3)
    move = perturb(latents, reference, *noise(2000, 3), k=8, m=16, eta=1.0)
    moved = latents + move.offset
    radius = neighbour_distances(latents, reference, (16,))[:, 0]
    back = neighbour_distances(moved, reference, (16,))[:, 0]
    size = move.offset.norm(dim=-1)
    assert (size <= radius * 1.0001).all() and (size <= back * 1.0001).all()
    assert (move.offset[~move.accepted] == 0).all()
    assert move.accepted_size() == pytest.approx(float(size[move.accepted].mean()))
    assert 0.5 < move.accepted.float().mean() < 0.95


def test_proposals_into_the_void_are_rejected_and_flat_density_accepts() -> None:
    square = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(4))
    inner = square[((square - 0.5).abs() < 0.35).all(-1)][:3000]
    flat = perturb(inner, square, *noise(len(inner), 2), k=64, m=64, eta=1.0)
    assert flat.accepted.float().mean() > 0.75  # what is missing is the noise of two density estimates
    edge = square[square[:, 0] > 0.995]
    move = perturb(edge, square, *noise(len(edge), 2), k=8, m=64, eta=1.0)
    outside = (edge + move.offset)[:, 0] - 1
    assert move.accepted.float().mean() < 0.75 and outside.max() < 0.05


def test_the_density_is_stationary_under_many_moves_and_would_not_be_without_acceptance() -> None:
    """A chain of moves keeps a normal's variance and kurtosis; the same moves without rejection spread it."""
    reference = normal(16_384, 2, seed=5)
    chain = normal(2000, 2, seed=6)
    free = chain.clone()
    for step in range(15):
        unit, chance = noise(len(chain), 2, seed=step)
        chain = chain + perturb(chain, reference, unit, chance, k=16, m=64, eta=1.0).offset
        free = free + unit * neighbour_distances(free, reference, (64,))
    assert (chain.var(0) - 1).abs().max() < 0.1
    assert (chain.pow(4).mean(0) - 3).abs().max() < 0.6
    assert chain.mean(0).abs().max() < 0.08
    assert free.var(0).max() > 1.3


def test_a_subsample_of_the_queue_leaves_the_acceptance_as_it_is() -> None:
    """K 1024, D 4: all 65,536 latents with M = 64, against 4 K of them."""
    latents = normal(8, 250, 4, seed=7)
    results = []
    for per_code in (0, 4):
        perturbation = filled(4, 1024, reference_per_code=per_code)
        torch.manual_seed(0)
        offset, metrics = perturbation(latents)
        results.append((float(metrics["acceptance"]), float(offset.norm(dim=-1).mean())))
    (all_accepted, all_size), (some_accepted, some_size) = results
    assert some_accepted == pytest.approx(all_accepted, abs=0.03)
    assert some_size == pytest.approx(all_size, rel=0.04)


def test_calibration_comes_often_at_first_then_regularly() -> None:
    perturbation = VectorPerturbation(2, 16, PerturbationOptions(neighbours_per_code=8, calibrate_every=1000))
    assert not calibration_due(perturbation, 0)  # nothing to calibrate on yet
    perturbation.filled = len(perturbation.queue)
    due = []
    for step in range(30, 3001):
        if calibration_due(perturbation, step):
            due.append(step)
            perturbation.calibrated, perturbation.calibrated_at = True, step
    assert due == [30, 120, 480, 1000, 2000, 3000]
    assert not calibration_due(VectorPerturbation(2, 16, PerturbationOptions(neighbours_per_code=8)), 1000)


def test_the_queue_fills_with_latents_first_then_takes_its_share() -> None:
    perturbation = VectorPerturbation(2, 16, PerturbationOptions(neighbours_per_code=8, enqueue_rate=0.1))
    for number in range(2):
        offset, metrics = perturbation(torch.full((1, 50, 2), float(number + 1)))
        assert (offset == 0).all() and metrics == {} and not perturbation.full
    perturbation(normal(1, 50, 2))  # 150 latents for 128 places: the queue wraps
    assert perturbation.full and perturbation.position == 22
    before = perturbation.queue.clone()
    saved = perturbation.state_dict()
    batch = normal(1, 50, 2, seed=3) + 10
    torch.manual_seed(1)
    first, _ = perturbation(batch)
    changed = (perturbation.queue != before).any(-1)
    assert changed.sum() == 5 and changed[22:27].all()
    again = VectorPerturbation(2, 16, perturbation.options)
    again.load_state_dict({**saved, "queue": before, "position": 22})
    torch.manual_seed(1)
    assert torch.equal(again(batch)[0], first) and torch.equal(again.queue, perturbation.queue)
    with pytest.raises(ValueError, match=r"\[128, 2\], the recipe's is \[64, 2\]"):
        VectorPerturbation(2, 8, perturbation.options).load_state_dict(saved)


def test_training_gradient_passes_and_evaluation_never_fits_anything() -> None:
    quantizer = VectorQuantizer(8, 3, 32)
    with pytest.raises(ValueError, match="needs its perturbation"):
        quantizer.train()(normal(2, 10, 8))
    quantizer.perturbation = filled(3, 32)
    features = normal(2, 10, 8).requires_grad_()
    output = quantizer(features)
    output.features.sum().backward()
    expected = quantizer.project_in.weight.T @ quantizer.project_out.weight.sum(0)
    assert torch.allclose(features.grad, expected.expand_as(features), atol=1e-6)
    assert not any("queue" in name for name in quantizer.state_dict())
    quantizer.eval()
    with pytest.raises(ValueError, match="sqcodec codebook"):
        quantizer(features)
    assert not bool(quantizer.fitted)


def test_norm_loss_pulls_to_the_target_law() -> None:
    exact = normal(1, 100_000, 2)
    assert norm_loss(exact) < 1e-4 and norm_loss(exact, moments=True) < 1e-3
    assert norm_loss(exact + 1) == pytest.approx(0.1, rel=0.05)
    assert norm_loss(exact * math.sqrt(2)) == pytest.approx(0.07, rel=0.05)
    skewed = -torch.log(torch.rand(1, 100_000, 2, generator=torch.Generator().manual_seed(1))) - 1
    assert norm_loss(skewed, moments=True) > 1.0


def test_kmeans_finds_clusters_continues_bit_for_bit_and_leaves_no_code_unused() -> None:
    centres = normal(80, 3, seed=1) * 10
    points = centres.repeat(40, 1) + 0.05 * normal(3200, 3, seed=2)
    fits = list(fit_codes(points, 80, 6, seed=3))
    found = neighbour_distances(centres, fits[-1].codes, (1,))[:, 0] < 0.1
    assert found.float().mean() > 0.8  # seeds drawn at random would lie in 1 - 1/e of the clusters
    assert all(b.error <= a.error * 1.001 for a, b in zip(fits, fits[1:], strict=False))
    resumed = list(fit_codes(points, 80, 6, start=fits[2]))
    assert torch.equal(resumed[-1].codes, fits[-1].codes)
    many = list(fit_codes(normal(4000, 2), 500, 8))[-1].codes
    assert neighbour_distances(normal(4000, 2), many, (1,)).mean() == pytest.approx(0.05, abs=0.02)
    with pytest.raises(ValueError, match="too few"):
        seed_codes(points[:10], 80)


@pytest.mark.parametrize("size", [600, 1024])
def test_many_seeds_are_means_of_neighbourhoods(size: int) -> None:
    points = normal(6000, 2)
    seeds = seed_codes(points, size)
    assert seeds.shape == (size, 2) and len(seeds.unique(dim=0)) == size
    new = normal(2000, 2, seed=1)
    found, drawn = (neighbour_distances(new, codes, (1,)).mean() for codes in (seeds, points[:size]))
    assert found < 0.95 * drawn
    few = seed_codes(points[: size + 5], size)
    assert few.shape == (size, 2) and bool(few.isfinite().all())

"""What each of the quantizers that there are to compare with does by itself, on cases that are known."""

from __future__ import annotations

import pytest
import torch

from sqcodec.config import quantizer_config
from sqcodec.quantizers import build_quantizer
from sqcodec.quantizers.compared.learned import assign, squared_distances
from sqcodec.quantizers.compared.library import PACKAGE
from sqcodec.quantizers.compared.regular import moment_distance, sinkhorn_plan
from sqcodec.quantizers.compared.several import first_of_group, group_means, spread_groups


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(kind: str, size: int = 32, dim: int = 2, **options):
    torch.manual_seed(0)
    config = quantizer_config(kind=kind, levels=(), dim=dim, size=size, **options)
    return build_quantizer(config, 8).train()


def test_fast_distances_and_assignment_are_exact() -> None:
    points, codes = normal(3, 40, 4), normal(50, 4, seed=1)
    exact = torch.cdist(points.flatten(0, 1).double(), codes.double())
    assert torch.allclose(squared_distances(points.flatten(0, 1), codes).double(), exact.square(), atol=1e-5)
    assert torch.equal(assign(points, codes).flatten(), exact.argmin(-1))


def test_unused_codes_follow_the_drift_of_their_neighbours_in_nsvq() -> None:
    quantizer = build("nsvq", size=3, decay=0.5, temperature=50.0, final_temperature=50.0)
    quantizer.get_buffer("codes").copy_(torch.tensor([[0.0, 0.0], [-0.3, 0.0], [-50.0, 0.0]]))
    latents = torch.tensor([[[0.2, 0.1], [0.2, -0.1]]])  # both nearest to the first code, drifted by +0.2
    quantizer.learn(latents, latents)
    first, second, third = quantizer.codebook()
    assert torch.allclose(first, torch.tensor([0.1, 0.0]), atol=1e-6)  # half way
    assert second[0] > -0.3 + 0.05 and abs(second[1]) < 1e-6  # follows
    assert torch.allclose(third, torch.tensor([-50.0, 0.0]))  # too far


def test_codes_are_drawn_with_their_chances_and_the_temperature_falls() -> None:
    quantizer = build("sqvae", size=3, final_temperature=0.1, anneal_steps=10)
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(1, 30_000, 3)
    weights, indices = quantizer.draw(logits, hard=True)
    share = indices.flatten().bincount(minlength=3) / 30_000
    assert torch.allclose(share, torch.tensor([0.5, 0.3, 0.2]), atol=0.01)
    assert torch.equal(weights.argmax(-1), indices) and torch.allclose(weights.amax(-1), torch.ones(()))
    options = quantizer.options
    temperatures = [options.annealed(step) for step in (0, 5, 10, 99)]
    assert temperatures == pytest.approx([1.0, 0.1**0.5, 0.1, 0.1])


def test_sqvae_learns_the_variance_of_what_codes_leave() -> None:
    quantizer = build("sqvae", size=4, dim=2, prior_weight=1.0, temperature=0.05, final_temperature=0.05)
    centres = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    with torch.no_grad():
        quantizer.codes.copy_(centres)
    points = centres.repeat(100, 1)[None] + 0.1 * normal(1, 400, 2)
    optimizer = torch.optim.Adam([quantizer.log_variance], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        quantizer.learn(points, points).loss.backward()
        optimizer.step()
    assert quantizer.log_variance.exp().item() == pytest.approx(0.01, rel=0.2)


def test_gmvq_asks_for_balance_and_weighs_variances() -> None:
    quantizer = build("gmvq", size=2, dim=2, prior_weight=1.0, temperature=0.1, final_temperature=0.1)
    with torch.no_grad():
        quantizer.codes.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    both = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    one = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert quantizer.learn(both, both).loss < quantizer.learn(one, one).loss - 0.3  # ln 2 over 2 dimensions
    with torch.no_grad():
        quantizer.log_variance.copy_(torch.tensor([-4.0, 1.0]))
    near = torch.tensor([[[0.5, 0.0]]])  # nearer to the first, more likely from the second
    assert quantizer.nearest(near).item() == 1


def test_hypervq_decides_by_the_side_of_its_hyperplanes() -> None:
    quantizer = build("hypervq", size=2, dim=2)
    with torch.no_grad():
        quantizer.normal.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        quantizer.offset.fill_(0.4)
    codes = quantizer.codebook()
    assert torch.allclose(codes, torch.tensor([[0.4, 0.0], [0.0, 0.4]]))
    assert torch.allclose(quantizer.logits(codes[None]).diagonal(dim1=-2, dim2=-1), torch.zeros(2), atol=1e-4)
    beyond, before = codes[None] * 1.5, codes[None] * 0.5
    assert (quantizer.logits(beyond).diagonal(dim1=-2, dim2=-1) > 0).all()
    assert (quantizer.logits(before).diagonal(dim1=-2, dim2=-1) < 0).all()
    assert quantizer.nearest(beyond).tolist() == [[0, 1]]


def test_convex_combinations_come_closer_than_codes_and_the_pull_brings_them_back() -> None:
    points = 0.5 * normal(1, 200, 2, seed=2)
    gaps = {}
    for pull in (0.01, 50.0):
        quantizer = build("scq", size=64, dim=2, temperature=pull)
        learned = quantizer.learn(points, points)
        nearest = quantizer.codebook()[quantizer.nearest(points)]
        gaps[pull] = float((learned.codes.detach() - points).norm(dim=-1).mean())
        hard = float((nearest.detach() - points).norm(dim=-1).mean())
        assert torch.equal(learned.indices, quantizer.nearest(points))
    assert gaps[0.01] < 0.7 * hard and gaps[50.0] == pytest.approx(hard, rel=0.02)


def test_transport_plans_have_uniform_margins_and_pull_unused_codes() -> None:
    points, codes = normal(300, 2), 0.1 * normal(20, 2, seed=1)
    cost = squared_distances(points, codes)
    plan = sinkhorn_plan(cost, sharpness=20.0, iterations=50)
    assert torch.allclose(plan.sum(0), torch.full((20,), 1 / 20), rtol=1e-3)
    assert torch.allclose(plan.sum(1), torch.full((300,), 1 / 300), rtol=0.1)
    quantizer = build("vqwae", size=20)
    with torch.no_grad():
        quantizer.codes.copy_(codes)
    learned = quantizer.learn(points[None], points[None])
    learned.loss.backward()
    assert (quantizer.codes.grad.norm(dim=-1) > 1e-4).all()  # all codes, not only those in use
    assert len(learned.indices.unique()) < 20


def test_vaevq_matches_moments_and_is_noisier_where_it_may_be() -> None:
    points = normal(5000, 3) * torch.tensor([1.0, 2.0, 0.5]) + 1
    assert moment_distance(points[:2500], points[2500:]) < 0.05
    assert moment_distance(points[:2500] + 1, points[2500:]) == pytest.approx(1.0, abs=0.2)
    quantizer = build("vaevq", size=64, dim=4, prior_weight=0.0)
    features = normal(2, 50, 8)
    latents = quantizer.latents(features)
    quiet = quantizer.learn(latents, features)
    with torch.no_grad():
        quantizer.spread.bias.fill_(2.0)
    loud = quantizer.learn(latents, features)
    assert loud.metrics["deviation"] > 2 and quiet.metrics["deviation"] < 0.2
    error = (loud.codes - latents).norm(dim=-1).mean(), (quiet.codes - latents).norm(dim=-1).mean()
    assert error[0] > 1.5 * error[1]


def test_groups_of_tokens_have_means_and_one_code() -> None:
    latents = torch.arange(10.0).view(1, 5, 2)
    means = group_means(latents, 2)
    assert means.tolist() == [[[1.0, 2.0], [5.0, 6.0], [8.0, 9.0]]]  # the last group has one token
    assert spread_groups(means, 2, 5)[0, :, 0].tolist() == [1, 1, 5, 5, 8]
    assert first_of_group(torch.tensor([[7, 8, 9]]), 2, 5).tolist() == [[7, 0, 8, 0, 9]]


def test_residual_codebooks_refine_one_another_and_restarts_use_all_codes() -> None:
    pytest.importorskip(PACKAGE)
    points = normal(4, 500, 8)
    errors, used = {}, {}
    for levels in ((16,), (16, 16)):
        for restart in (0.0, 0.5):
            torch.manual_seed(1)
            options = {"kmeans_init": restart > 0, "restart_below": restart, "decay": 0.8}
            quantizer = build_quantizer(quantizer_config(kind="rvq", levels=levels, dim=4, **options), 8).train()
            for _ in range(10):
                quantizer(points)
            quantizer.eval()
            tokens = quantizer.encode(points)
            latents = quantizer.latents(points)
            errors[len(levels), restart] = float((quantizer.lookup(tokens) - latents).norm(dim=-1).mean().detach())
            used[len(levels), restart] = len((tokens % 16).unique())
    assert errors[2, 0.5] < 0.7 * errors[1, 0.5] < errors[1, 0.0]
    assert used[2, 0.5] == 16

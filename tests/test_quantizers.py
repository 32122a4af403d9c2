"""Quantizers: arithmetic, training noise, gradients, round trips, bf16. Sizes: B 8, N 500, C 16."""

from __future__ import annotations

import math

import pytest
import torch

from sqcodec.config import QuantizerConfig, quantizer_config
from sqcodec.quantizers import FSP, FSQ, VectorQuantizer, build_quantizer, join_digits, split_digits
from sqcodec.quantizers.scalar import TARGET_VARIANCE, UNIFORM_DEVIATION, distribution
from sqcodec.quantizers.vector import nearest_codes

LEVELS = (7, 5, 8, 3)
CONFIGS = [
    quantizer_config(kind="fsq", levels=LEVELS, variant="sqcodec"),
    quantizer_config(kind="fsq", levels=LEVELS, variant="l3ac"),
    *(quantizer_config(kind="fsp", levels=LEVELS, activation=name) for name in TARGET_VARIANCE),
    quantizer_config(kind="vp", levels=(), dim=4, size=300),
]
SCALAR = CONFIGS[:-1]


def name_of(config: QuantizerConfig) -> str:
    return "-".join(str(value) for value in config.to_dict().values() if isinstance(value, str))


def build(config: QuantizerConfig, scale: float = 1.5):
    torch.manual_seed(0)
    quantizer = build_quantizer(config, 16)
    torch.nn.init.orthogonal_(quantizer.project_in.weight, gain=scale)
    if isinstance(quantizer, VectorQuantizer):
        quantizer.set_codebook(torch.randn(300, 4))
    return quantizer


def features(seed: int = 1) -> torch.Tensor:
    return torch.randn(8, 500, 16, generator=torch.Generator().manual_seed(seed))


def identity(levels: tuple[int, ...], **options) -> FSP:
    """An FSP whose latents are its features."""
    quantizer = FSP(len(levels), levels, **options)
    for linear in (quantizer.project_in, quantizer.project_out):
        torch.nn.init.eye_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    return quantizer


def test_digits_round_trip_any_radix():
    indices = torch.arange(math.prod(LEVELS))
    digits = split_digits(indices, LEVELS)
    assert torch.equal(join_digits(digits, LEVELS), indices)
    assert torch.equal(digits.amax(0), torch.tensor(LEVELS) - 1)
    assert split_digits(torch.tensor(1), LEVELS).tolist() == [1, 0, 0, 0]  # first dimension lowest
    large = torch.tensor([2**40 - 1])
    assert join_digits(split_digits(large, (2,) * 40), (2,) * 40).equal(large)


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_eval_equals_decode_of_indices_and_encode(config):
    quantizer, x = build(config).eval(), features()
    output = quantizer(x)
    assert output.indices.dtype == torch.int64 and output.indices.shape == (8, 500)
    assert torch.equal(output.features, quantizer.decode(output.indices))
    assert torch.equal(output.indices, quantizer.encode(x))
    assert torch.equal(quantizer(x).features, output.features)  # no noise in evaluation
    assert output.indices.unique().numel() > 200


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_a_token_does_not_depend_on_its_batch(config):
    quantizer, x = build(config).eval(), features()
    together = quantizer.encode(x)
    assert torch.equal(together[3:4, 100:117], quantizer.encode(x[3:4, 100:117]))


@pytest.mark.parametrize("config", SCALAR, ids=name_of)
def test_every_level_is_reachable_and_decodes_to_itself(config):
    quantizer = build(config, scale=6.0).eval()
    digits = split_digits(quantizer.encode(features()), LEVELS)
    for dimension, count in enumerate(LEVELS):
        assert digits[..., dimension].unique().tolist() == list(range(count))
    indices = torch.arange(quantizer.codebook_size)
    codes = quantizer.codes(split_digits(indices, LEVELS).float())
    assert codes.unique(dim=0).shape[0] == quantizer.codebook_size


@pytest.mark.parametrize("config", SCALAR, ids=name_of)
def test_gradient_reaches_the_input_in_training_and_evaluation(config):
    quantizer = build(config)
    for mode in (True, False):
        x = features().requires_grad_()
        output = quantizer.train(mode)(x)
        (output.features.square().mean() + output.loss).backward()
        assert torch.isfinite(x.grad).all()
        assert (x.grad.abs().sum(-1) > 0).float().mean() > 0.99


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_bfloat16_input_and_autocast_use_float32_arithmetic(config):
    quantizer, x = build(config).eval(), features().bfloat16()
    expected = quantizer.encode(x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = quantizer(x)
        again = quantizer.decode(output.indices)
    assert output.features.dtype == torch.bfloat16
    assert torch.equal(output.indices, expected)
    assert torch.equal(again.bfloat16(), output.features)


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_state_survives_saving_and_loading(config):
    first, x = build(config).eval(), features()
    second = build_quantizer(config, 16).eval()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x).features, second(x).features)


@pytest.mark.parametrize("activation", TARGET_VARIANCE)
def test_fsp_latent_of_the_target_law_is_uniform_with_zero_loss_and_unit_variance(activation):
    uniform = torch.rand(1, 200_000, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    inverse = {
        "tanh": lambda a: torch.atanh(2 * a - 1),
        "normal": torch.special.ndtri,
        "sigmoid": torch.logit,
        "laplace": lambda a: torch.sign(a - 0.5) * -torch.log(1 - 2 * (a - 0.5).abs()),
        "cauchy": lambda a: torch.tan(math.pi * (a - 0.5)),
    }[activation]
    z = inverse(uniform).float()
    assert (distribution(z, activation) - uniform).abs().max() < 1e-6
    quantizer = identity((7, 16), activation=activation).eval()
    with torch.no_grad():
        output = quantizer(z)
    assert output.loss < 1e-4
    # midpoints of L equal cells: variance (1 - 1/L²), all bins equally likely
    for dimension, count in enumerate((7, 16)):
        assert output.features[..., dimension].var() == pytest.approx(1 - 1 / count**2, abs=0.01)
        share = split_digits(output.indices, (7, 16))[0, :, dimension].bincount() / 200_000
        assert (share - 1 / count).abs().max() < 0.004
    scaled = z * 2 if activation != "cauchy" else z * 20
    assert quantizer(scaled).loss > 0.005
    assert quantizer(z + 1).loss > 0.02


def test_fsp_perturbation_stays_within_its_cell_width_and_the_coin_is_per_token():
    levels = (7, 5, 4)
    quantizer = identity(levels, activation="sigmoid").train()
    z = torch.randn(4, 20_000, 3, generator=torch.Generator().manual_seed(4)) * 2
    torch.manual_seed(5)
    with torch.no_grad():
        output = quantizer(z)
    counts = torch.tensor(levels)
    a = distribution(z, "sigmoid")
    seen = output.features * UNIFORM_DEVIATION + 0.5
    midpoints = (split_digits(output.indices, levels) + 0.5) / counts
    quantised = ((seen - midpoints).abs() < 1e-6).all(-1)
    assert quantised.float().mean() == pytest.approx(0.5, abs=0.01)
    moved = (seen - a)[~quantised] * counts
    assert moved.abs().max() <= 0.5 + 1e-5
    assert (seen > 0).all() and (seen < 1).all()
    untouched = moved.abs() < 1e-6  # rejected: it would have left (0, 1)
    edge = torch.minimum(a, 1 - a)[~quantised] * counts
    assert edge[untouched].max() <= 0.5 + 1e-5
    assert 0.02 < untouched.float().mean() < 0.2
    inner = moved[(edge > 0.5)]  # uniform where nothing is rejected
    assert inner.mean() == pytest.approx(0, abs=0.01)
    assert inner.var() == pytest.approx(1 / 12, rel=0.03)


def test_fsp_digit_is_the_floor_and_edges_stay_in_range():
    quantizer = identity((4,), activation="sigmoid").eval()
    a = torch.tensor([1e-30, 0.2499, 0.2501, 0.4999, 0.5, 0.7499, 0.7501, 1.0])
    tokens = quantizer.encode(torch.logit(a)[None, :, None].clamp(-100, 100))
    assert tokens.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]


@pytest.mark.parametrize("variant,width", [("sqcodec", 0.5), ("l3ac", 0.5)])
def test_fsq_training_noise_is_per_dimension_and_bounded(variant, width):
    levels = (7, 8)
    quantizer = FSQ(16, levels, 0.5, variant).train()
    torch.nn.init.orthogonal_(quantizer.project_in.weight, gain=1.0)
    x = features()
    torch.manual_seed(6)
    positions = quantizer.positions(quantizer.latents(x))
    digits = quantizer.digits(positions)
    seen = quantizer.perturb(positions, digits)
    rounded = (seen - digits).abs() < 1e-6
    assert rounded.float().mean() == pytest.approx(0.5, abs=0.02)
    assert rounded.float().prod(-1).mean() == pytest.approx(0.25, abs=0.02)
    noise = (seen - positions)[~rounded]
    limit = width if variant == "sqcodec" else width * 7 / 8
    assert noise.abs().max() <= limit + 1e-5
    assert noise.abs().max() > limit * 0.95


def test_fsq_codes_are_the_published_ones():
    sqcodec = FSQ(16, (7, 8), variant="sqcodec")
    digits = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 7.0]])
    assert torch.allclose(sqcodec.codes(digits), torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 0.75]]))
    l3ac = FSQ(16, (7, 8), variant="l3ac")
    assert torch.allclose(l3ac.codes(digits), torch.tensor([[-1.0, -1.0], [0.0, 1 / 7], [1.0, 1.0]]))


def test_boundary_distance_finds_the_tokens_that_a_small_change_flips():
    quantizer, x = build(SCALAR[0]).eval(), features()
    distance = quantizer.boundary_distance(x)
    assert distance.min() >= 0 and distance.max() <= 0.5
    shifted = quantizer.encode(x + 1e-4 * torch.randn_like(x))
    flipped = shifted != quantizer.encode(x)
    assert flipped.any() and distance[flipped].max() < 5e-3


def test_blend_goes_from_continuous_to_quantised():
    quantizer, x = build(SCALAR[2]).eval(), features()
    full = quantizer(x)
    assert torch.allclose(quantizer(x, blend=torch.tensor(1.0)).features, full.features, atol=1e-5)
    none = quantizer(x, blend=torch.tensor(0.0))
    expected = quantizer.features(quantizer.codes(quantizer.positions(quantizer.latents(x))), x.dtype)
    assert torch.allclose(none.features, expected)
    assert torch.equal(none.indices, full.indices)


def test_tokens_outside_the_codebook_are_refused():
    quantizer = build(SCALAR[0])
    for bad in (torch.tensor([[-1]]), torch.tensor([[math.prod(LEVELS)]]), torch.tensor([[0.5]])):
        with pytest.raises(ValueError, match="Tokens"):
            quantizer.decode(bad)
    assert quantizer.decode(torch.zeros(1, 0, dtype=torch.int64)).shape == (1, 0, 16)


def test_nearest_codes_is_exact_and_chunking_changes_nothing():
    generator = torch.Generator().manual_seed(7)
    codes = torch.randn(1000, 6, generator=generator)
    points = torch.randn(257, 6, generator=generator)
    found = nearest_codes(points, codes)
    exact = torch.cdist(points.double(), codes.double()).argmin(1)
    assert torch.equal(found, exact)
    for budget in (1, 100, 5000):
        assert torch.equal(nearest_codes(points[:40], codes, budget), exact[:40])
    doubled = torch.cat([codes, codes])  # of equal codes the lowest index
    assert torch.equal(nearest_codes(points, doubled, 64 * 300), exact)


def test_vector_quantizer_needs_a_codebook_and_none_appears_by_itself():
    quantizer = VectorQuantizer(16, 4, 300).eval()
    with pytest.raises(ValueError, match="no codebook yet"):
        quantizer.encode(features())
    with pytest.raises(ValueError, match="300, 4"):
        quantizer.set_codebook(torch.zeros(299, 4))
    quantizer.set_codebook(torch.randn(300, 4))
    with pytest.raises(ValueError, match="perturbation"):
        quantizer.train()(features())

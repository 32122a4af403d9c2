"""Discriminators and adversarial losses: they see what they claim to see, and they train."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch

from sqcodec.cli import main
from sqcodec.discriminators import DiscriminatorConfig, Discriminators
from sqcodec.discriminators.period import PeriodDiscriminator
from sqcodec.discriminators.stft import STFTDiscriminator
from sqcodec.losses.adversarial import discriminator_loss, feature_matching_loss, generator_loss
from sqcodec.training.adversary import Adversary
from sqcodec.training.recipe import AdversarialRecipe, TrainRecipe, load_recipe

DATA = Path(__file__).parent / "data"
SMALL = {
    "periods": [2, 3], "period_channels": [4, 8], "fft_sizes": [128], "bands": [0.0, 0.3, 1.0], "stft_channels": 4,
}  # fmt: skip


def test_a_period_discriminator_looks_along_the_columns_of_its_period() -> None:
    torch.manual_seed(0)
    part = PeriodDiscriminator(5, (4, 8))
    samples = torch.randn(1, 100, requires_grad=True)
    scores, _ = part(samples)
    assert scores.shape[-1] == 5
    scores[0, 0, 1, 2].backward()
    touched = samples.grad[0].nonzero().flatten()
    assert len(touched) > 3 and (touched % 5 == 2).all()


def test_bands_see_only_their_own_bins() -> None:
    torch.manual_seed(0)
    part = STFTDiscriminator(256, (0.0, 0.25, 1.0), 4)
    time = torch.arange(2048) / 16000
    with torch.no_grad():
        low, high = (part(torch.sin(2 * math.pi * f * time)[None])[1] for f in (300.0, 7000.0))
        again = part(torch.sin(2 * math.pi * 7000 * time + 1.0)[None])[1]
    # A tone at 7 kHz leaves the band below 2 kHz (its 5 layers come first) as silence does, whatever its phase.
    assert (high[0] - again[0]).abs().max() < 0.02 < (high[5] - again[5]).abs().max()
    assert (low[0] - high[0]).abs().max() > 0.1


def test_losses_at_known_scores() -> None:
    ones, zeros = [torch.ones(2, 1, 3, 4), torch.ones(2, 1, 5, 1)], [torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 5, 1)]
    assert discriminator_loss(ones, zeros) == 0 and generator_loss(ones) == 0
    assert discriminator_loss(zeros, ones) == 2 and generator_loss(zeros) == 1
    half = [score / 2 for score in ones]
    assert discriminator_loss(half, half) == 0.5
    assert discriminator_loss(zeros, zeros, "hinge") == 2 and discriminator_loss(ones, [-s for s in ones], "hinge") == 0
    assert discriminator_loss([3 * s for s in ones], zeros, "hinge") == 1  # no reward beyond the margin
    assert generator_loss(half, "hinge") == -0.5
    real = [[torch.full((2, 3), 2.0), torch.full((4,), -5.0)]]
    assert feature_matching_loss(real, [[real[0][0] + 1, real[0][1]]]) == pytest.approx(0.25, rel=1e-4)
    with pytest.raises(ValueError, match="'wgan'. Choose one of: lsgan, hinge"):
        generator_loss(zeros, "wgan")


@pytest.mark.parametrize("objective", ["lsgan", "hinge"])
def test_it_learns_to_tell_noise_from_speech_and_guides_the_generator(speech: np.ndarray, objective: str) -> None:
    torch.manual_seed(0)
    recipe = AdversarialRecipe(
        weight=1.0, objective=objective, update_every=1, crop_seconds=0.128, learning_rate=1e-2, **SMALL
    )
    adversary = Adversary(recipe, TrainRecipe(), 16000)
    real = torch.from_numpy(speech[16000 : 16000 + 8 * 4096].reshape(8, 4096).copy())
    rows = []
    for step in range(60):
        noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(step)) * real.std()
        rows.append(adversary.update(*adversary.crop(noise, real, step), step))
    first, last = rows[0]["discriminator"], np.mean([row["discriminator"] for row in rows[-5:]])
    assert last < 0.5 * first and rows[-1]["discriminator_accuracy"] > 0.8
    fake = noise.clone().requires_grad_()
    output, target = adversary.crop(fake, real, 60)
    terms = adversary.terms(output, target)
    (terms["adversarial"] + terms["feature_matching"]).backward()
    assert torch.isfinite(fake.grad).all() and fake.grad.abs().sum() > 0
    assert all(parameter.grad is None or not parameter.requires_grad for parameter in adversary.network.parameters())
    with torch.no_grad():
        matched = adversary.terms(target, target)
    assert matched["feature_matching"] < 1e-3 and matched["adversarial"] < terms["adversarial"]


def test_crops_are_common_scaled_alike_and_derive_from_the_step() -> None:
    recipe = AdversarialRecipe(weight=1.0, crop_seconds=0.05, crop_batch=3, **SMALL)
    adversary = Adversary(recipe, TrainRecipe(seed=3), 16000)
    target = torch.randn(8, 4000) * torch.logspace(-1, 0, 8)[:, None]
    output, cropped = adversary.crop(target * 0.5, target, 7)
    assert cropped.shape == (3, 800) and torch.allclose(output, cropped * 0.5)
    assert torch.allclose(cropped.square().mean(-1), torch.ones(3), atol=1e-5)
    assert torch.equal(adversary.crop(target, target, 7)[0], cropped)
    assert not torch.equal(adversary.crop(target, target, 8)[0], cropped)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="rise from 0 to 1"):
        DiscriminatorConfig(bands=(0.0, 0.5, 0.4, 1.0))
    with pytest.raises(ValueError, match="No discriminator is left"):
        DiscriminatorConfig(periods=(), fft_sizes=())
    with pytest.raises(ValueError, match="need 256"):
        Discriminators(DiscriminatorConfig(fft_sizes=(256,)))(torch.zeros(1, 100))
    with pytest.raises(ValueError, match=r"crop_seconds is 0.01: these discriminators need 0.064"):
        Adversary(AdversarialRecipe(weight=1.0, crop_seconds=0.01), TrainRecipe(), 16000)


def test_a_second_phase_starts_from_a_model_and_resumes_bit_for_bit(tiny_config, tmp_path) -> None:
    base = tmp_path / "base.toml"
    base.write_text(tomli_w.dumps({
        "model": tiny_config.to_dict(),
        "data": {"segment_seconds": 0.2, "batch_size": 2},
        "train": {"steps": 2, "save_every": 1, "log_every": 1, "warmup_steps": 1, "decay_steps": 1},
        "loss": {"fft_sizes": [512, 128], "mel_bands": [40, 20]},
    }))  # fmt: skip
    gan = tmp_path / "gan.toml"
    adversarial = {"weight": 0.2, "feature_matching": 0.5, "alone_steps": 1, "ramp_steps": 2, "crop_seconds": 0.1}
    gan.write_text(tomli_w.dumps({"base": "base.toml", "train": {"steps": 5}, "adversarial": adversarial | SMALL}))

    def train(recipe: Path, out: str, *more: str) -> Path:
        command = ["train", str(recipe), "--data", str(DATA), "--out", str(tmp_path / out), "--threads", "1"]
        assert main([*command, "--cache", str(tmp_path / "cache"), *more]) == 0
        return tmp_path / out

    first = train(base, "first")
    whole = train(gan, "whole", "--init-from", str(first))
    train(gan, "parts", "--init-from", str(first), "--set", "train.steps=3")
    parts = train(gan, "parts")
    states = [torch.load(run / "state.pt", weights_only=True) for run in (whole, parts)]
    for name, tensor in states[0]["network"].items():
        assert torch.equal(tensor, states[1]["network"][name]), name
    for name, tensor in states[0]["adversary"]["network"].items():
        assert torch.equal(tensor, states[1]["adversary"]["network"][name]), name
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert "adversarial" not in rows[0] and "adversarial" in rows[4]
    assert "discriminator" in rows[0] and "discriminator" not in rows[1]
    # The published discriminators start another run.
    third = train(gan, "third", "--init-from", str(whole), "--set", "train.steps=1")
    assert (third / "discriminator" / "discriminator.safetensors").is_file()


def test_a_recipe_may_have_a_base(tmp_path) -> None:
    (tmp_path / "a.toml").write_text('base = "b.toml"\n[train]\nsteps = 3\n')
    with pytest.raises(FileNotFoundError, match="the base of"):
        load_recipe(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text('base = "a.toml"\n')
    with pytest.raises(ValueError, match="its own base"):
        load_recipe(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text('[model]\nfamily = "frame"\n[train]\nsteps = 9\nseed = 4\n')
    recipe = load_recipe(tmp_path / "a.toml", ["train.ema=0.5"])
    assert (recipe.train.steps, recipe.train.seed, recipe.train.ema) == (3, 4, 0.5)

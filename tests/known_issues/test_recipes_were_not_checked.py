"""Recipes took minus five steps, a learning rate that is no number, and objectives that there are none of."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqcodec.discriminators import DiscriminatorConfig
from sqcodec.training.recipe import AdversarialRecipe, DataRecipe, TrainRecipe, load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("setting,message", [
    ("train.steps=-5", "train.steps is -5: it must be between 1 and"),
    ("train.learning_rate=NaN", "train.learning_rate is nan: it must be a number"),
    ("train.betas=[\"a\"]", r"train.betas is \['a'\]: each entry must be a number"),
    ("train.betas=[0.9]", "train.betas is .*a list of 2 entries"),
    ("train.steps=true", "train.steps is True: it must be a whole number"),
    ("train.steps=1.5", "train.steps is 1.5: it must be a whole number"),
    ("train.optimizer=adam", "one of: adamw, muon .did you mean 'adamw'"),
    ("train.schedule=linear", "one of: hold_cosine, one_cycle"),
    ("data.gain_db=[1]", "data.gain_db is .*2 numbers, none below the one before"),
    ("data.gain_db=[3, -9]", "data.gain_db is .*2 numbers, none below the one before"),
    ("data.validation_speakers=[1]", "each entry must be text"),
    ("data.noise_rate=1.5", "data.noise_rate is 1.5: it must be between 0 and 1"),
    ("loss.fft_sizes=[\"x\"]", "loss.fft_sizes is .*each entry must be a whole number"),
    ("loss.fft_sizes=[-512]", "loss.fft_sizes is .*each entry must be an even number between"),
    ("loss.limits={\"mel\": \"a\"}", "loss.limits.mel is 'a': it must be a number"),
    ("adversarial.objective=wgan", "adversarial.objective is 'wgan': it must be one of: lsgan, hinge"),
    ("adversarial.bands=[0, 2]", "adversarial.bands is .*each entry must be between 0 and 1"),
    ("vp.eta=0", "vp.eta is 0.0: it must be between"),
    ("train.stps=3", "Unknown key 'train.stps' in .*did you mean 'train.steps'"),
    ("model.encoder.dept=3", "Unknown key 'model.encoder.dept' in .*did you mean 'model.encoder.depth'"),
    ("model.encoder.depth=-1", "model.encoder.depth is -1"),
    ("train=3", "not of the form section.key=value"),
    ("train.steps.x=3", "train.steps is 8000: it must be a table to hold 'x'"),
])  # fmt: skip
def test_of_a_recipe(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe(RECIPES / "base.toml", [setting])


def test_in_python_too() -> None:
    with pytest.raises(ValueError, match="train.steps is 0"):
        TrainRecipe(steps=0)
    with pytest.raises(ValueError, match="adversarial.periods"):
        AdversarialRecipe(periods=[0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stft_channels is 1000000"):
        DiscriminatorConfig(stft_channels=10**6)
    with pytest.raises(ValueError, match="data.speed"):
        DataRecipe(speed=[0.9, float("inf")])


@pytest.mark.parametrize("setting,message", [
    ("steps=-1", "steps is -1"), ("dropout=2", "dropout is 2"), ("learning_rate=NaN", "learning_rate is nan"),
    ("stps=3", "did you mean 'steps'"), ("bfloat16=maybe", "bfloat16 is 'maybe': it must be true or false"),
])  # fmt: skip
def test_of_a_language_model(setting: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("transformers")
    from sqcodec.cli import main

    assert main(["lm", "train", str(tmp_path), "--out", str(tmp_path / "run"), "--set", setting]) == 1
    assert message in capsys.readouterr().err


def test_entries_of_earlier_versions_may_be_laid_over_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'base = "base.toml"\n[model.encoder]\ndims = [64]\ndepths = [1]\nhop = 96\n[model.decoder]\nhop = 96\n'
        "n_fft = 192\n[model.decoder.unit]\nlayer_scale = 0.1\n"
    )
    settings = ["model.decoder.depths=[1]", "model.transformer.tokens_per_frame=1"]
    model = load_recipe(tmp_path / "mine.toml", settings).model
    assert (model.encoder.dim, model.encoder.depth, model.decoder.depth, model.frame_length) == (64, 1, 1, 96)
    assert (model.tokens_per_frame, model.decoder.layer_scale, model.encoder.n_fft) == (1, 0.1, 512)
    with pytest.raises(ValueError, match="transformer.rate_reduction is 2"):
        (tmp_path / "mine.toml").write_text('base = "base.toml"\n[model.transformer]\nrate_reduction = 2\n')
        load_recipe(tmp_path / "mine.toml")

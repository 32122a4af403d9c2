"""Training: it learns, it resumes bit for bit after a kill, and its mistakes are named."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import sqcodec
from sqcodec.cli import main
from sqcodec.data.cache import build_cache
from sqcodec.data.manifest import hold_out_speakers, read_manifest
from sqcodec.data.segments import SegmentSampler
from sqcodec.training.loop import Trainer
from sqcodec.training.optimizers import build_optimizers, learning_rate
from sqcodec.training.recipe import Recipe, TrainRecipe, load_recipe

DATA = Path(__file__).parent / "data"
RECIPES = Path(__file__).parent.parent / "recipes"

TINY = """
[data]
segment_seconds = 0.4
batch_size = 2
gain_db = [-6.0, 0.0]
[train]
steps = 6
warmup_steps = 2
decay_steps = 2
save_every = 1
log_every = 1
optimizer = "{optimizer}"
continuous_steps = 1
blend_steps = 2
[loss]
fft_sizes = [512, 128]
mel_bands = [40, 20]
"""


def write_recipe(folder: Path, tiny_config, optimizer: str = "adamw") -> Path:
    import tomli_w

    path = folder / "recipe.toml"
    path.write_text(tomli_w.dumps({"model": tiny_config.to_dict()}) + TINY.format(optimizer=optimizer))
    return path


def test_it_learns(tiny_config, tmp_path) -> None:
    recipe = write_recipe(tmp_path, tiny_config)
    arguments = ["train", str(recipe), "--data", str(DATA), "--out", str(tmp_path / "run"), "--threads", "1"]
    settings = ["train.steps=60", "train.warmup_steps=5", "train.log_every=20", "train.learning_rate=5e-3"]
    assert main(arguments + [f"--set={setting}" for setting in settings]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [20, 40, 60]
    assert rows[-1]["mel"] < 0.7 * rows[0]["mel"]
    assert sqcodec.load(tmp_path / "run").encode(np.zeros(100, np.float32)).shape == (1, 8)


def optimizers() -> list[str]:
    return ["adamw", "muon"] if hasattr(torch.optim, "Muon") else ["adamw"]


@pytest.mark.parametrize("optimizer", optimizers())
def test_a_killed_run_resumes_bit_for_bit(tiny_config, tmp_path, optimizer: str) -> None:
    recipe = write_recipe(tmp_path, tiny_config, optimizer)
    command = [sys.executable, "-m", "sqcodec", "train", str(recipe), "--data", str(DATA), "--threads", "1"]
    subprocess.run([*command, "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    state = tmp_path / "killed" / "state.pt"
    process = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert torch.load(state, weights_only=True)["step"] < 6
    subprocess.run([*command, "--out", str(tmp_path / "killed")], check=True, capture_output=True)
    whole, killed = (torch.load(tmp_path / run / "state.pt", weights_only=True) for run in ("whole", "killed"))
    for part in ("network", "average"):
        assert all(torch.equal(whole[part][name], killed[part][name]) for name in whole[part])


def test_batches_depend_on_seed_and_step_alone(tmp_path) -> None:
    cache = build_cache(read_manifest(DATA), tmp_path, 16000)
    sampler = SegmentSampler(cache, 3, 4000, (-6.0, 0.0), seed=5)
    again = SegmentSampler(build_cache(read_manifest(DATA), tmp_path, 16000), 3, 4000, (-6.0, 0.0), seed=5)
    assert np.array_equal(sampler.batch(7), again.batch(7))
    assert not np.array_equal(sampler.batch(7), sampler.batch(8))
    assert not np.array_equal(sampler.batch(7), SegmentSampler(cache, 3, 4000, (-6.0, 0.0), seed=6).batch(7))


def test_the_cache_holds_the_clips(speech: np.ndarray, tmp_path, caplog) -> None:
    broken = tmp_path / "corpus" / "broken.wav"
    broken.parent.mkdir()
    broken.write_bytes(b"RIFF but no more")
    (broken.parent / "good.flac").write_bytes((DATA / "84-121123-0002.flac").read_bytes())
    cache = build_cache(read_manifest(broken.parent), tmp_path / "cache", 16000)
    assert len(cache) == 1 and np.array_equal(cache.clip(0), speech)
    assert "broken.wav" in caplog.text


def test_manifests(tmp_path) -> None:
    table = tmp_path / "m.tsv"
    table.write_text('path\tsplit\tspeaker\tseconds\ttext\na.wav\ttrain\tx\t1.5\tsay "hi\nb.wav\ttest\ty\t2\t\n')
    clips = read_manifest(table, "train")
    assert [clip.path for clip in clips] == [tmp_path / "a.wav"] and clips[0].text == 'say "hi'
    lines = tmp_path / "m.jsonl"
    lines.write_text('{"path": "/c.wav", "speaker": "z", "seconds": 3}\n{"speaker": "z"}\n')
    with pytest.raises(ValueError, match="line 2: no 'path'"):
        read_manifest(lines)
    rest, held = hold_out_speakers(read_manifest(table), ["y"])
    assert [c.speaker for c in rest] == ["x"] and [c.speaker for c in held] == ["y"]
    with pytest.raises(ValueError, match=r"\['nobody'\]"):
        hold_out_speakers(rest, ["nobody"])
    with pytest.raises(ValueError, match="lists no clips of split 'dev'"):
        read_manifest(table, "dev")


def test_schedule() -> None:
    recipe = TrainRecipe(steps=100, warmup_steps=10, decay_steps=20, learning_rate=1.0)
    rates = [learning_rate(step, recipe) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:80] == [1.0] * 71
    assert rates[80:] == sorted(rates[80:], reverse=True) and rates[-1] < 0.03


def test_unknown_optimizer_is_named(tiny_config) -> None:
    from sqcodec.nn import build_network

    with pytest.raises(ValueError, match="train.optimizer is 'sgd': it must be one of: adamw, muon"):
        build_optimizers(build_network(tiny_config), TrainRecipe(optimizer="sgd"))


TRAINABLE = [path for path in sorted(RECIPES.glob("*.toml")) if path.stem != "study"]
"""recipes/study.toml is for `sqcodec study`; its backbone is here."""


@pytest.mark.parametrize("path", TRAINABLE, ids=lambda path: path.stem)
def test_every_recipe_builds(path: Path) -> None:
    from sqcodec.nn import build_network

    recipe = load_recipe(path)
    with torch.device("meta"):  # shapes only
        network = build_network(recipe.model)
    if path.stem.startswith(("mini", "base", "finetune", "study")):
        assert sum(parameter.numel() for parameter in network.parameters()) <= 12e6
        assert recipe.model.bit_rate <= 3000
    else:
        name = re.sub("_(vp|causal|gan|gpu)", "", path.stem)
        rate = float(name.split("_")[-1].replace("k", ".").rstrip("."))
        assert recipe.model.bit_rate / 1000 == pytest.approx(rate, rel=0.01 if recipe.model.quantizer.levels else 0.2)
        frame = recipe.model.hop_length * recipe.model.tokens_per_frame
        assert round(recipe.data.segment_seconds * recipe.model.sample_rate) % frame == 0


def narrow(recipe: Recipe) -> Recipe:
    """The recipe with few channels and short segments, and its discriminators from the first step."""
    model, fields = recipe.model, {"feature_dim": 16}
    if model.family == "frame":
        side = {"dim": 16, "depth": 1}
        fields["encoder"] = side | ({"trend_width": 8} if "tconv" in model.encoder.front else {})
        fields |= {"decoder": side, "transformer": {"heads": 2, "encoder_depth": 1, "decoder_depth": 1}}
    else:
        fields["encoder"] = {"dims": [4] * len(model.encoder.dims)}
        fields["decoder"] = {"dims": [8] * len(model.decoder.dims)}
        fields["transformer"] = {"heads": 2, "head_dim": 8}
    if model.quantizer.kind == "vp":
        fields["quantizer"] = {"size": 64}
    train = {"steps": 2, "minutes": 0.0, "warmup_steps": 0, "decay_steps": 1, "continuous_steps": 0, "blend_steps": 0}
    train |= {"log_every": 1}
    train |= {"accumulate": 1, "compile": False, "bf16": False, "tensorboard": False}
    data = {"manifest": str(DATA), "split": "", "validation_split": "", "validation_speakers": []}
    data |= {"validation_share": 0.0, "validation_clips": 1, "validation_seconds": 0.5}
    seconds = 0.6 if recipe.loss.intelligibility else 0.3
    data |= {"segment_seconds": seconds, "batch_size": 2, "workers": 0}
    gan = {"start_step": 0, "alone_steps": 0, "ramp_steps": 0, "update_every": 1, "crop_seconds": 0.2, "crop_batch": 0}
    gan |= {"periods": (2, 3), "period_channels": (4, 4), "stft_channels": 4}
    return dataclasses.replace(
        recipe,
        model=model.changed(**fields),
        data=dataclasses.replace(recipe.data, **data),
        train=dataclasses.replace(recipe.train, **train),
        adversarial=dataclasses.replace(recipe.adversarial, **gan),
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("path", TRAINABLE, ids=lambda path: path.stem)
def test_every_recipe_trains(path: Path, cache: Path, tmp_path: Path) -> None:
    recipe = narrow(load_recipe(path))
    if path.stem.startswith("vctk"):  # trains as its base does
        base = narrow(load_recipe(path.with_stem(path.stem.replace("vctk", "libritts"))))
        assert recipe == dataclasses.replace(base, model=base.model.changed(name=recipe.model.name))
        return
    Trainer(recipe, tmp_path / "run", cache).run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 2 and np.isfinite(rows[-1]["total"])
    assert ("feature_matching" in rows[-1]) == recipe.adversarial.enabled
    assert (tmp_path / "run" / "training.svg").read_text().startswith("<?xml") or not find_spec("matplotlib")


@pytest.mark.parametrize("path", TRAINABLE, ids=lambda path: path.stem)
def test_every_recipe_for_a_corpus_has_tconv(path: Path) -> None:
    """In the front and in the gates."""
    model = load_recipe(path).model
    if path.stem.startswith(("libritts", "vctk", "base")):
        assert model.decoder.gate and (model.family == "waveform" or "tconv" in model.encoder.front)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.step=3", "did you mean 'train.steps'"),
        ("train.steps=many", "train.steps is 'many'"),
        ("loos.mel=1", "Unknown key 'loos' in .*did you mean 'loss'"),
        ("steps=3", "section.key=value"),
        ("model.hop=3", "Unknown key 'model.hop'"),
    ],
)
def test_recipe_mistakes_are_named(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe(RECIPES / "mini_speech.toml", [setting])


def test_a_recipe_lies_over_several_bases(tmp_path) -> None:
    (tmp_path / "a.toml").write_text('[model]\nfamily = "frame"\n[train]\nsteps = 3\nseed = 1\n')
    (tmp_path / "b.toml").write_text("[train]\nsteps = 4\nclip_norm = 2.0\n")
    (tmp_path / "c.toml").write_text('base = ["a.toml", "b.toml"]\n[train]\nclip_norm = 3.0\n')
    train = load_recipe(tmp_path / "c.toml").train
    assert (train.seed, train.steps, train.clip_norm) == (1, 4, 3.0)
    laid = load_recipe(RECIPES / "libritts_3k_vp.toml")
    assert laid.model.quantizer.kind == "vp" and laid.vp.neighbours_per_code == 32 and laid.train.steps == 400000


def test_command_line_mistakes(tmp_path, capsys) -> None:
    recipe = str(RECIPES / "mini_speech.toml")
    assert main(["train", "nowhere.toml", "--out", str(tmp_path)]) == 1
    assert "No recipe 'nowhere.toml'" in capsys.readouterr().err
    assert main(["train", recipe, "--out", str(tmp_path)]) == 1
    assert "give --data" in capsys.readouterr().err
    assert main(["train", recipe, "--data", str(tmp_path / "x"), "--out", str(tmp_path)]) == 1
    assert "No manifest or folder" in capsys.readouterr().err

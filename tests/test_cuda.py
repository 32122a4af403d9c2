"""On a GPU: training, resuming, half precisions, compiling, and tokens as a CPU gives them, but for rounding.

Skipped where there is none. Kernels of a GPU sum in other orders than a CPU's and some not twice in the same one, so
numbers are compared within what that may change, and a token may differ where a latent lies at a decision boundary.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training_kill import SMALL
from test_training_modes import recipe, rows

import sqcodec
from sqcodec.config import ModelConfig
from sqcodec.training.loop import Trainer

pytestmark = pytest.mark.cuda

TERMS = ("mel", "stft", "waveform", "total")
CALM = {"continuous_steps": 100}
"""Without quantizer, whose noise a GPU draws otherwise than a CPU."""


def run(config: ModelConfig, folder: Path, device: str = "cuda", **train: float) -> Trainer:
    trainer = Trainer(recipe(config, **train), folder, folder.parent / "cache", device)
    trainer.resume()
    trainer.run()
    return trainer


def losses(folder: Path) -> list[list[float]]:
    return [[row[name] for name in TERMS] for row in rows(folder) if "mel" in row]


def test_a_step_is_that_of_a_cpu(tiny_config: ModelConfig, tmp_path) -> None:
    run(tiny_config, tmp_path / "gpu", steps=3, **CALM)
    run(tiny_config, tmp_path / "cpu", "cpu", steps=3, **CALM)
    gpu, cpu = losses(tmp_path / "gpu"), losses(tmp_path / "cpu")
    assert gpu[0] == pytest.approx(cpu[0], rel=1e-3)
    # AdamW's first steps follow the sign of a gradient, however small: what is rounding noise grows to a step.
    assert np.allclose(gpu, cpu, rtol=0.03)


def test_a_compiled_step_is_the_plain_one(tiny_config: ModelConfig, tmp_path) -> None:
    run(tiny_config, tmp_path / "compiled", steps=2, compile=True, **CALM)
    run(tiny_config, tmp_path / "plain", steps=2, **CALM)
    assert losses(tmp_path / "compiled")[0] == pytest.approx(losses(tmp_path / "plain")[0], rel=1e-3)


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_half_precision_trains(nested_config: ModelConfig, tmp_path, half: str) -> None:
    """With discriminators and lost tokens; the losses fall, and are near those of float32 at the start."""
    settings = {"optimizer": "muon", "learning_rate": 3e-3, "lost_rate": 0.5, "steps": 40}
    wanted = recipe(nested_config, **settings, **{half: True})
    wanted = dataclasses.replace(wanted, adversarial=dataclasses.replace(SMALL, start_step=20))
    trainer = Trainer(wanted, tmp_path / half, tmp_path / "cache", "cuda")
    trainer.run()
    found = rows(tmp_path / half)
    assert all(np.isfinite(row[name]) for row in found for name in TERMS)
    assert "adversarial" in found[-1] and "adversarial" not in found[0]
    means = [np.mean([row["mel"] for row in part]) for part in (found[:5], found[15:20])]
    assert means[1] < means[0]
    run(nested_config, tmp_path / "float32", **(settings | {"steps": 1}))
    assert losses(tmp_path / half)[0] == pytest.approx(losses(tmp_path / "float32")[0], rel=0.05)


def test_a_run_goes_on_where_it_stopped(nested_config: ModelConfig, tmp_path) -> None:
    """On the GPU as if uninterrupted, and then on a CPU."""
    settings = {"optimizer": "muon", "lost_rate": 0.5}
    run(nested_config, tmp_path / "whole", **settings, steps=6)
    run(nested_config, tmp_path / "parts", **settings, steps=3)
    trainer = run(nested_config, tmp_path / "parts", **settings, steps=6)
    whole, parts = losses(tmp_path / "whole"), losses(tmp_path / "parts")
    assert trainer.step == len(parts) == 6
    assert np.allclose(parts[:4], whole[:4], rtol=1e-3) and np.allclose(parts, whole, rtol=0.03)
    assert run(nested_config, tmp_path / "parts", "cpu", **settings, steps=7).step == 7
    codec = sqcodec.load(tmp_path / "parts", device="cuda")
    assert codec.device.type == "cuda" and codec.config.conceals


@pytest.mark.parametrize("name", ["speech-3k", "speech-1k"])
def test_tokens_are_those_of_a_cpu(name: str, speech: np.ndarray) -> None:
    """Those that differ lie at a boundary; the same tokens are decoded to the same sound."""
    cpu, gpu = sqcodec.load(name), sqcodec.load(name, device="cuda")
    expected, found = cpu.encode(speech), gpu.encode(speech)
    different = expected != found
    assert different.float().mean() < 0.005
    with torch.inference_mode():
        features = cpu.network.encode_features(cpu.network.pad(torch.from_numpy(speech)[None, None]))
        distance = cpu.network.quantizer.boundary_distance(features)[:, : expected.shape[1]]
    assert not different.any() or distance[different].max() < 1e-2
    mask = np.arange(expected.shape[1]) % 40 < 4
    for lost in (None, mask):
        waves = [codec.decode(expected, len(speech), lost=lost) for codec in (cpu, gpu)]
        torch.testing.assert_close(waves[1], waves[0], rtol=0, atol=1e-3)


def test_bfloat16_tokens_are_nearly_those_of_float32(speech: np.ndarray) -> None:
    exact = sqcodec.load("speech-3k", device="cuda")
    quick = sqcodec.load("speech-3k", device="cuda", precision="bfloat16")
    tokens = exact.encode(speech)
    assert (quick.encode(speech) == tokens).float().mean() > 0.9
    waves = [codec.decode(tokens, len(speech)) for codec in (exact, quick)]
    noise = (waves[1] - waves[0]).square().mean() / waves[0].square().mean()
    assert noise < 0.01


def test_streams_and_batches_are_the_whole(speech: np.ndarray) -> None:
    """Within rounding: a GPU chooses its kernels by the number of rows."""
    codec = sqcodec.load("speech-3k", device="cuda")
    encoder, decoder = sqcodec.StreamEncoder(codec), sqcodec.StreamDecoder(codec)
    pieces = [encoder.push(speech[start : start + 4000]) for start in range(0, 64000, 4000)]
    streamed, whole = torch.cat([*pieces, encoder.flush()], dim=1), codec.encode(speech[:64000])
    assert (streamed == whole).float().mean() > 0.995
    wave = torch.cat([decoder.push(whole[:, :100]), decoder.push(None, 7), decoder.push(whole[:, 107:])], dim=1)
    lost = np.zeros(whole.shape[1], bool)
    lost[100:107] = True
    torch.testing.assert_close(wave[:, :64000], codec.decode(whole, 64000, lost=lost), rtol=0, atol=1e-3)
    items = [speech[:30000], speech[:9000]]
    for item, row in zip(items, codec.encode_batch(items), strict=True):
        assert (codec.encode(item)[0] == row).float().mean() > 0.995

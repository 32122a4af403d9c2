"""Tokens that carry words: a teacher's features in the time of the tokens, distillation, consistency."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training_modes import Frames, recipe, rows, taught, train

from sqcodec.checkpoint import load_model
from sqcodec.cli import main
from sqcodec.data import teacher as store
from sqcodec.data.augment import Augmentation
from sqcodec.data.cache import AudioCache
from sqcodec.data.segments import SegmentSampler
from sqcodec.data.teacher import Teacher, TokenTargets, build_features
from sqcodec.losses.semantic import consistency_loss, heard_otherwise, semantic_loss
from sqcodec.training.encoders import load_teacher, teacher_identity
from sqcodec.training.loop import Trainer

RATE, HOP, FIRST = 16000, 96, -432.0


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def ramps() -> AudioCache:
    """Two clips whose samples say where they are: up from 0 and down from 0, 1/32768 each four samples."""
    first, second = np.arange(100_000) // 4, -(np.arange(60_000) // 4)
    samples = np.concatenate([first, second]).astype(np.int16)
    return AudioCache(samples, np.asarray([0, 100_000, 160_000]), RATE, "ramps")


def clock(samples: np.ndarray) -> np.ndarray:
    """Of each 20 ms the place of its middle, in 1000 samples, and a second number."""
    middles = samples[: len(samples) // 320 * 320].reshape(-1, 320).mean(1) * 32768 * 4 / 1000
    return np.stack([middles, np.ones_like(middles)], axis=1)


def test_a_teacher_is_heard_when_its_frame_is_spoken(tmp_path) -> None:
    """At any start, speed, gain and noise; over the border of clips, and not before the segment or in its tones."""
    features = build_features(ramps(), tmp_path, "clock", lambda: Teacher(clock, RATE, 50.0, 0.01))

    def places(found: np.ndarray) -> np.ndarray:
        return (found.astype(np.float64) * features.deviation + features.mean)[..., 0] * 1000

    targets = TokenTargets([features], HOP, FIRST)
    found = places(targets.of(0, 30_000, 4800, 1.0, 4800))
    expected = 30_000 + np.arange(50) * HOP + FIRST
    assert np.isnan(found[:5]).all() and np.abs(found[5:] - expected[5:]).max() < 60  # float16 of 30,000 samples
    found = places(targets.of(0, 30_000, 4800, 1.25, 4800))
    assert np.abs(found[5:] - (30_000 + 1.25 * (expected[5:] - 30_000))).max() < 60
    found = places(targets.of(0, 99_000, 4800, 1.0, 2400))  # the second clip counts down from 0
    assert found[6] > 98_000 and found[29] < 0 and np.isnan(found[30:]).all()

    loud = Augmentation(speed_rate=0.5, noise_rate=0.5, mix_rate=0.5, tone_rate=0.5)
    sampler = SegmentSampler(ramps(), 8, 4800, (-6.0, 0.0), 3, (), loud, targets)
    batch = sampler.taught(5)
    assert batch is not None and batch.shape == (8, 50, 2) and batch.dtype == np.float16
    assert np.array_equal(batch[4:], sampler.taught(5, 1, 2), equal_nan=True)
    slopes = [np.diff(places(row[6:24]))[:6].mean() / HOP for row in batch]
    steady = [abs(slope) for slope in slopes]
    assert min(abs(slope - 1.0) for slope in steady) < 0.02 and max(steady) - min(steady) > 0.02
    toned = [bool(np.isnan(row[40:]).all()) for row in batch]
    assert any(toned) and not all(toned)
    assert SegmentSampler(ramps(), 8, 4800, (-6.0, 0.0), 3, (), loud).taught(5) is None
    plain = SegmentSampler(ramps(), 8, 4800, (-6.0, 0.0), 3, (), loud).batch(5)
    assert np.array_equal(plain, sampler.batch(5))


def test_features_are_computed_once_and_go_on_where_they_were(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(store, "PART", 1)
    heard: list[int] = []

    def failing(samples: np.ndarray) -> np.ndarray:
        heard.append(len(samples))
        if len(heard) == 2:
            raise KeyboardInterrupt
        return clock(samples)

    with pytest.raises(KeyboardInterrupt):
        build_features(ramps(), tmp_path, "clock", lambda: Teacher(failing, RATE, 50.0, 0.01))
    found = build_features(ramps(), tmp_path, "clock", lambda: Teacher(failing, RATE, 50.0, 0.01))
    assert heard == [100_000, 60_000, 60_000]
    again = build_features(ramps(), tmp_path, "clock", lambda: pytest.fail("computed again"))
    assert np.array_equal(found.values, again.values) and len(list(tmp_path.iterdir())) == 2
    assert found.values.shape == (312 + 187, 2) and found.values.dtype == np.float16
    assert found.mean == pytest.approx(found.values.astype(np.float64).mean(0), rel=1e-5)
    monkeypatch.setattr(store, "LONGEST", 2)  # long clips in pieces: the same frames
    build_features(ramps(), tmp_path / "pieces", "clock", lambda: Teacher(failing, RATE, 50.0, 0.01))
    assert max(heard[3:]) == 32_000
    with pytest.raises(ValueError, match="not finite"):
        build_features(ramps(), tmp_path, "bad", lambda: Teacher(lambda s: np.full((9, 2), np.nan), RATE, 50.0, 0.0))


def test_teachers_say_their_rate_and_time(tmp_path, speech) -> None:
    torch.jit.script(Frames()).save(str(tmp_path / "one.pt"))
    length = torch.export.Dim("length", min=16000, max=480000)
    exported = torch.export.export(Frames(), (torch.zeros(1, 16001),), dynamic_shapes={"samples": {1: length}})
    torch.export.save(exported, tmp_path / "one.pt2")
    found = [load_teacher(str(tmp_path / name), -1, 16000) for name in ("one.pt", "one.pt2")]
    assert [(one.rate, one.first) for one in found] == [(50.0, pytest.approx(0.01))] * 2
    assert np.allclose(found[0].features(speech[:32000]), found[1].features(speech[:32000]), atol=1e-6)
    codec = load_teacher("speech-3k", -1, 0)
    assert codec.rate == pytest.approx(16000 / 96) and codec.first == (96 - 480) / 2 / 16000
    (tmp_path / "copy").mkdir()
    copy = (tmp_path / "one.pt").read_bytes()
    (tmp_path / "copy" / "two.pt").write_bytes(copy)
    names = [str(tmp_path / "one.pt"), str(tmp_path / "copy" / "two.pt"), str(tmp_path / "one.pt2")]
    identities = [teacher_identity(name, -1, 16000) for name in names]
    assert identities[0] == identities[1] != identities[2] and identities[0] != teacher_identity(names[0], 0, 16000)
    with pytest.raises(ValueError, match="semantic_layer is 3: .* has layers 0 to 0"):
        load_teacher(names[0], 3, 16000)
    with pytest.raises(ValueError, match="only the last layer"):
        load_teacher("whisper", 3, 16000)


def test_whisper_of_the_extra_teaches(speech) -> None:
    pytest.importorskip("faster_whisper")
    teacher = load_teacher("whisper", -1, 16000)
    found = teacher.features(speech[:32100])
    assert found.shape == (101, 512) and np.isfinite(found).all() and teacher.rate == 50.0


def test_distillation_learns_and_resumes_bit_for_bit(nested_config, tmp_path, cache) -> None:
    loss = taught(tmp_path, semantic_bits=8)
    data = {"speed_rate": 0.5, "noise_rate": 0.3, "tone_rate": 0.2, "gain_db": [-6.0, 3.0]}

    def settings(steps: int):
        made = recipe(nested_config, loss, steps=steps, learning_rate=3e-3, optimizer="adamw")
        return dataclasses.replace(made, data=dataclasses.replace(made.data, **data))

    whole = train(settings(30), tmp_path / "whole", cache)
    train(settings(17), tmp_path / "parts", cache)
    parts = train(settings(30), tmp_path / "parts", cache)
    assert whole.step_fn.semantic is not None and parts.step_fn.semantic is not None
    for one, two in ((whole.network, parts.network), (whole.step_fn.semantic, parts.step_fn.semantic)):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, two.state_dict()[name]), name
    curve = [row["semantic"] for row in rows(tmp_path / "whole")]
    assert np.mean(curve[-5:]) < np.mean(curve[:5]) - 0.1
    assert {name.split(".")[0] for name in load_model(tmp_path / "whole" / "model")[1]} == {
        name.split(".")[0] for name in whole.network.state_dict()
    }
    whole.network.zero_grad()
    features = torch.from_numpy(whole.sampler.taught(0))
    result = whole.step_fn(torch.from_numpy(whole.sampler.batch(0)), 0, features)
    result.terms["semantic"].backward()
    assert whole.network.front_project.weight.grad.abs().sum() > 0  # it reaches the encoder ...
    assert all(p.grad is None for p in whole.network.decoder.parameters())  # ... and not the decoder


@pytest.mark.parametrize("loss", [{"semantic_from": "features"}, {"limits": {"semantic": 0.1}}, {"balancer": True}])
def test_other_ways_to_distil(tiny_config, tmp_path, cache, loss) -> None:
    settings = recipe(tiny_config, taught(tmp_path, **loss), steps=2, accumulate=2, compile=False)
    train(settings, tmp_path / "run", cache)
    row = rows(tmp_path / "run")[-1]
    assert 0.0 < row["semantic"] < 2.0 and row["consistency"] > 0.0


def test_accumulated_parts_have_their_own_features(tiny_config, tmp_path, cache) -> None:
    found = []
    for count in (1, 2):
        settings = recipe(tiny_config, taught(tmp_path), steps=1, continuous_steps=100, accumulate=count)
        train(settings, tmp_path / f"run{count}", cache)
        found.append(rows(tmp_path / f"run{count}")[0]["semantic"])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_mistakes_are_named(tiny_config, nested_config, tmp_path, cache, capsys) -> None:
    for config, entries, message in (
        (tiny_config, {"semantic_bits": 4}, "only tokens of the quantizer nested can be cut"),
        (nested_config, {"semantic_bits": 4}, "this model's tokens have 6 to 16"),
        (nested_config, {"semantic_bits": 8, "semantic_from": "features"}, "have no bits"),
        (tiny_config, {"semantic_layer": 2}, "has layers 0 to 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Trainer(recipe(config, taught(tmp_path, **entries)), tmp_path / "run", cache)
    made = recipe(tiny_config, taught(tmp_path))
    made = dataclasses.replace(made, data=dataclasses.replace(made.data, decode_once=False))
    with pytest.raises(ValueError, match="set data.decode_once=true"):
        Trainer(made, tmp_path / "run", cache)
    assert main(["prepare", "base", "--teacher", "whisper"]) == 2
    assert "--teacher needs --cache" in capsys.readouterr().err
    assert main(["prepare", "somewhere"]) == 2
    assert "--out FILE.jsonl is needed" in capsys.readouterr().err


def test_prepare_computes_what_train_reads(tmp_path, capsys, monkeypatch) -> None:
    taught(tmp_path)
    data = Path(__file__).parent / "data"
    command = ["prepare", "base", "--data", str(data), "--cache", str(tmp_path / "cache"),
               "--teacher", str(tmp_path / "teacher.pt"), "--set", "data.validation_share=0"]  # fmt: skip
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "frames of 3 features" in told and "sqcodec train base --data" in told
    monkeypatch.setattr("sqcodec.training.corpus.load_teacher", lambda *entries: pytest.fail("computed again"))
    assert main(command) == 0


def test_terms_measure_what_they_say(speech) -> None:
    teacher = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    assert semantic_loss(3.0 * teacher, teacher) == pytest.approx(0.0, abs=1e-6)
    assert semantic_loss(-teacher, teacher) == pytest.approx(2.0, abs=1e-6)
    teacher[:, :2] = torch.nan
    guess = torch.ones(2, 5, 8, requires_grad=True)
    semantic_loss(guess, teacher.half()).backward()
    assert guess.grad[:, :2].abs().sum() == 0 and guess.grad[:, 2:].isfinite().all()
    latents = torch.randn(4, 50, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 5.0, 0.2])
    assert consistency_loss(latents, latents) == 0
    assert consistency_loss(latents, latents.flip(0)) == pytest.approx(2.0, rel=0.2)
    samples = torch.from_numpy(np.stack([speech[16000:32000], speech[40000:56000]]))
    torch.manual_seed(0)
    others = heard_otherwise(samples, 256)
    for one, other in zip(samples.numpy(), others.numpy(), strict=True):
        likeness = [np.corrcoef(one[shift:8000 + shift], other[:8000])[0, 1] for shift in range(256)]
        assert max(likeness) > 0.99 and 0.45 < other.std() / one.std() < 2.1

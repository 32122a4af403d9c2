"""A replaced or missing clip is noticed: by the decoded cache, and by a run that goes on."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_training_modes import recipe, train

from sqcodec.data import cache
from sqcodec.data.cache import build_cache
from sqcodec.data.files import AudioFiles
from sqcodec.data.manifest import Clip
from sqcodec.training.loop import Trainer
from sqcodec.training.recipe import Recipe


def write(path: Path, seed: int, seconds: float = 1.0) -> Clip:
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(16000 * seconds))
    soundfile.write(path, samples, 16000)
    os.utime(path, ns=(seed, seed))  # clocks of file systems may be coarse
    return Clip(path)


def test_a_replaced_clip_is_decoded_again(tmp_path: Path) -> None:
    clips = [write(tmp_path / "a.wav", 1), write(tmp_path / "b.wav", 2)]
    before = build_cache(clips, tmp_path / "cache", 16000)
    files = AudioFiles(clips, 16000)
    write(tmp_path / "b.wav", 3)  # as long as the one before
    after = build_cache(clips, tmp_path / "cache", 16000)
    assert np.array_equal(after.clip(0), before.clip(0)) and not np.array_equal(after.clip(1), before.clip(1))
    assert after.digest != before.digest and AudioFiles(clips, 16000).digest != files.digest


def test_a_clip_that_was_missing_once_comes_back(tmp_path: Path, monkeypatch, caplog) -> None:
    clips = [write(tmp_path / "a.wav", 1), write(tmp_path / "b.wav", 2)]
    real = cache.load

    def fail(path: Path):
        if Path(path).name == "b.wav":
            raise OSError("the disk is away")
        return real(path)

    monkeypatch.setattr(cache, "load", fail)
    for _ in range(2):
        caplog.clear()
        assert len(build_cache(clips, tmp_path / "cache", 16000)) == 1 and "the disk is away" in caplog.text
    monkeypatch.setattr(cache, "load", real)
    assert len(build_cache(clips, tmp_path / "cache", 16000)) == 2


def test_a_cut_cache_is_written_again(tmp_path: Path) -> None:
    clips = [write(tmp_path / "a.wav", 1)]
    before = build_cache(clips, tmp_path / "cache", 16000).clip(0)
    audio = next((tmp_path / "cache").glob("*.i16"))
    audio.write_bytes(audio.read_bytes()[:100])
    assert np.array_equal(build_cache(clips, tmp_path / "cache", 16000).clip(0), before)


@pytest.mark.parametrize("decode_once", [True, False])
def test_a_run_goes_on_with_its_own_clips_only(tiny_config, tmp_path: Path, caplog, decode_once: bool) -> None:
    def settings(folder: str, **data: bool) -> Recipe:
        run = recipe(tiny_config, steps=2)
        changed = {"manifest": str(tmp_path / folder), "decode_once": decode_once} | data
        return dataclasses.replace(run, data=dataclasses.replace(run.data, **changed))

    (tmp_path / "corpus").mkdir()
    write(tmp_path / "corpus" / "a.wav", 1)
    write(tmp_path / "corpus" / "b.wav", 2)
    train(settings("corpus"), tmp_path / "run", tmp_path / "cache")
    shutil.copytree(tmp_path / "corpus", tmp_path / "moved", copy_function=shutil.copyfile)
    assert Trainer(settings("moved"), tmp_path / "run", tmp_path / "cache").resume()  # elsewhere, but the same
    write(tmp_path / "corpus" / "b.wav", 3)
    with pytest.raises(ValueError, match=r"not those that the run in .*--set data.may_change=true"):
        Trainer(settings("corpus"), tmp_path / "run", tmp_path / "cache").resume()
    assert Trainer(settings("corpus", may_change=True), tmp_path / "run", tmp_path / "cache").resume()
    assert "going on, as data.may_change says" in caplog.text

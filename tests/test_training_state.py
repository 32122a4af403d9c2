"""What a run leaves on disk and says: saved states survive a kill, files agree with each other, last words help."""

from __future__ import annotations

import dataclasses
import io
import multiprocessing
import random
import shutil
import time
from pathlib import Path

import pytest
import torch
from test_training_kill import SMALL
from test_training_modes import recipe, rows, train, vp_config

from sqcodec.checkpoint import load_model
from sqcodec.cli import main
from sqcodec.files import remove_partial
from sqcodec.runs import read_state, write_state
from sqcodec.training import tracker as tracker_module
from sqcodec.training.adversary import Adversary
from sqcodec.training.loop import Trainer
from sqcodec.training.recipe import TrainRecipe
from sqcodec.training.tracker import Tracker


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def save_for_ever(path: Path) -> None:
    for number in range(1, 10_000):
        write_state(path, {"tensors": [torch.full((250_000,), float(number)) for _ in range(4)]})


def test_a_kill_while_a_state_is_written_leaves_a_whole_one(tmp_path) -> None:
    path, moments, torn = tmp_path / "state.pt", random.Random(3), 0
    write_state(path, {"tensors": [torch.zeros(1)]})
    for _ in range(12):
        process = multiprocessing.get_context("fork").Process(target=save_for_ever, args=(path,))
        process.start()
        while not list(tmp_path.glob(".state.pt.*")):
            time.sleep(0.001)
        time.sleep(moments.uniform(0.0, 0.02))
        process.kill()
        process.join()
        torn += bool(list(tmp_path.glob(".state.pt.*")))
        remove_partial(tmp_path)
        tensors = read_state(path)["tensors"]
        assert all((tensor == tensors[0][0]).all() for tensor in tensors)
    assert torn >= 2


def test_a_crash_between_state_and_model_is_made_good(tiny_config, tmp_path, cache) -> None:
    whole = train(recipe(tiny_config, steps=3), tmp_path / "run", cache)
    expected = load_model(tmp_path / "run" / "model")[1]
    again = dataclasses.replace(whole.recipe, train=dataclasses.replace(whole.recipe.train, steps=2))
    train(again, tmp_path / "old", cache)
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.copytree(tmp_path / "old" / "model", tmp_path / "run" / "model")  # as a kill after the state leaves it
    train(whole.recipe, tmp_path / "run", cache)
    found, metadata = load_model(tmp_path / "run" / "model")[1:]
    assert metadata["step"] == "3" and all(torch.equal(found[name], expected[name]) for name in expected)


def test_metrics_go_on_where_the_state_is(tiny_config, tmp_path, cache) -> None:
    """Lines behind the saved state, or torn ones, go; those of a resumed run are those of an uninterrupted one."""
    settings = recipe(tiny_config, steps=7, log_every=2, save_every=3)
    train(settings, tmp_path / "whole", cache)
    trainer = Trainer(settings, tmp_path / "parts", cache)
    batch = trainer.batches.get
    trainer.batches.get = lambda step: batch(step) if step < 5 else stop_at(step)  # type: ignore
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "mel": 1.0}\n{"step": 7, "me')
    train(settings, tmp_path / "parts", cache)
    clock = tracker_module.CLOCK
    plain = [
        [{k: v for k, v in row.items() if k != clock} for row in rows(tmp_path / name)] for name in ("whole", "parts")
    ]
    assert plain[0] == plain[1] and [row["step"] for row in plain[0]] == [2, 4, 6]


def stop_at(step: int) -> None:
    raise KeyboardInterrupt


def test_last_words_say_where_the_run_stands(tiny_config, tmp_path, cache, caplog) -> None:
    trainer = Trainer(recipe(tiny_config, save_every=2), tmp_path / "run", cache)
    batch = trainer.batches.get
    trainer.batches.get = lambda step: batch(step) if step < 3 else stop_at(step)  # type: ignore
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert "stopped at step 3 of 8 (interrupted). The last saved state is that of step 2 in" in caplog.text


def test_a_terminal_gets_a_bar(tmp_path, monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    tracker = Tracker(tmp_path, 10)
    tracker.begin(4)
    for _ in range(6):
        tracker.add({"total": 2.5, "mel": 1.25})
    tracker.bar.refresh()
    tracker.end()
    assert "10/10" in terminal.getvalue() and "total 2.5 mel 1.25" in terminal.getvalue()


def test_audio_and_spectrograms_in_tensorboard(tiny_config, tmp_path, cache) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = recipe(tiny_config, steps=2, tensorboard=True)
    data = dataclasses.replace(settings.data, validation_share=0.3, validation_clips=1)
    train(dataclasses.replace(settings, data=data), tmp_path / "run", cache)
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert "mel" in tags["scalars"] and "validation_cvu" in tags["scalars"]
    assert tags["audio"] and tags["images"]
    assert events.Audio(tags["audio"][0])[0].sample_rate == 16000


def test_discriminators_are_published_with_their_optimizer(tiny_config, tmp_path, cache) -> None:
    first = train(
        dataclasses.replace(recipe(tiny_config, steps=3), adversarial=SMALL), tmp_path / "first", cache
    ).adversary  # fmt: skip
    second = Adversary(SMALL, TrainRecipe(), 16000)
    assert first is not None and second.initialise_from(tmp_path / "first")
    moments = [adversary.optimizer.state_dict()["state"] for adversary in (first, second)]
    for key, state in moments[0].items():
        assert all(torch.equal(state[name], moments[1][key][name]) for name in ("step", "exp_avg", "exp_avg_sq"))
    wider = dataclasses.replace(SMALL, period_channels=[6])
    with pytest.raises(ValueError, match=r"period_channels = \[4\], the recipe \[6\]"):
        Adversary(wider, TrainRecipe(), 16000).initialise_from(tmp_path / "first")


def test_a_new_run_starts_from_a_model_by_name(tmp_path, cache, monkeypatch) -> None:
    started: list[Path] = []
    monkeypatch.setattr(Trainer, "initialise_from", lambda self, folder: started.append(Path(folder)))
    monkeypatch.setattr(Trainer, "run", lambda self: None)
    base = Path(__file__).parent.parent / "recipes" / "base.toml"
    data = Path(__file__).parent / "data"
    command = ["train", str(base), "--data", str(data), "--out", str(tmp_path / "run"), "--cache", str(cache)]
    assert main([*command, "--set", "train.compile=false", "--init-from", "speech-3k"]) == 0
    assert (started[0] / "model.safetensors").is_file()


def fit(run: Path, cache: Path) -> None:
    torch.set_num_threads(1)
    main(["codebook", str(run), "--cache", str(cache), "--iterations", "12", "--threads", "1"])


def test_a_killed_codebook_fit_goes_on_bit_for_bit(tiny_config, tmp_path, cache) -> None:
    train(recipe(vp_config(tiny_config, 256), steps=1), tmp_path / "whole", cache)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    fit(tmp_path / "whole", cache)
    process = multiprocessing.get_context("fork").Process(target=fit, args=(tmp_path / "killed", cache))
    process.start()
    state, deadline = tmp_path / "killed" / "codebook" / "fit.pt", time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.join()
    assert 0 < read_state(state)["iteration"] < 12
    latents = state.parent / "latents.0-of-1.pt"
    latents.write_bytes(latents.read_bytes()[:-100])  # made again
    fit(tmp_path / "killed", cache)
    books = [load_model(tmp_path / name / "model")[1]["quantizer.codebook"] for name in ("whole", "killed")]
    assert torch.equal(*books) and len(books[0].unique(dim=0)) == 256

"""A language model's run folder is kept as a codec's: the model is never absent, lines never double, states checked."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from test_lm import tokens as tokens  # noqa: E402, PLC0414 (a fixture)

from sqcodec.lm import train as training  # noqa: E402
from sqcodec.lm.train import LMRecipe, load_lm, train  # noqa: E402

SMALL = LMRecipe(hidden_size=8, num_layers=1, num_heads=1, intermediate_size=16, head_width=8, length=50, batch_size=2,
                 steps=12, warmup=1, bfloat16=False, report=2, score=4, validation=0.2)  # fmt: skip


def lines(run: Path) -> list[dict]:
    """Without clocks."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in row if name not in ("seconds", "tokens_per_second")} for row in found]


@pytest.fixture
def stop(monkeypatch):
    """Calls something before a step, by its number from 1."""
    real, count = training._step, [0]

    def set_stop(when: int, what) -> None:
        count[0] = 0

        def step(*arguments) -> float:
            count[0] += 1
            if count[0] == when:
                what()
            return real(*arguments)

        monkeypatch.setattr(training, "_step", step)

    return set_stop


def crash() -> None:
    raise RuntimeError("crash")


def test_a_resumed_run_repeats_no_line_and_survives_damage(tokens, tmp_path: Path, stop, caplog) -> None:
    whole = train(tokens, tmp_path / "whole", SMALL)
    run = tmp_path / "parts"
    stop(7, crash)  # six steps are done, four saved: the line of step 6 is there, and comes again
    with pytest.raises(RuntimeError, match="crash"):
        train(tokens, run, SMALL)
    assert lines(run)[-1]["step"] == 6
    stop(6, crash)
    with pytest.raises(RuntimeError, match="crash"):
        train(tokens, run, SMALL)
    damaged = bytearray((run / "state.pt").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (run / "state.pt").write_bytes(damaged)
    stop(0, crash)
    assert train(tokens, run, SMALL) == whole
    assert "going on from the state before it, of step 4" in caplog.text
    assert lines(run) == lines(tmp_path / "whole")
    assert train(tokens, run, SMALL) == whole and lines(run) == lines(tmp_path / "whole")  # a finished run


def test_the_model_is_there_at_every_moment(tokens, tmp_path: Path, monkeypatch) -> None:
    train(tokens, tmp_path / "run", SMALL)
    removed: list[str] = []
    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path, **more: removed.append(Path(path).name) or real(path, **more))
    monkeypatch.setattr(Path, "rename", lambda self, target: crash())  # the last moment before a new model is there
    model = load_lm(tmp_path / "run")
    with pytest.raises(RuntimeError, match="crash"):
        training._save(tmp_path / "run", model, torch.optim.AdamW(model.parameters()), 13, 0.0)
    assert "model" not in removed and not list((tmp_path / "run").glob("*.partial"))
    load_lm(tmp_path / "run")


def test_a_signal_saves(tokens, tmp_path: Path, stop, caplog) -> None:
    whole = train(tokens, tmp_path / "whole", SMALL)
    stop(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        train(tokens, tmp_path / "run", SMALL)
    assert "stopped at step 6 of 12; step 6 is saved" in caplog.text
    stop(0, crash)
    assert train(tokens, tmp_path / "run", SMALL) == whole

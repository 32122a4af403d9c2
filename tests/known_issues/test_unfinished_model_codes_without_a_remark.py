"""A model whose training is not done is named as such where it is used, on stderr."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_training_modes import recipe, train

from sqcodec.cli import main
from sqcodec.training.loop import Trainer

CLIP = Path(__file__).parent.parent / "data" / "84-121123-0002.flac"


def test_info_and_encode_say_how_far_a_run_is(tiny_config, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    shutil.copy(CLIP, tmp_path / "a.flac")
    encode = ["encode", str(tmp_path / "a.flac"), "--model", str(run), "--force", "--quiet"]
    trainer = Trainer(recipe(tiny_config, steps=3), run, tmp_path / "cache")
    batch = trainer.batches.get
    for most, remark in ((0, "is untrained: it is at step 0 of 3"), (2, "is at step 2 of 3 of its training")):
        trainer.batches.get = lambda step, most=most: batch(step) if step < most else crash()  # type: ignore
        with pytest.raises(RuntimeError):
            trainer.run()
        assert main(encode) == 0
        said = capsys.readouterr()
        assert f"note: '{run}' {remark}" in said.err and "note" not in said.out
    assert main(["info", str(run), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["steps_done"], values["steps"]) == (2, 3)
    train(recipe(tiny_config, steps=3), run, tmp_path / "cache")
    assert main(encode) == 0 and "note" not in capsys.readouterr().err


def crash() -> None:
    raise RuntimeError

"""A recipe without a network, there to be laid over another, trained a default network without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import failure

from sqcodec.cli import main
from sqcodec.training.recipe import load_recipe

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("name", ["vp", "fsq", "fsp_16384"])
def test_it_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", f"quantizers/{name}", "--data", str(DATA), "--out", str(tmp_path / "run")]) == 1
    message = failure(capsys)
    assert "describes no network" in message and f'base = ["base.toml", "{name}.toml"]' in message
    assert not (tmp_path / "run").exists()


def test_over_another_it_counts(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = ["base.toml", "quantizers/vp.toml"]\n')
    model = load_recipe(tmp_path / "mine.toml").model
    assert model.quantizer.kind == "vp" and model.encoder.dim == 256

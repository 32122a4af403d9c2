"""Who installed the package had no recipes, so that the first lines of docs/training.md could not work."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import failure

from sqcodec.cli import main
from sqcodec.training.recipe import load_recipe
from sqcodec.training.recipes import find_recipe, recipe_names, recipe_summary

ROOT = Path(__file__).parents[2]


def test_they_are_listed_with_what_they_are(capsys: pytest.CaptureFixture) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(recipe_names()) > 30
    assert any(line.startswith("base ") and "one CPU core is enough" in line for line in lines)
    assert all(recipe_summary(name) for name in recipe_names())


def test_they_are_found_by_name_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_recipe(find_recipe("base")) == load_recipe(find_recipe("recipes/base.toml"))
    (tmp_path / "base").write_text("")
    assert find_recipe("base") == Path("base")
    with pytest.raises(FileNotFoundError, match="No recipe 'bsae'.*did you mean 'base'.*sqcodec recipes"):
        find_recipe("bsae")


def test_copies_can_be_changed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["recipes", "--copy", "libritts_3k_vp", "--out", str(tmp_path)]) == 0
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.toml")} == {
        "libritts_3k_vp.toml", "libritts_3k.toml", "quantizers/vp.toml",
    }  # fmt: skip
    assert load_recipe(tmp_path / "libritts_3k_vp.toml") == load_recipe(ROOT / "recipes" / "libritts_3k_vp.toml")
    capsys.readouterr()
    assert main(["recipes", "--copy", "libritts_3k", "--out", str(tmp_path)]) == 1
    assert "--force" in failure(capsys)

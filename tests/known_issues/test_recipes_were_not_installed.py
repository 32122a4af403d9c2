"""Who installed the package had no recipes, so that the first lines of docs/training.md could not work."""

from __future__ import annotations

import subprocess
import sys
import zipfile
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
    with pytest.raises(FileNotFoundError, match="No recipe 'bsae'.*Did you mean 'base'.*sqcodec recipes"):
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


def test_a_wheel_has_them(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "build", "-b", str(tmp_path / "build")]
    command += ["egg_info", "-e", str(tmp_path), "bdist_wheel", "-d", str(tmp_path), "-b", str(tmp_path / "wheel")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if name.endswith(".toml")}
        assert {f"sqcodec/recipes/{name}.toml" for name in recipe_names()} <= names
        assert "sqcodec/models/speech-3k/config.toml" in names and "sqcodec/configs/published/l3ac-1kbps.toml" in names
        file.extractall(tmp_path / "installed")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import sqcodec; print(sqcodec.__file__)\n"
        "from sqcodec.cli import main; main(['recipes'])"
    )
    listed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "installed")],
        cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(tmp_path) in listed.stdout and "\nbase " in listed.stdout

"""Tables of egs/mini/codec1/variants.py: each variant is a recipe that builds, and differs from the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sqcodec.nn import build_network
from sqcodec.training.recipe import load_recipe

FOLDER = Path(__file__).parents[1] / "egs" / "mini" / "codec1"
TABLES = sorted((FOLDER / "variants").glob("*.toml"))
sys.path.insert(0, str(FOLDER))
import variants  # noqa: E402


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_variant_builds_and_differs(path: Path) -> None:
    steps, table = variants.read_table(path)
    recipes = [load_recipe(variants.RECIPES / v.recipe, list(v.overrides)) for v in table.values()]
    assert steps > 0 and len(recipes) > 1
    for number, recipe in enumerate(recipes):
        assert recipe not in recipes[:number]
        with torch.device("meta"):
            build_network(recipe.model)


def test_an_unknown_variant_is_named() -> None:
    command = [sys.executable, str(FOLDER / "variants.py"), str(TABLES[0]), "manifest", "out", "--only", "no such"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 2 and "no such" in answer.stderr and "Choose of:" in answer.stderr

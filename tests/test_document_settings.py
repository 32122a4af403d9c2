"""docs/recipes.md is made from the types of the settings, and is current."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sqcodec.tables import field_types
from sqcodec.training.recipe import SECTIONS

ROOT = Path(__file__).parents[1]


def test_the_page_of_settings_is_current() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "document_settings.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "run scripts/document_settings.py"


def test_it_has_every_setting_of_a_recipe() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for name, section in SECTIONS.items():
        part = text.partition(f"## [{name}]")[2].partition("\n## ")[0]
        assert all(f"| `{setting}` |" in part for setting in field_types(section)), name

"""The notebooks run, cell by cell; training takes seconds there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sqcodec import audio

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SHORTER = {
    "minutes = 10": "minutes = 0.05",
    "--out runs/mine": "--out runs/mine --set train.compile=false --set data.batch_size=1",
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, speech, tmp_path: Path, monkeypatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    (tmp_path / "recordings/anna").mkdir(parents=True)
    for place, name in enumerate(("one", "two", "three")):
        audio.save(tmp_path / f"recordings/anna/{name}.wav", speech[place * 64000 :][:64000], 16000)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    text = path.read_text(encoding="utf-8")
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    notebook = nbformat.reads(text, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # what is committed is small
    nbclient.NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(
        output.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    )
    assert "error" not in said.lower(), said  # of commands, whose exit status a cell does not check


def test_there_are_two() -> None:
    assert len(NOTEBOOKS) == 2

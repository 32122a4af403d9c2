"""The page of sounds: made from an evaluation, small, and whole."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import soundfile

from sqcodec.evaluation.results import Results, Row
from sqcodec.evaluation.work import clip_path, save_clip

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from make_sounds import make_page  # noqa: E402


def test_a_page_is_made_of_an_evaluation(tmp_path: Path, speech: np.ndarray) -> None:
    systems = {
        "opus-6": {"label": "Opus 6", "text": "opus:6"},
        "original": {"label": "original", "text": "original"},
        "failed": {"label": "failed", "text": "opus:8"},
    }
    rows = [Row("opus-6", "talk", "talk.wav", scores={"stoi": 0.8765}), Row("original", "talk", "talk.wav")]
    rows.append(Row("failed", "talk", "talk.wav", status="failed"))
    metrics = {"stoi": {"label": "STOI", "digits": 3}}
    summary = {"opus-6": {"payload_bit_rate": 5800.0}}
    Results("the command", "", "", 16000, {}, metrics, systems, summary, {}, [], {}, rows).save(tmp_path)
    for system in ("reference", "opus-6", "original"):
        save_clip(clip_path(tmp_path, system, "talk"), speech[:32000])
    docs = tmp_path / "docs"
    (docs / "sounds").mkdir(parents=True)
    (docs / "sounds" / "old.mp3").touch()
    size = make_page(tmp_path, docs, 1.0, "| `talk.wav` | anna, Dutch | CC0 1.0 |\n\nmade by anna")
    page = (docs / "sounds.md").read_text()
    assert "| 5.80 | 0.876 |" in page and "the command" in page and "made by anna" in page
    assert "## Speaker anna, Dutch\n" in page
    assert "failed" not in page and page.count("<audio") == 2
    assert sorted(path.name for path in (docs / "sounds").iterdir()) == ["talk-opus-6.mp3", "talk-reference.mp3"]
    assert size < 2 * 9000 and soundfile.info(docs / "sounds" / "talk-opus-6.mp3").duration >= 1


def test_the_page_of_the_documentation_is_whole_and_small() -> None:
    named = set(re.findall(r'src="([^"]+)"', (ROOT / "docs/sounds.md").read_text("utf-8")))
    there = {f"sounds/{path.name}" for path in (ROOT / "docs/sounds").iterdir()}
    assert named == there and len(named) > 20
    assert sum((ROOT / "docs" / name).stat().st_size for name in named) < 2e6

"""scripts/model_card.py writes what was measured and leaves what was said by hand."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

from sqcodec import checkpoint
from sqcodec.codec import Codec
from sqcodec.evaluation.results import Results, Row
from sqcodec.evaluation.scorers import all_metrics
from sqcodec.evaluation.summary import break_down, compare, summarise
from sqcodec.training.recipe import load_recipe

SCRIPT = Path(__file__).parents[1] / "scripts" / "model_card.py"
ADULT, CHILD = "oceans (Mandarin speakers, adult)", "oceans (Mandarin speakers, child)"


def evaluation(folder: Path) -> Path:
    """Two rates and Opus on six clips of six speakers."""
    systems = {
        "nested-1": {"text": "sqcodec:nested:1", "label": "nested @ 1 kbit/s", "bit_rate": 1000.0},
        "nested-2.5": {"text": "sqcodec:nested:2.5", "label": "nested @ 2.5 kbit/s", "bit_rate": 2500.0},
        "opus-6": {"text": "opus:6", "label": "Opus 6", "bit_rate": 6000.0},
    }
    sources = [ADULT, ADULT, CHILD, CHILD, "VCTK, speaker p1", "VCTK, speaker p2"]
    rows = [
        Row(system, f"clip{i}", "", f"s{i}", source, scores={"pesq_wb": 2 + n / 2 + i / 100, "stoi": 0.9})
        for n, system in enumerate(systems)
        for i, source in enumerate(sources)
    ]
    names = ["pesq_wb", "stoi"]
    metrics = {name: vars(all_metrics()[name]) for name in names}
    Results(
        "sqcodec evaluate --manifest /home/ann/m.tsv --kbps 1,2.5", "2026-11-25 10:00 UTC", "manifest.tsv", 16000, {},
        metrics, systems,
        summarise(rows, systems, names, folder), {"source": break_down(rows, systems, names, "source")},
        compare(rows, "nested-1", systems, names), {}, rows, "nested-1",
    ).save(folder)  # fmt: skip
    return folder


def test_a_card_is_one_command(nested: Codec, tmp_path, monkeypatch) -> None:
    model, run = tmp_path / "nested", tmp_path / "first"
    checkpoint.save_model(model, nested.config, nested.network.state_dict())
    corpus = "path\tsplit\tspeaker\tseconds\tsource\na.wav\ttrain\tann\t7200\tVCTK, speaker p9\n"
    (tmp_path / "corpus.tsv").write_text(corpus)
    run.mkdir()
    recipe = load_recipe(SCRIPT.parents[1] / "recipes" / "speech_3k.toml")
    (run / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    validation = {"step": 100, "validation_stoi": 0.9, "validation_pesq_wb": 2.5}
    rows = [{"step": 50, "speed": 18.432}, validation]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [str(SCRIPT), str(model), "--run", str(run), "--manifest", str(tmp_path / "corpus.tsv")]
    monkeypatch.setattr(sys, "argv", [*command, "--evaluation", str(evaluation(tmp_path))])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    card = (model / "CARD.md").read_text(encoding="utf-8")
    for text in (
        "for 1 to 2.667 kbit/s: ", "of 6 to 16 bits (", "not trained with lost tokens", "30 ms of lookahead",
        "6 clips of 6 speakers", "evaluate --manifest m.tsv --kbps",
        f"| {ADULT} | 2, 2 | nested @ 1 kbit/s | 2.00 ±", f"| {CHILD} | 2, 2 |", "|  |  | nested @ 2.5 kbit/s |",
        "| VCTK | 2, 2 |", "| Opus 6 | 6.00 |", "| nested @ 1 kbit/s | Opus 6 | -1.00 (-1.00 to -1.00) |", "mel 6",
        "| VCTK | 2.0 | 1 |",
        "- first: 100 steps of 16 x 1.152 s", "pesq_wb 2.500", "## Attributions", "## Known weaknesses",
    ):  # fmt: skip
        assert text in card, f"{text!r} is missing in:\n{card}"
    by_hand = card.replace("(what it cannot do)", "It cannot sing.").replace("(who made", "Ann made")
    (model / "CARD.md").write_text(by_hand, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(model)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert (model / "CARD.md").read_text(encoding="utf-8") == by_hand

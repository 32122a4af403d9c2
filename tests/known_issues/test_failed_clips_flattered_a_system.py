"""A system that failed on the hard clips was averaged over the easy ones, beside systems that coded all."""

from __future__ import annotations

from sqcodec.evaluation.results import Row
from sqcodec.evaluation.summary import break_down, compare, summarise

SCORES = {"fails": [4.0, 4.0, None], "codes": [4.0, 4.0, 1.0], "never": [None, None, None]}


def test_means_and_comparisons_are_over_clips_that_all_systems_scored(tmp_path) -> None:
    rows = [
        Row(
            system,
            f"clip{i}",
            "",
            speaker=f"s{i}",
            source="x",
            status="failed" if score is None else "ok",
            scores={} if score is None else {"pesq_wb": score},
        )
        for system, scores in SCORES.items()
        for i, score in enumerate(scores)
    ]
    systems: dict[str, dict] = {name: {} for name in SCORES}
    summary = summarise(rows, systems, ["pesq_wb"], tmp_path)
    for name in ("fails", "codes"):
        assert summary[name]["metrics"]["pesq_wb"]["mean"] == 4.0
        assert summary[name]["metrics"]["pesq_wb"]["count"] == 2
    assert summary["fails"]["failures"] == ["clip2"] and summary["codes"]["failures"] == []
    assert summary["never"]["metrics"] == {}  # and does not take the others' clips away
    assert break_down(rows, systems, ["pesq_wb"], "corpus")["x"]["codes"]["pesq_wb"]["mean"] == 4.0
    (pair,) = compare(rows, "codes", systems, ["pesq_wb"])
    assert pair["second"] == "fails" and pair["difference"] == 0 and pair["count"] == 2

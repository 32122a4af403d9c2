"""Intervals and p values were over clips, as if 79 clips of one speaker told as much as those of 79 people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sqcodec.evaluation.evaluate import Options, evaluate
from sqcodec.evaluation.report import render
from sqcodec.evaluation.statistics import bootstrap_mean, compare_paired
from sqcodec.evaluation.utterances import list_utterances

RATE = 16000


def test_intervals_are_as_wide_as_speakers_differ() -> None:
    """20 speakers of 10 clips that differ by .25, clips by .05: the mean's standard error is .056, not .018."""
    rng = np.random.default_rng(0)
    halves = []
    for _ in range(20):
        values = np.repeat(0.25 * rng.standard_normal(20), 10) + 0.05 * rng.standard_normal(200)
        found = bootstrap_mean(values, [f"s{i // 10}" for i in range(200)])
        halves.append((found.high - found.low) / 2)
    assert np.mean(halves) == pytest.approx(1.96 * 0.25 / np.sqrt(20), rel=0.1)
    assert found.count == 200 and found.speakers == 20
    assert bootstrap_mean(values, [""] * 200) == bootstrap_mean(values)  # not known: each a speaker of its own


def test_a_difference_between_a_few_speakers_is_not_certain() -> None:
    """One speaker of 80 clips for the first system, four of 5 against it: no p value below 2 / 2^5."""
    first = {f"c{i}": 0.1 if i < 80 else -0.02 for i in range(100)}
    speakers = {name: "big" if int(name[1:]) < 80 else f"s{int(name[1:]) % 4}" for name in first}
    second = dict.fromkeys(first, 0.0)
    assert compare_paired(first, second, ("a", "b"), "stoi", True).p_value < 0.001
    found = compare_paired(first, second, ("a", "b"), "stoi", True, speakers)
    assert found.p_value > 0.05 and found.low < 0 < found.high and found.speakers == 5


def test_the_report_says_whose_intervals_they_are(tmp_path: Path, speech: np.ndarray) -> None:
    lines = ["path\tspeaker\tsource"]
    for index in range(4):
        soundfile.write(tmp_path / f"{index}.wav", speech[index * RATE : (index + 2) * RATE], RATE)
        lines.append(f"{index}.wav\ts{index // 2}\t{'English-clean (x)' if index < 3 else 'Dutch, one speaker'}")
    (tmp_path / "manifest.tsv").write_text("\n".join(lines) + "\n")
    run = {"systems": ["original"], "metrics": ["stoi"], "jobs": 1}

    def markdown(options: Options) -> str:
        return render("report.md", evaluate(options), tmp_path)

    report = markdown(Options(str(tmp_path / "manifest.tsv"), out=tmp_path / "a", **run))
    assert "over 2 speakers" in report and "| English | original | 3 | 2 |" in report
    assert "| Dutch | original | 1 | 1 |" in report
    one = markdown(Options(str(tmp_path / "manifest.tsv"), out=tmp_path / "a", limit=1, **run))
    assert "Where there is one speaker, the interval is over clips" in one
    report = markdown(Options(str(tmp_path), out=tmp_path / "b", **run))
    assert "Who speaks in 4 clips is not known: each counts as a speaker of its own" in report


def test_a_limit_takes_as_many_speakers_as_it_can(tmp_path: Path) -> None:
    lines = ["path\tspeaker"] + [f"big{i}.wav\tbig" for i in range(20)] + [f"s{i}.wav\ts{i}" for i in range(4)]
    (tmp_path / "manifest.tsv").write_text("\n".join(lines) + "\n")
    chosen = [clip.speaker for clip in list_utterances(tmp_path / "manifest.tsv", limit=7)]
    assert chosen == ["big"] * 3 + ["s0", "s1", "s2", "s3"]
    chosen = [clip.speaker for clip in list_utterances(tmp_path / "manifest.tsv", limit=2)]
    assert chosen == ["big", "s1"]

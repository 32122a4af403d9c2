"""WER was the mean of clips' rates: one made-up sentence for a clip of two words outweighed everything else."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sqcodec.evaluation import recognition
from sqcodec.evaluation.results import Results, Row
from sqcodec.evaluation.scorers import Pair, all_metrics
from sqcodec.evaluation.summary import summarise
from sqcodec.evaluation.tables import how_averaged

ORIGINAL, DECODED = np.zeros(16000, np.float32), np.ones(16000, np.float32)


class Recogniser:
    """Hears what it is told to; keeps the settings that it was called with."""

    def __init__(self, original: str, *decoded: tuple[str, float]) -> None:
        self.heard = {0.0: [(original, 1.0)], 1.0: list(decoded)}
        self.languages = {"zh": "\u6211\u542c", "en": original}
        self.calls: list[dict[str, Any]] = []

    def transcribe(self, samples: np.ndarray, **settings: Any) -> tuple[list[Any], Any]:
        self.calls.append(settings)
        heard, language = self.heard[float(samples[0])], settings["language"]
        if self.languages.get(language) == "\u6211\u542c":
            heard = [(self.languages[language], 1.0)]
        found = [SimpleNamespace(text=text, compression_ratio=ratio) for text, ratio in heard]
        likely = None if language else [("zh", 0.6), ("en", 0.3), ("la", 0.1)]
        return found, SimpleNamespace(all_language_probs=likely)


def rates(monkeypatch: pytest.MonkeyPatch, listener: Recogniser, text: str = "") -> dict[str, float]:
    seeds: list[int] = []
    listener.calls.clear()
    fake = ModuleType("ctranslate2")
    fake.set_random_seed = seeds.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ctranslate2", fake)
    monkeypatch.setattr(recognition, "recogniser", lambda: listener)
    found = recognition.error_rates(Pair(ORIGINAL, DECODED, text=text))
    assert len(seeds) == len(listener.calls)
    return found


def test_errors_are_counted_over_all_words(tmp_path) -> None:
    rows = [
        Row("a", f"clip{i}", "", speaker=f"s{i}", scores={"wer": rate, "words": words})
        for i, (rate, words) in enumerate([(0.0, 98.0), (1000.0, 2.0)])
    ]
    interval = summarise(rows, {"a": {}}, ["wer"], tmp_path)["a"]["metrics"]["wer"]
    assert interval["mean"] == pytest.approx(20)  # 20 errors, 100 words


def test_the_manifest_s_transcript_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Recogniser("we heard this", ("We call it bear.", 1.0))
    assert rates(monkeypatch, listener, "WE CALL IT BEAR")["wer"] == 0
    assert listener.calls[-1]["language"] == "en"  # taken for Mandarin, by the accent
    listener.languages = {}
    found = rates(monkeypatch, listener)
    assert found["words"] == 3 and found["wer"] == 100


def test_guards_against_invented_text_are_on_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Recogniser("two words", ("two words", 1.0), ("and on and on " * 40, 9.0))
    listener.languages = {}
    assert rates(monkeypatch, listener)["wer"] == 0
    settings = [{key: value for key, value in call.items() if key != "language"} for call in listener.calls]
    assert settings[0] == settings[1]
    assert settings[0]["no_speech_threshold"] and settings[0]["compression_ratio_threshold"]
    assert len(settings[0]["temperature"]) > 1  # a repetition is tried again only at another one


def test_scores_of_before_are_counted_again() -> None:
    row = Row("a", "clip", "", text="now", scores={"wer": 10.0, "words": 10.0, "stoi": 0.9})
    assert row.missing(["wer", "stoi"], "now") == []
    assert row.missing(["wer", "stoi"], "other") == ["wer"]
    assert Row("a", "clip", "", scores={"wer": 10.0}).missing(["wer"], "") == ["wer"]


def test_the_table_says_which_transcripts() -> None:
    rows = [Row("a", "x", "", speaker="s", text="yes"), Row("a", "y", "", speaker="t")]
    metrics = {"wer": {**all_metrics()["wer"].__dict__}}
    results = Results("", "", "", 16000, {}, metrics, {}, {}, {}, [], {}, rows)
    assert "manifest's transcript in 1 clips and what the recogniser hears in the original in 1" in how_averaged(
        results
    )

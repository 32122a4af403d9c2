"""Unknown verbs and options got no suggestion, errors the usage of another parser; verbs had words of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sqcodec.cli import build_parser, main
from sqcodec.evaluation.utterances import list_utterances


@pytest.mark.parametrize(
    ("command", "said", "usage"),
    [
        (["enocde", "a.wav"], "did you mean 'encode'?", "usage: sqcodec "),
        (["encode", "a.wav", "--modle", "x"], "did you mean '--model'?", "usage: sqcodec encode "),
        (["lm", "judge", "a", "--jsno"], "did you mean '--json'?", "usage: sqcodec lm judge "),
        (["tokens", "a", "--out", "b", "--format=parkett"], "did you mean 'parquet'?", "usage: sqcodec tokens "),
        (["entropy", "mesure"], "did you mean 'measure'?", "usage: sqcodec entropy "),
    ],
)
def test_the_nearest_word_and_the_usage_of_the_verb(command, said, usage, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(command)
    errors = capsys.readouterr().err
    assert stop.value.code == 2 and said in errors and errors.startswith(usage)


def test_a_mistake_that_is_found_later_shows_the_usage_too(tmp_path: Path, capsys) -> None:
    assert main(["evaluate", "--out", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("usage: sqcodec evaluate ") and "name audio files, folders or manifests" in errors


@pytest.mark.parametrize(
    ("command", "name", "found"),
    [
        (["encode", "in.wav", "--kbps", "2", "out.sqc"], "inputs", ["in.wav", "out.sqc"]),
        (["encode", "in.wav", "--force", "-"], "inputs", ["in.wav", "-"]),
        (["decode", "--force", "a.sqc", "--format", "flac", "b.sqc", "--json", "c.sqc"], "inputs",
         ["a.sqc", "b.sqc", "c.sqc"]),
        (["evaluate", "a.wav", "--out", "report", "b.wav"], "inputs", ["a.wav", "b.wav"]),
        (["lm", "continue", "run", "--seed", "3", "a.wav", "--force", "b.wav"], "inputs", ["a.wav", "b.wav"]),
        (["import", "a.pt", "--as", "mine", "b.pt"], "source", ["a.pt", "b.pt"]),
    ],
)  # fmt: skip
def test_files_stand_on_both_sides_of_an_option(command, name, found) -> None:
    assert getattr(build_parser().parse_args(command), name) == found


def test_one_file_too_many_is_a_mistake_on_both_sides_of_an_option(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["tokens", "corpus", "--out", "tokens", "another"])
    errors = capsys.readouterr().err
    assert stop.value.code == 2 and errors.startswith("usage: sqcodec tokens ") and "another" in errors


def test_no_verb_lists_them(capsys) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(verb in listed for verb in ("encode", "evaluate", "train", "token-report"))


@pytest.mark.parametrize("verb", ["tokens", "token-report", "prepare"])
def test_a_corpus_is_given_first_or_behind_data(verb: str) -> None:
    from sqcodec.cli.options import corpus

    out = ["--out", "x"] if verb != "token-report" else []
    for given in (["recordings"], ["--data", "recordings"]):
        assert corpus(build_parser().parse_args([verb, *given, *out])) == "recordings"


def test_former_spellings_work_with_a_hint(capsys) -> None:
    found = build_parser().parse_args(["tokens", "a", "--out", "b", "--workers", "3"])
    assert found.jobs == 3 and "--workers is now --jobs" in capsys.readouterr().err
    found = build_parser().parse_args(["evaluate", "--manifest", "a.tsv", "--out", "b"])
    assert found.data == "a.tsv" and "--manifest is now --data" in capsys.readouterr().err


def test_evaluate_takes_what_encode_takes(tmp_path: Path) -> None:
    for name in ("a/one", "a/two", "three"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(1600), 16000)
    found = list_utterances([tmp_path / "a", tmp_path / "three.wav"])
    assert [clip.name for clip in found] == ["one", "two", "three"]
    with pytest.raises(FileNotFoundError, match="four.wav"):
        list_utterances([tmp_path / "four.wav"])

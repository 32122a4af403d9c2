"""Which inputs become which outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqcodec.audio import SUFFIXES
from sqcodec.cli.files import Job, PlanError, plan


@pytest.fixture(autouse=True)
def corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ["a.wav", "in/b.WAV", "in/deep/c.d.flac", "in/deep/notes.txt", "in/.git/x.wav", "in/[1].wav"]:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def pairs(inputs: list[str], out: str | None = None) -> list[tuple[str, str]]:
    jobs = plan(inputs, out, wanted=SUFFIXES, suffix=".sqc", output_suffixes=[".sqc"])
    assert not any(job.problem for job in jobs), jobs
    return [(job.source, job.target) for job in jobs]


@pytest.mark.parametrize(
    "inputs, out, expected",
    [
        (["a.wav"], None, [("a.wav", "a.sqc")]),
        (["a.wav", "x.sqc"], None, [("a.wav", "x.sqc")]),
        (["a.wav", "-"], None, [("a.wav", "-")]),
        (["a.wav"], "-", [("a.wav", "-")]),
        (["a.wav"], "x.sqc", [("a.wav", "x.sqc")]),
        (["-"], None, [("-", "-")]),
        (["-", "x.sqc"], None, [("-", "x.sqc")]),
        (["-"], "x.sqc", [("-", "x.sqc")]),
        (["a.wav"], "out", [("a.wav", "out/a.sqc")]),
        (["in/deep/c.d.flac", "a.wav"], "out", [("in/deep/c.d.flac", "out/c.d.sqc"), ("a.wav", "out/a.sqc")]),
        (
            ["in"],
            "out",
            [("in/[1].wav", "out/[1].sqc"), ("in/b.WAV", "out/b.sqc"), ("in/deep/c.d.flac", "out/deep/c.d.sqc")],
        ),
        (["in/deep"], None, [("in/deep/c.d.flac", "in/deep/c.d.sqc")]),
        (["in/*.WAV"], "out", [("in/b.WAV", "out/b.sqc")]),
        (["in/**/*.flac"], "out", [("in/deep/c.d.flac", "out/deep/c.d.sqc")]),
        (["in/[1].wav"], None, [("in/[1].wav", "in/[1].sqc")]),  # a file's own name is no pattern
        (["a.wav", "/dev/null"], None, [("a.wav", "/dev/null")]),
    ],
)
def test_outputs(inputs, out, expected):
    assert pairs(inputs, out) == expected


def test_an_existing_output_file_is_a_file_and_a_folder_a_folder():
    Path("x.sqc").touch()
    Path("y.sqc").mkdir()
    assert pairs(["a.wav"], "x.sqc") == [("a.wav", "x.sqc")]
    assert pairs(["a.wav"], "y.sqc") == [("a.wav", "y.sqc/a.sqc")]
    with pytest.raises(PlanError, match="is a file"):
        pairs(["in"], "a.wav")


@pytest.mark.parametrize(
    "inputs, out",
    [(["a.wav", "in", "x.sqc"], None), (["in", "x.sqc"], None), (["in/*", "x.sqc"], None), (["in"], "-")],
)
def test_one_output_for_several_inputs(inputs, out):
    with pytest.raises(PlanError, match="use --out FOLDER"):
        pairs(inputs, out)


def test_two_inputs_with_one_output_are_a_problem_of_the_second():
    Path("in/b.flac").touch()
    jobs = plan(["in"], None, wanted=SUFFIXES, suffix=".sqc", output_suffixes=[".sqc"])
    assert [job.source for job in jobs if job.problem] == ["in/b.flac"]
    assert "b.sqc is already the output of in/b.WAV" in str(jobs)


def test_nothing_found_is_a_problem_of_that_input():
    Path("empty").mkdir()
    jobs = plan(["empty", "none*", "a.wav"], None, wanted=[".wav"], suffix=".sqc", output_suffixes=[".sqc"])
    assert [bool(job.problem) for job in jobs] == [True, True, False]
    assert jobs[2] == Job("a.wav", "a.sqc")

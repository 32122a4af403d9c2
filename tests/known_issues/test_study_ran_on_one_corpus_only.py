"""A study on one's own folder: every run ended in a traceback about speakers that the folder has none of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_helpers import failure

from sqcodec.cli import main
from sqcodec.study import run as study_run
from sqcodec.study.plan import Job, Plan, load_plan
from sqcodec.study.run import fit_to_corpus, read_results, run_study

ROOT = Path(__file__).parents[2]
STUDY, DATA = ROOT / "recipes" / "study.toml", ROOT / "tests" / "data"


def plan_of(*rows: str) -> Plan:
    return load_plan(STUDY, [f"data.manifest={DATA}"], rows)


def test_speakers_are_held_out_by_share_where_the_named_ones_are_unknown() -> None:
    plan = fit_to_corpus(plan_of("fsp"))
    data = plan.recipe(plan.jobs()[0]).data
    assert data.validation_speakers == [] and data.validation_share == 0.1
    named = load_plan(STUDY, [f"data.manifest={DATA}", 'data.validation_speakers=[]'], ["fsp"])
    assert fit_to_corpus(named) == named
    with pytest.raises(ValueError, match="No corpus"):
        fit_to_corpus(load_plan(STUDY, [], ["fsp"]))


def test_only_some_rows() -> None:
    jobs = plan_of("fsp", "vq").jobs()
    assert {job.row for job in jobs} == {"fsp", "vq"}
    assert [job.key for job in jobs] == [job.key for job in load_plan(STUDY).jobs() if job.row in ("fsp", "vq")]
    with pytest.raises(ValueError, match="Unknown row 'fps'. Choose from: none, fsq"):
        plan_of("fps")


def test_an_error_that_all_runs_share_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("fsp", "vq")
    reasons = iter(["no clips", "no clips", "no clips"])

    def fail(plan: Plan, job: Job, *_: Any) -> dict[str, Any]:
        return study_run._failure(plan, job, next(reasons))

    monkeypatch.setattr(study_run, "_apart", fail)
    with pytest.raises(ValueError, match="failed alike.*no clips"):
        run_study(plan, tmp_path, None)
    assert next(reasons) == "no clips" and not read_results(tmp_path)  # two were tried; the next call tries again


def test_an_error_of_one_run_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("fsp")

    def first_fails(plan: Plan, job: Job, *_: Any) -> dict[str, Any]:
        return study_run._failure(plan, job, "not finite") if job == plan.jobs()[0] else {"key": job.key, "mel": 1.0}

    monkeypatch.setattr(study_run, "_apart", first_fails)
    run_study(plan, tmp_path, None)
    assert [result.get("failed") for result in read_results(tmp_path).values()].count("not finite") == 1
    assert len(read_results(tmp_path)) == len(plan.jobs())


def test_one_line_for_a_study_without_a_corpus(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["study", "study", "--out", str(tmp_path), "--only", "fsp", "--no-plots"]) == 1
    assert failure(capsys).count("\n") == 1

"""The quantizer study: plans, runs that resume, numbers on cases that are known, tables and plots."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch

from sqcodec.cli import main
from sqcodec.config import quantizer_config
from sqcodec.study.plan import Claim, Job, load_plan
from sqcodec.study.plots import write_plots
from sqcodec.study.report import claims_table
from sqcodec.study.run import read_results
from sqcodec.study.scores import codebook_numbers
from sqcodec.study.summary import Line, difference, summarise
from sqcodec.study.watch import collapses, perplexity

DATA = Path(__file__).parent / "data"
RECIPES = Path(__file__).parent.parent / "recipes"

STUDY = """
base = "base.toml"
tokens = 1000
[size.16]
levels = [4, 4]
dim = 2
books = [4, 4]
[row.fsp]
label = "FSP"
quantizer = { kind = "fsp" }
[row.vp]
label = "VP"
quantizer = { kind = "vp" }
overrides = { "vp.neighbours_per_code" = 2, "vp.reference_per_code" = 2, "vp.enqueue_rate" = 1.0 }
[row.none]
label = "none"
quantizer = { kind = "none" }
[row.gritvq]
label = "GRIT-VQ"
quantizer = { kind = "gritvq" }
[row.broken]
label = "broken"
quantizer = { kind = "gritvq" }
overrides = { "train.learning_rate" = 100.0, "train.weight_decay" = 10.0 }  # weights grow 999-fold a step
[[stage]]
rows = ["fsp", "vp", "none"]
sizes = [16]
seeds = [0]
other_sizes = [9, 64]
[[stage]]
rows = ["gritvq", "fsp", "broken"]
sizes = [16]
seeds = [0]
"""


@pytest.fixture
def study(tiny_config, tmp_path) -> Path:
    clip = DATA / "84-121123-0002.flac"
    (tmp_path / "manifest.tsv").write_text(
        f"path\tsplit\tspeaker\tseconds\n{clip}\ttrain\ta\t13.7\n{clip}\tvalidation\tb\t13.7\n"
    )
    base = {
        "model": tiny_config.to_dict(),
        "data": {"manifest": str(tmp_path / "manifest.tsv"), "split": "train", "validation_split": "validation",
                 "segment_seconds": 0.4, "batch_size": 2, "validation_clips": 1, "validation_seconds": 2.0},
        "train": {"steps": 24, "warmup_steps": 2, "decay_steps": 4, "log_every": 100, "most_rollbacks": 0},
        "loss": {"fft_sizes": [512], "mel_bands": [40]},
    }  # fmt: skip
    (tmp_path / "base.toml").write_text(tomli_w.dumps(base))
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path / "study.toml"


def test_the_shipped_study_builds_every_run() -> None:
    plan = load_plan(RECIPES / "study.toml")
    jobs = plan.jobs()
    assert len({job.key for job in jobs}) == len(jobs) > 150
    rates = {row: plan.recipe(Job(row, 1024, 0)).model.bit_rate for row in plan.rows}
    for row, rate in rates.items():
        if row != "none":  # all of them spend as many bits, FSQ's 1000 codes a little less
            assert rate == pytest.approx(1000 / 6 * math.log2(1000 if "fs" in row else 1024)), row
    long = next(job for job in jobs if job.steps)
    train, base = plan.recipe(long).train, plan.recipe(jobs[0]).train
    assert train.steps == 4 * base.steps and train.decay_steps == 4 * base.decay_steps


def test_a_study_runs_resumes_and_reports(study, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    arguments = ["study", str(study), "--out", str(out)]
    assert main(arguments) == 0
    results = read_results(out)
    assert list(results) == ["fsp/16/0", "vp/16/0", "none/16/0", "gritvq/16/0", "broken/16/0"]
    assert "not finite" in results["broken/16/0"]["failed"]
    for key in ("fsp/16/0", "vp/16/0", "gritvq/16/0"):
        result = results[key]
        assert 1 < result["perplexity"] <= 16 and result["cvu"] == pytest.approx(result["perplexity"] / 16)
        assert result["bit_rate"] == pytest.approx(4 * 1000 / 6)
        assert 0 < result["coded_bit_rate"] < 1.05 * result["bit_rate"]
        assert result["gradient_norm"] > 0 and result["gradient_variance"] > 0 and result["step_seconds"] > 0
        assert result["mel"] > 0 and -1 < result["stoi"] < 1
    assert results["vp/16/0"]["collapses"] is None and results["gritvq/16/0"]["collapses"] is not None
    assert results["none/16/0"].get("cvu") is None and results["none/16/0"]["mel"] > 0
    assert {size: test["codes"] for size, test in results["vp/16/0"]["other_sizes"].items()} == {"9": 9, "64": 64}
    assert results["fsp/16/0"]["other_sizes"]["64"]["codes"] == 64
    assert not list((out / "runs").iterdir())

    text = (out / "tables.md").read_text()
    assert "| FSP | 1 |" in text and "failed: " in text and "Every run of the study" in text
    assert (out / "quality.svg").stat().st_size > 2000

    # a line lost in a kill is run again, with the same result; what is there is not
    store = out / "results.jsonl"
    kept = store.read_text().splitlines()
    store.write_text("\n".join(kept[:3] + kept[4:]) + "\n" + kept[3][:50])
    assert main([*arguments, "--no-plots"]) == 0
    again = read_results(out)
    assert len(store.read_text().splitlines()) == 6  # four, the broken one, the new one
    assert again["gritvq/16/0"]["mel"] == results["gritvq/16/0"]["mel"]
    assert again["gritvq/16/0"]["gradient_variance"] == results["gritvq/16/0"]["gradient_variance"]


def test_mistakes_in_a_study_are_named(study) -> None:
    text = study.read_text()
    for wrong, message in [
        (text.replace('rows = ["fsp", "vp", "none"]', 'rows = ["fps"]'), "Unknown row 'fps'"),
        (text.replace("seeds = [0]", "seed = [0]", 1), "did you mean 'stage.seeds'"),
        (text.replace('kind = "vp"', 'kind = "vq2"'), r"\[row.vp\].*quantizer.kind"),
        (text.replace('base = "base.toml"', ""), "no entry 'base'"),
    ]:
        study.write_text(wrong)
        with pytest.raises(ValueError, match=message):
            load_plan(study)
    with pytest.raises(FileNotFoundError, match="No study"):
        load_plan(study.parent / "other.toml")


def test_codebook_numbers_of_known_tokens() -> None:
    config = quantizer_config(kind="vq", levels=(), dim=2, size=8)
    train, validation = [torch.arange(4).repeat(5000)], [torch.arange(4).repeat(100)]
    numbers = codebook_numbers(train, validation, config, token_rate=100)
    assert numbers["perplexity"] == pytest.approx(4) and numbers["cvu"] == pytest.approx(0.5)
    assert numbers["dead"] == 0.5 and numbers["bit_rate"] == 300
    assert numbers["coded_bit_rate"] == pytest.approx(200, abs=0.1)
    several = quantizer_config(kind="msrvq", levels=(4, 8), dim=2, strides=(2, 1))
    coarse, fine = torch.arange(4).repeat_interleave(2).repeat(600), torch.arange(8).repeat(600)
    coarse[1::2] = 0  # means nothing there
    tokens = [coarse + 4 * fine]
    numbers = codebook_numbers(tokens, tokens, several, token_rate=100)
    assert numbers["bit_rate"] == pytest.approx(100 * (2 / 2 + 3))
    assert numbers["coded_bit_rate"] == pytest.approx(400, rel=0.001)
    assert numbers["perplexity"] == pytest.approx(32) and numbers["cvu"] == pytest.approx(1)


def test_collapse_is_counted_once_each_time() -> None:
    assert perplexity(torch.arange(7)) == pytest.approx(7)
    assert collapses([10, 50, 200, 300], 1000) == 1  # starts below 2 % of 1000
    assert collapses([100, 200, 90, 80, 150, 60], 1000) == 2
    assert collapses([100, 110, 120], 1000) == 0


def test_differences_are_paired_by_seed() -> None:
    lines = [
        Line(name, name, 16, 1, [{"seed": seed, "mel": value} for seed, value in values.items()])
        for name, values in {"a": {0: 1.0, 1: 2.0, 2: 3.0}, "b": {0: 0.5, 1: 1.4, 2: 2.6}}.items()
    ]
    mean, low, high, count = difference(*lines, "mel")
    assert (mean, count) == (pytest.approx(0.5), 3)
    assert high - mean == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-3) and low < 0.26
    assert difference(lines[0], Line("c", "c", 16, 1, [{"seed": 0, "mel": 1.0}]), "mel") is None


def test_claims_are_tested_at_each_size_and_over_all(study) -> None:
    plan = dataclasses.replace(load_plan(study), claims=(Claim("one is better", "one", "two", "mel", lower=True),))
    lines = [
        Line(row, row, size, 24, [{"seed": seed, "mel": mel + size + 10 * seed} for seed, mel in enumerate(values)])
        for row, size, values in (
            ("one", 16, [1.0, 1.2, 1.4]), ("two", 16, [2.0, 2.4, 2.2]),
            ("one", 64, [1.3, 1.0]), ("two", 64, [2.5, 2.0]), ("one", 256, [0.0, 0.0]),
        )
    ]  # fmt: skip
    table = claims_table(plan, lines)
    assert "| one is better | 16 | 24 | mel | -1.000 | -1.497 to -0.503 | 3 | confirmed |" in table
    assert "| one is better | all | 24 | mel | -1.100 | -1.100 to -1.100 | 2 |" in table  # seed 2 lacks a size
    assert "| 256 |" not in table


def test_plots_show_the_steps_that_most_ran_with(tmp_path: Path) -> None:
    lines = [Line("few", "few steps", 16, 5, [{"seed": 0, "mel": 1.0, "stoi": 0.5, "perplexity": 3.0}])]
    for size in (16, 64):
        lines += [Line("many", "many steps", size, 24, [{"seed": 0, "mel": 1.0, "stoi": 0.5, "perplexity": 3.0}])]
    names = [path.name for path in write_plots(lines, tmp_path)]
    assert names == ["quality.svg", "use.svg", "sizes.svg", "training.svg"]
    drawn = (tmp_path / "quality.svg").read_text()
    assert "many steps" in drawn and "few steps" not in drawn


def test_summaries_group_by_size_and_steps(study) -> None:
    plan = load_plan(study)
    base = {"row": "fsp", "size": 16, "steps": 24}
    results = [base | {"seed": seed, "mel": seed} for seed in (0, 2)]
    results += [base | {"seed": 0, "mel": 9.0, "steps": 96}, base | {"seed": 1, "steps": 0, "failed": "why"}]
    lines = summarise(plan, results)
    assert [(line.steps, len(line.runs), line.failed) for line in lines] == [(24, 2, ["why"]), (96, 1, [])]
    assert lines[0].mean("mel") == 1 and lines[0].spread("mel") == pytest.approx(np.std([0, 2], ddof=1))
    assert lines[0].mean("cvu") is None and json.dumps(lines[0].failed)

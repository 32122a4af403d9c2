"""Trains the variants that a table names, each for as many steps: which of them does a long run deserve?

    python egs/mini/codec1/variants.py TABLE.toml MANIFEST OUT [--steps 480] [--only NAME ...] [--report-only]

A table says ``steps``, a ``recipe``, ``set`` for all of its variants, and for each ``variant`` its own ``set``, or
another ``recipe``. Interrupted, the same command goes on; a run that ended is not repeated. Prints a table of the last
validation, and leaves OUT/variants.svg, the curves.

With ``--evaluate CLIPS`` it then scores what was trained (`sqcodec evaluate`) and prints a second table: variants whose
names differ in ", seed N" only are one line: the mean over seeds, half of the 95 % interval over speakers behind ±, and
the lowest and highest mean of a seed.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import numpy as np

from sqcodec.config import CONFIG_NAME, ModelConfig
from sqcodec.evaluation.statistics import bootstrap_mean
from sqcodec.evaluation.tables import markdown_table
from sqcodec.runs import read_metrics
from sqcodec.training.picture import draw_runs

SCORES = ("pesq_wb", "stoi", "mel", "onsets", "f0_cents", "vuv_error")
RECIPES = Path(__file__).resolve().parents[3] / "recipes"


@dataclass(frozen=True)
class Variant:
    recipe: str
    overrides: tuple[str, ...]


def read_table(path: Path) -> tuple[int, dict[str, Variant]]:
    """Steps, and the variants by name."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    common = table.get("set", [])
    variants = {
        name: Variant(entry.get("recipe", table.get("recipe", "")), (*common, *entry.get("set", [])))
        for name, entry in table["variant"].items()
    }
    return table["steps"], variants


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, help="default: as the table says, whose other step numbers stay")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="variants to train; default: all")
    parser.add_argument("--init-from", metavar="FOLDER", help="start all of them from these weights")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--cache", help="folder of the decoded corpus, as of sqcodec train")
    parser.add_argument("--evaluate", type=Path, metavar="CLIPS", help="manifest of the clips to score at the end")
    parser.add_argument("--kbps", help="rates to score at, where a variant has them; default: its own")
    parser.add_argument("--metrics", help="with commas between; default: as of sqcodec evaluate")
    parser.add_argument("--report-only", action="store_true")
    arguments = parser.parse_args()
    steps, variants = read_table(arguments.table)
    names = arguments.only or list(variants)
    for unknown in set(names) - set(variants):
        parser.error(f"no variant '{unknown}' in {arguments.table}. Choose of: {', '.join(variants)}")
    for name in [] if arguments.report_only else names:
        train(arguments.out / folder_name(name), variants[name], arguments.steps or steps, arguments)
    found = report(arguments.out, list(variants))
    if arguments.evaluate:
        for folder in found.values():
            evaluate(folder, arguments)
        print()
        scores(found)


def folder_name(name: str) -> str:
    return name.replace(" ", "_").replace("/", "-")


def train(folder: Path, variant: Variant, steps: int, arguments: argparse.Namespace) -> None:
    """One run, as `sqcodec train`; its processor time, compilation included, goes beside it."""
    done = folder / "seconds.json"
    if done.exists():
        return
    settings = [f"train.steps={steps}", f"train.decay_steps={steps * 3 // 5}", "train.ema=0.99"]
    settings += [f"train.validate_every={steps // 6}", f"train.log_every={max(1, steps // 30)}"]
    command = [sys.executable, "-m", "sqcodec", "train", str(RECIPES / variant.recipe)]
    command += ["--data", str(arguments.manifest), "--out", str(folder), "--threads", arguments.threads]
    command += ["--cache", arguments.cache] if arguments.cache else []
    command += ["--init-from", arguments.init_from] if arguments.init_from else []
    for setting in [*settings, *variant.overrides]:
        command += ["--set", setting]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    done.write_text(json.dumps(seconds))


def evaluate(folder: Path, arguments: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "sqcodec", "evaluate", "--data", str(arguments.evaluate)]
    command += ["--jobs", arguments.threads]
    rates = ModelConfig.from_toml(folder / "model" / CONFIG_NAME).rates
    has = [text for text in (arguments.kbps or "").split(",") if text and rates is not None and float(text) in rates]
    command += ["--kbps", ",".join(has)] if has else []
    command += ["--metrics", arguments.metrics] if arguments.metrics else []
    command += ["--model", str(folder / "model"), "--out", str(folder / "report"), "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def scores(found: dict[str, Path]) -> None:
    """The table of evaluations on stdout."""
    groups: dict[tuple[str, float], list[list[dict]]] = {}
    metrics: dict[str, dict] = {}
    for name, folder in found.items():
        results = json.loads((folder / "report" / "results.json").read_text())
        metrics = {key: value for key, value in results["metrics"].items() if key in SCORES}
        for system, about in results["systems"].items():
            rows = [row for row in results["rows"] if row["system"] == system and row["status"] == "ok"]
            groups.setdefault((re.sub(", seed .*", "", name), about["bit_rate"] / 1000), []).append(rows)
    table = [["variant", "kbit/s", "seeds", *(about["label"] for about in metrics.values())]]
    for (group, kbps), runs in groups.items():
        cells = []
        for key, about in metrics.items():
            means, clips = [], defaultdict(list)  # of each seed; of each speaker and clip, over seeds
            for rows in runs:
                scored = [row for row in rows if row["scores"].get(key) is not None]
                means.append(np.mean([row["scores"][key] for row in scored]))
                for row in scored:
                    clips[row["speaker"], row["utterance"]].append(row["scores"][key])
            over_speakers = bootstrap_mean([np.mean(values) for values in clips.values()], [name for name, _ in clips])
            digits = about["digits"] + 1
            spread = f", {min(means):.{digits}f} to {max(means):.{digits}f}" if len(means) > 1 else ""
            half = (over_speakers.high - over_speakers.low) / 2
            cells.append(f"{np.mean(means):.{digits}f} ± {half:.{digits}f}{spread}")
        table.append([group, f"{kbps:.2f}", str(len(runs)), *cells])
    print(*markdown_table(table), sep="\n")


def report(out: Path, names: list[str]) -> dict[str, Path]:
    """The table on stdout, the curves as SVG; the variants that have been trained."""
    found = {name: out / folder_name(name) for name in names}
    found = {name: folder for name, folder in found.items() if (folder / "seconds.json").exists()}
    print("| variant | steps | CPU minutes | training mel | PESQ-WB | STOI | perplexity | CVU |")
    print("|---|---|---|---|---|---|---|---|")
    for name, folder in found.items():
        every = read_metrics(folder)
        last = [row for row in every if "validation_pesq_wb" in row][-1]
        mel = [row["mel"] for row in every if "mel" in row][-5:]
        minutes = json.loads((folder / "seconds.json").read_text()) / 60
        print(
            f"| {name} | {last['step']} | {minutes:.1f} | {sum(mel) / len(mel):.3f} "
            f"| {last['validation_pesq_wb']:.3f} | {last['validation_stoi']:.3f} "
            f"| {last['validation_perplexity']:.0f} | {last['validation_cvu']:.3f} |"
        )
    draw_runs(found, out / "variants.svg")
    return found


if __name__ == "__main__":
    main()

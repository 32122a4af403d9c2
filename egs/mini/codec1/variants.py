"""Trains the network of speech-3k with each way to quantize, with and without discriminators, the same number of steps.

    python egs/mini/codec1/variants.py MANIFEST OUT [--steps 600] [--only NAME ...] [--report-only]

About 16,384 codes at 166.7 tokens a second. Interrupted, the same command goes on; a run that ended is not repeated.
Prints a table of the last validation, and leaves OUT/variants.svg, the curves.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[3] / "recipes"
FSP = "model.quantizer.levels=[8,8,8,6,5]"
FSQ = 'model.quantizer={"kind":"fsq","variant":"sqcodec","noise_rate":0.5,"levels":[8,8,8,6,5]}'
VQ = 'model.quantizer={"kind":"vq","dim":5,"size":16384,"levels":[]}'
RESTARTS = VQ[:-1] + ',"options":{"kmeans_init":true,"restart_below":0.1,"decay":0.95}}'
GAN = ("adversarial.weight=0.3", "adversarial.feature_matching=0.5", "adversarial.crop_batch=6")
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "FSP": ("mini_speech.toml", (FSP,)),
    "VP": ("mini_speech_vp.toml", ("vp.calibrate_every=200",)),
    "FSQ + noise": ("mini_speech.toml", (FSQ,)),
    "VQ (EMA)": ("mini_speech.toml", (VQ,)),
    "VQ (EMA, k-means, restarts)": ("mini_speech.toml", (RESTARTS,)),
    "FSP, adversarial": ("mini_speech.toml", (FSP, *GAN)),
    "VP, adversarial": ("mini_speech_vp.toml", ("vp.calibrate_every=200", *GAN)),
}
"""Recipe and overrides."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--threads", default="1")
    parser.add_argument("--cache", help="folder of the decoded corpus, as of sqcodec train")
    parser.add_argument("--report-only", action="store_true")
    arguments = parser.parse_args()
    for name in [] if arguments.report_only else arguments.only:
        train(name, arguments)
    report(arguments.out)


def train(name: str, arguments: argparse.Namespace) -> None:
    """One run, as `sqcodec train`; its processor time, compilation included, goes beside it."""
    recipe, overrides = VARIANTS[name]
    folder, steps = arguments.out / name.replace(" ", "_"), arguments.steps
    done = folder / "seconds.json"
    if done.exists():
        return
    settings = [*overrides, f"train.steps={steps}", f"train.decay_steps={steps * 3 // 5}", "train.ema=0.99"]
    settings += [f"train.validate_every={steps // 6}", f"train.log_every={max(1, steps // 30)}"]
    if GAN[0] in overrides:
        settings += [f"adversarial.start_step={steps // 2}", f"adversarial.alone_steps={steps // 12}"]
        settings += [f"adversarial.ramp_steps={steps // 12}"]
    command = [sys.executable, "-m", "sqcodec", "train", str(RECIPES / recipe), "--data", str(arguments.manifest)]
    command += ["--out", str(folder), "--threads", arguments.threads]
    command += ["--cache", arguments.cache] if arguments.cache else []
    for setting in settings:
        command += ["--set", setting]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    done.write_text(json.dumps(seconds))


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def report(out: Path) -> None:
    """The table on stdout, the curves as SVG."""
    found = {name: out / name.replace(" ", "_") for name in VARIANTS}
    found = {name: folder for name, folder in found.items() if (folder / "seconds.json").exists()}
    print("| variant | steps | CPU minutes | training mel | PESQ-WB | STOI | perplexity | CVU |")
    print("|---|---|---|---|---|---|---|---|")
    for name, folder in found.items():
        every = rows(folder)
        last = [row for row in every if "validation_pesq_wb" in row][-1]
        mel = [row["mel"] for row in every if "mel" in row][-5:]
        minutes = json.loads((folder / "seconds.json").read_text()) / 60
        print(
            f"| {name} | {last['step']} | {minutes:.1f} | {sum(mel) / len(mel):.3f} "
            f"| {last['validation_pesq_wb']:.3f} | {last['validation_stoi']:.3f} "
            f"| {last['validation_perplexity']:.0f} | {last['validation_cvu']:.3f} |"
        )
    plot(found, out / "variants.svg")


def plot(found: dict[str, Path], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "sqcodec", "svg.fonttype": "none", "font.size": 8}
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(10.5, 3.2), layout="constrained")
    shown = (("mel", "training mel loss"), ("validation_pesq_wb", "PESQ-WB"), ("validation_stoi", "STOI"))
    for axis, (key, label) in zip(axes, shown, strict=True):
        for number, (name, folder) in enumerate(found.items()):
            points = [(row["step"], row[key]) for row in rows(folder) if key in row]
            style = "--" if "adversarial" in name else "-"
            axis.plot(*zip(*points, strict=True), style, color=f"C{number}", linewidth=1, label=name)
        axis.set_xlabel("step")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_yscale("log")
    axes[0].legend(fontsize=6)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()

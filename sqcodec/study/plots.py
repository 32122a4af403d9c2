"""Plots of a study, as SVG."""

from __future__ import annotations

from pathlib import Path
from statistics import mode

from sqcodec import plots
from sqcodec.study.summary import Line


@plots.style()
def write_plots(lines: list[Line], out: Path) -> list[Path]:
    """``quality.svg``, ``sizes.svg``, ``use.svg`` and ``training.svg`` as far as there are results for them.

    Of the numbers of training steps that there are, they show the one that most quantizers ran with.
    """
    lines = [line for line in lines if line.runs]
    commonest = mode(line.steps for line in lines)
    lines = [line for line in lines if line.steps == commonest]
    sizes = sorted({line.size for line in lines})
    fullest = max(sizes, key=lambda size: sum(line.size == size for line in lines))
    ranked = sorted((line for line in lines if line.size == fullest), key=lambda line: line.mean("mel") or 0)
    files = [_bars(ranked, fullest, out / "quality.svg"), _use(ranked, fullest, out / "use.svg")]
    if len(sizes) > 1:
        files.append(_sizes(lines, out / "sizes.svg"))
    files.append(_training(ranked, out / "training.svg"))
    return files


def _bars(ranked: list[Line], size: int, path: Path) -> Path:
    """Mel distance, PESQ and STOI of every quantizer; whiskers are one standard deviation over seeds."""
    figure, axes = plots.figure(3, height=0.6 + 0.19 * len(ranked))
    shown = (("mel", "mel distance (lower is better)"), ("pesq_wb", "PESQ-WB"), ("stoi", "STOI"))
    for number, (axis, (name, label)) in enumerate(zip(axes, shown, strict=True)):
        values = [line.mean(name) for line in ranked]
        for place, (line, value) in enumerate(zip(ranked, values, strict=True)):
            if value is not None:
                axis.errorbar(value, place, xerr=line.spread(name), fmt="o", markersize=4, capsize=2, color="#2563eb")
        axis.set_yticks(range(len(ranked)), [line.label if number == 0 else "" for line in ranked])
        axis.invert_yaxis()
        axis.set_xlabel(label)
    figure.suptitle(f"Quality with about {size} codes")
    return plots.save(figure, path)


def _use(ranked: list[Line], size: int, path: Path) -> Path:
    """Use of the codebook against quality; the legend names the points by colour and shape, best first."""
    shown = [line for line in ranked if line.mean("cvu") and line.mean("mel")]
    figure, axes = plots.figure(1, 9.0, max(4.2, 0.8 + 0.15 * len(shown)))
    for number, line in enumerate(shown):
        mark = {"color": f"C{number % 10}", "marker": "os^v"[number // 10 % 4]}
        axes[0].plot(line.mean("cvu"), line.mean("mel"), linestyle="", markersize=5, label=line.label, **mark)
    axes[0].set_xscale("log")
    axes[0].set_xlabel("CVU: exp(entropy of the codes) / number of codes")
    axes[0].set_ylabel("mel distance (lower is better)")
    axes[0].set_title(f"Using the codebook and quality, about {size} codes")
    if shown:
        figure.legend(loc="outside right center", fontsize=7)
    return plots.save(figure, path)


def _sizes(lines: list[Line], path: Path) -> Path:
    """Quality and perplexity against the number of codes, for what ran with several."""
    figure, axes = plots.figure(3)
    rows = {line.row: line.label for line in lines}
    several = [row for row in rows if sum(line.row == row for line in lines) > 1]
    for number, row in enumerate(several):
        own = sorted((line for line in lines if line.row == row), key=lambda line: line.size)
        for axis, name in zip(axes, ("mel", "stoi", "perplexity"), strict=True):
            points = [(line.size, line.mean(name), line.spread(name) or 0) for line in own if line.mean(name)]
            if points:
                axis.errorbar(*zip(*[p[:2] for p in points], strict=True), yerr=[p[2] for p in points], marker="o",
                              markersize=3, linewidth=1, capsize=2, label=rows[row], **plots.look(number))
    for axis, label in zip(axes, ("mel distance (lower is better)", "STOI", "perplexity"), strict=True):
        axis.set_xscale("log", base=2)
        axis.set_xlabel("number of codes")
        axis.set_ylabel(label)
    axes[2].set_yscale("log")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7)
    return plots.save(figure, path)


def _training(ranked: list[Line], path: Path) -> Path:
    """Perplexity of the tokens of each training interval."""
    curves = {line.row: line.runs[0].get("perplexities", []) for line in ranked}
    counted = [line for line in ranked if max(curves[line.row], default=0) > 1]
    figure, axes = plots.figure(1, 9.0, max(3.6, 0.8 + 0.15 * len(counted)))
    for number, line in enumerate(counted):
        curve = curves[line.row]
        steps = [(place + 1) * line.steps / len(curve) for place in range(len(curve))]
        axes[0].plot(steps, curve, linewidth=1, label=line.label, **plots.look(number))
    axes[0].set_yscale("log")
    axes[0].set_xlabel("training step")
    axes[0].set_ylabel("perplexity of the tokens since the last point")
    if counted:
        figure.legend(loc="outside right center", fontsize=7)
    return plots.save(figure, path)

"""What report.html shows besides tables: plots of the results, spectrograms, players of a few clips."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy import signal

from sqcodec import plots

from .results import Results
from .systems import split_rate, system_key
from .tables import heading
from .work import clip_path

PLAYER_SECONDS = 10.0
_RATE_METRICS = 4
_COLUMNS, _RANGE_DB = 480, 75.0  # of a spectrogram


def families(results: Results) -> dict[str, tuple[str, str]]:
    """System -> family and its colour: 'opus:6' and 'opus:8' share theirs, and so do the rates of a model."""
    found: dict[str, tuple[str, str]] = {}
    colors: dict[str, str] = {}
    for system, info in results.systems.items():
        kind, _, setting = info["text"].partition(":")
        family = system if kind in ("dir", "hf", "original") else kind
        if kind == "sqcodec":
            family = system_key(f"{kind}:{split_rate(setting)[0]}")
        colors.setdefault(family, plots.PALETTE[len(colors) % len(plots.PALETTE)])
        found[system] = family, colors[family]
    return found


@plots.style()
def rate_plots(results: Results) -> list[str]:
    """Quality over the actual bit rate, a plot for each of the first metrics; families are joined by lines."""
    kinds, drawn = families(results), []
    for name in list(results.metrics)[:_RATE_METRICS] if len(results.metrics) > 2 else results.metrics:
        shown = [
            (summary["payload_bit_rate"] / 1000, summary["metrics"][name], *kinds[system], results.systems[system])
            for system, summary in results.summary.items()
            if summary["payload_bit_rate"] is not None and name in summary["metrics"]
        ]
        if not shown:
            continue
        figure, (axes,) = plots.figure(1, 4.8, 3.3)
        for family in dict.fromkeys(family for _, _, family, _, _ in shown):
            line = sorted((rate, mean["mean"], color) for rate, mean, own, color, _ in shown if own == family)
            axes.plot([p[0] for p in line], [p[1] for p in line], color=line[0][2], gid=f"line:{family}")
        for rate, mean, _, color, info in shown:
            sides = [[max(0.0, mean["mean"] - mean["low"])], [max(0.0, mean["high"] - mean["mean"])]]
            axes.errorbar(rate, mean["mean"], sides, color=color, capsize=3, elinewidth=1)
            size = 9 if info["text"].startswith("sqcodec:") else 6
            tip = f"tip:{info['label']}: {rate:.3g} kbit/s, {mean['mean']:.3f}"
            axes.plot(rate, mean["mean"], "o", color=color, markersize=size, gid=tip)
        plots.log_scale(axes, "x", [rate for rate, *_ in shown])
        axes.set(xlabel="kbit/s, actual", ylabel=heading(results.metrics[name]))
        ours = [info["text"].startswith("sqcodec:") for *_, info in shown]
        points = [(rate, mean["mean"], info["label"], color) for rate, mean, _, color, info in shown]
        plots.label_points(axes, [(*point, bold) for point, bold in zip(points, ours, strict=True)])
        drawn.append(plots.inline(figure))
    return drawn


@plots.style()
def strips(results: Results, metric: dict[str, Any]) -> str:
    """A row a system: a dot a clip, a box from the lower to the upper quartile, a line at the median."""
    rows = {
        system: [
            row.scores[metric["name"]] for row in results.rows if row.system == system and metric["name"] in row.scores
        ]
        for system, info in results.systems.items()
        if info["text"] != "original"
    }
    rows = {system: values for system, values in rows.items() if values}
    if not rows:
        return ""
    figure, (axes,) = plots.figure(1, 9.8, 0.6 + 0.32 * len(rows))
    kinds, places = families(results), range(len(rows))
    for place, (system, values) in zip(places, rows.items(), strict=True):
        color = kinds[system][1]
        spread = [place + (number * 7 % 15 - 7) * 0.03 for number in range(len(values))]
        axes.plot(sorted(values), spread, "o", color=color, markersize=3, alpha=0.45, markeredgewidth=0)
        axes.boxplot([values], positions=[place], orientation="horizontal", showcaps=False, showfliers=False,
                     whis=(25, 75), widths=0.6, boxprops={"color": color}, whiskerprops={"linewidth": 0},
                     medianprops={"color": color, "linewidth": 2.5})  # fmt: skip
    axes.set_yticks(places, [results.systems[system]["label"] for system in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=heading(metric))
    axes.grid(axis="y", visible=False)
    return plots.inline(figure)


@plots.style()
def codebook_plot(results: Results) -> str:
    """The share of the tokens that each code has, most frequent first."""
    kinds = families(results)
    used = {system: summary["codebook"]["curve"] for system, summary in results.summary.items() if summary["codebook"]}
    figure, (axes,) = plots.figure(1, 9.8, 3.3)
    for system, curve in used.items():
        axes.plot(*zip(*curve, strict=True), color=kinds[system][1])
    plots.log_scale(axes, "x", [rank for curve in used.values() for rank, _ in curve])
    plots.log_scale(axes, "y", [share for curve in used.values() for _, share in curve])
    axes.set(xlabel="rank of the code", ylabel="share of the tokens")
    ends = [(*curve[-1], results.systems[system]["label"], kinds[system][1], False) for system, curve in used.items()]
    plots.label_points(axes, ends)
    return plots.inline(figure)


def chosen_clips(results: Results, folder: Path) -> list[dict[str, Any]]:
    """Best, median and worst clip of the first system by the first metric, with their players."""
    if not results.metrics:
        return []
    name, metric = next(iter(results.metrics.items()))
    found = [(row.scores[name], row.utterance) for row in results.rows
             if row.system == results.baseline and name in row.scores]  # fmt: skip
    scored = sorted(found, reverse=metric["higher_is_better"] is not False)
    chosen: dict[str, str] = {}
    for title, place in (("Best", 0), ("Median", len(scored) // 2), ("Worst", len(scored) - 1)):
        if scored:
            chosen.setdefault(scored[place][1], title)
    clips = [_clip(results, folder, title, utterance) for utterance, title in chosen.items()]
    return [clip for clip in clips if clip["players"]]


def _clip(results: Results, folder: Path, title: str, name: str) -> dict[str, Any]:
    rows = {row.system: row for row in results.rows if row.utterance == name}
    row, path = rows[results.baseline], clip_path(folder, "reference", name)
    names = list(results.metrics) if len(results.metrics) < 3 else ["pesq_wb", "stoi"]
    players: list[dict[str, str]] = []
    if path.exists():
        reference = _cut(path)
        level = float(_magnitudes(reference).max())
        players.append({"label": "reference", **_player(reference, level)})
        for system, info in results.systems.items():
            path, found = clip_path(folder, system, name), rows.get(system)
            if info["text"] == "original" or found is None:
                continue
            numbers = [(results.metrics[key], found.scores[key]) for key in names if key in found.scores]
            scores = ", ".join(f"{metric['label']} {score:.{metric['digits']}f}" for metric, score in numbers)
            shown = {"label": info["label"], "scores": scores}
            if found.status != "ok" or not path.exists():
                players.append(shown | {"error": found.error or found.status})
            else:
                players.append(shown | _player(_cut(path), level))
    about = " · ".join(part for part in (row.speaker, row.source, f"{row.seconds:.1f} s") if part)
    return {"title": title, "name": name, "about": about, "players": players}


def _cut(path: Path) -> np.ndarray:
    """The part of a clip that players have, [T] at the reference rate."""
    samples, rate = soundfile.read(path, dtype="float32")
    return samples[: int(PLAYER_SECONDS * rate)]


def _player(samples: np.ndarray, level: float) -> dict[str, str]:
    """Sound as FLAC and spectrogram as PNG, in base64; `level` is the magnitude that is the brightest."""
    sound = io.BytesIO()
    soundfile.write(sound, samples, 16000, format="FLAC", subtype="PCM_16")
    decibels = 20 * np.log10(np.maximum(_magnitudes(samples), 1e-9) / max(level, 1e-9))
    picture = plots.spectrogram(1 + decibels / _RANGE_DB)
    return {"sound": base64.b64encode(sound.getvalue()).decode(), "picture": base64.b64encode(picture).decode()}


def _magnitudes(samples: np.ndarray) -> np.ndarray:
    """[bins, columns], about one column a pixel."""
    window = 512
    samples = np.pad(np.float64(samples), (0, max(0, 2 * window - len(samples))))
    hop = min(max(1, len(samples) // _COLUMNS), window)
    _, _, spectrum = signal.stft(samples, nperseg=window, noverlap=window - hop)
    return np.abs(spectrum)[1:, np.linspace(0, spectrum.shape[1] - 1, _COLUMNS).round().astype(int)]

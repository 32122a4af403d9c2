"""report.html: one self-contained page with the table, plots, players, spectrograms and the exact command."""

from __future__ import annotations

import base64
import io
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from .images import peak_level, spectrogram_png
from .plots import PALETTE, Axis, Point, Series, axis_for, plot, strips
from .report import (
    ONE_SPEAKER,
    actual,
    breakdown,
    comparisons,
    heading,
    how_averaged,
    kbps,
    num_coded,
    number,
    problems,
)
from .results import Results, Row
from .systems import split_rate, system_key
from .work import clip_path

PLAYER_SECONDS = 10.0
_RATE_METRICS = 4


def page(results: Results, folder: Path) -> str:
    """The page as text. `folder` is the evaluation's, with the coded audio."""
    chosen = _chosen_clips(results)
    clips = "".join(_clip(results, folder, title, name) for title, name in chosen)
    label = results.systems[results.baseline]["label"]
    first = next(iter(results.metrics.values()), None)
    sections = [
        "<h2>Quality</h2>" + _table(results),
        "<h2>Quality and bit rate</h2>" + _rate_plots(results),
        "<h2>Every clip</h2>" + _strips(results, first) if first else "",
        _codebook(results),
        f"<h2>Listen and look</h2><p class='soft'>Chosen by {escape(first['label'] if first else '')} of "
        f"{escape(label)}. Players of a clip share their position, so switching is an A/B comparison: press play on "
        "another, click into a spectrogram, or press <kbd>1</kbd> to <kbd>9</kbd>. "
        f"The first {PLAYER_SECONDS:g} s, 16 kHz, aligned with the reference.</p>{clips}"
        if clips
        else "",
        _comparisons(results),
        *(_breakdown(results, by) for by in ("corpus", "source", "speaker")),
        _problems(results),
        _footer(results),
    ]
    clips_count = len({row.utterance for row in results.rows})
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>Codec evaluation: {escape(label)}</title><style>{_asset('report.css')}</style></head><body>"
        f"<h1>Codec evaluation: {escape(label)}</h1>"
        f"<p class='soft'>{clips_count} clips of {escape(results.source)} · {len(results.systems)} systems · scored at "
        f"{results.reference_rate / 1000:g} kHz after alignment · {escape(results.created)}</p>"
        f"<pre id='command'>{escape(results.command)}</pre>"
        f"{''.join(sections)}<script>{_asset('report.js')}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _table(results: Results) -> str:
    metrics = results.metrics
    heads = ["system", "kbit/s nominal", "kbit/s actual", *(heading(metric) for metric in metrics.values())]
    heads += ["× real time, encode", "decode", "peak MiB", "clips"]
    best = {name: _best(results, name) for name in metrics}
    body = []
    for system, summary in results.summary.items():
        info = results.systems[system]
        cells = [f"<td>{escape(info['label'])}</td>", f"<td>{kbps(info['bit_rate'])}</td>"]
        cells.append(f"<td>{actual(summary)}</td>")
        for name, metric in metrics.items():
            mark = " class='best'" if best[name] == system else ""
            cells.append(f"<td{mark}>{_interval(summary['metrics'].get(name), metric['digits'])}</td>")
        cells += [f"<td>{_speed(summary[key])}</td>" for key in ("encode_speed", "decode_speed")]
        cells.append(f"<td>{number(summary.get('peak_mib'), 0)}</td>")
        cells.append(f"<td>{escape(num_coded(summary))}</td>")
        ours = " class='ours'" if info["text"].startswith("sqcodec:") else ""
        body.append(f"<tr{ours}>{''.join(cells)}</tr>")
    note = (
        f"{escape(how_averaged(results))} Bold: best of the codecs. Actual rate: what the decoder needs, without "
        "container (entropy coded). Speeds were taken while other clips were coded; <code>sqcodec profile</code> "
        "measures them alone. Memory: the process that codes the longest clip. A click on a head sorts."
    )
    return (
        f"<div class='scroll'><table id='quality'><thead><tr>{_heads(heads)}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div><p class='soft'>{note}</p>"
    )


def _heads(heads: list[str]) -> str:
    return "".join(f"<th>{escape(head)}</th>" for head in heads)


def _interval(interval: dict[str, float] | None, digits: int) -> str:
    if interval is None:
        return "-"
    half = (interval["high"] - interval["low"]) / 2
    return f"{interval['mean']:.{digits}f} <small>± {half:.{digits}f}</small>"


def _speed(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _best(results: Results, name: str) -> str | None:
    """The best system of a metric, among those that code."""
    better = results.metrics[name]["higher_is_better"]
    values = {
        system: summary["metrics"][name]["mean"]
        for system, summary in results.summary.items()
        if name in summary["metrics"] and results.systems[system]["text"] != "original"
    }
    if better is None or not values:
        return None
    return (max if better else min)(values, key=values.__getitem__)


def _colors(results: Results) -> dict[str, str]:
    """A colour a family: 'opus:6' and 'opus:8' share theirs, and so do the rates of a model."""
    families: dict[str, str] = {}
    colors = {}
    for system, info in results.systems.items():
        family = _family(info["text"], system)
        families.setdefault(family, PALETTE[len(families) % len(PALETTE)])
        colors[system] = families[family]
    return colors


def _family(text: str, system: str) -> str:
    kind, _, setting = text.partition(":")
    if kind == "sqcodec":
        return system_key(f"{kind}:{split_rate(setting)[0]}")
    return system if kind in ("dir", "hf", "original") else kind


def _rate_plots(results: Results) -> str:
    drawn = []
    for name in list(results.metrics)[:_RATE_METRICS] if len(results.metrics) > 2 else results.metrics:
        series: dict[str, Series] = {}
        colors = _colors(results)
        for system, summary in results.summary.items():
            rate, interval = summary["payload_bit_rate"], summary["metrics"].get(name)
            if rate is None or interval is None:
                continue
            info = results.systems[system]
            family = _family(info["text"], system)
            is_ours = info["text"].startswith("sqcodec:")
            one = series.setdefault(family, Series(family, [], colors[system], is_strong=is_ours))
            one.points.append(Point(rate / 1000, interval["mean"], interval["low"], interval["high"], info["label"]))
        for one in series.values():
            one.points.sort(key=lambda point: point.x)
        points = [point for one in series.values() for point in one.points]
        if points:
            metric = results.metrics[name]
            x = axis_for([point.x for point in points], "kbit/s, actual", is_log=True)
            y = axis_for([v for p in points for v in (p.low or p.y, p.high or p.y)], heading(metric))
            drawn.append(plot(list(series.values()), x, y, metric["label"]))
    if not drawn:
        return "<p class='soft'>No system here has a bit rate.</p>"
    return f"<div class='plots'>{''.join(drawn)}</div><p class='soft'>Error bars: 95 % intervals of the mean.</p>"


def _strips(results: Results, metric: dict[str, Any]) -> str:
    colors, groups = _colors(results), []
    for system, info in results.systems.items():
        values = [row.scores[metric["name"]] for row in _rows(results, system) if metric["name"] in row.scores]
        if values and info["text"] != "original":
            groups.append((info["label"], values, colors[system]))
    if not groups:
        return ""
    title = f"{metric['label']} of each clip, with quartiles"
    return strips(groups, heading(metric), title)


def _rows(results: Results, system: str) -> list[Row]:
    return [row for row in results.rows if row.system == system]


def _codebook(results: Results) -> str:
    body, series = [], []
    colors = _colors(results)
    for system, summary in results.summary.items():
        use = summary["codebook"]
        if not use:
            continue
        info = results.systems[system]
        share = 100 * use["used"] / use["codebook_size"]
        cells = [
            escape(info["label"]),
            f"{use['codebook_size']:,}",
            f"{use['num_tokens']:,}",
            f"{use['used']:,} ({share:.1f} %)",
            f"{use['perplexity']:,.0f}",
            f"{use['cvu']:.4f}",
            f"{use['entropy']:.2f}",
            f"{use['bigram_entropy']:.2f}",
        ]
        body.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        points = [Point(rank, frequency) for rank, frequency in use["curve"]]
        points[-1] = Point(points[-1].x, points[-1].y, label=info["label"])
        series.append(Series(info["label"], points, colors[system], has_marks=False))
    if not body:
        return ""
    heads = ["system", "K", "tokens", "codes used", "perplexity", "CVU", "bit a token", "given the one before"]
    ranks = [point.x for one in series for point in one.points]
    shares = [point.y for one in series for point in one.points]
    x = Axis("rank of the code", 1, max(ranks) * 1.5 + 1, is_log=True)
    drawn = plot(
        series,
        x,
        axis_for(shares, "share of the tokens", is_log=True),
        "How often codes are used",
        width=940,
    )
    return (
        "<h2>Codebook</h2><div class='scroll'><table><thead><tr>"
        f"{_heads(heads)}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        "<p class='soft'>CVU is exp(entropy) / K. With fewer tokens than several times K, all of these are "
        f"underestimates.</p><div id='codebook'>{drawn}</div>"
    )


def _chosen_clips(results: Results) -> list[tuple[str, str]]:
    """Best, median and worst clip of the first system by the first metric."""
    if not results.metrics:
        return []
    name = next(iter(results.metrics))
    scored = [row for row in _rows(results, results.baseline) if name in row.scores]
    if results.metrics[name]["higher_is_better"] is False:
        scored.sort(key=lambda row: row.scores[name])
    else:
        scored.sort(key=lambda row: -row.scores[name])
    places = {"Best": 0, "Median": len(scored) // 2, "Worst": len(scored) - 1}
    chosen: dict[str, str] = {}
    for title, place in places.items():
        if 0 <= place < len(scored):
            chosen.setdefault(scored[place].utterance, title)
    return [(title, utterance) for utterance, title in chosen.items()]


def _clip(results: Results, folder: Path, title: str, name: str) -> str:
    reference_path = clip_path(folder, "reference", name)
    if not reference_path.exists():
        return ""
    reference, rate = soundfile.read(reference_path, dtype="float32")
    level = peak_level(reference[: int(PLAYER_SECONDS * rate)], rate)
    players = [_player("reference", "", reference, rate, level)]
    rows = {row.system: row for row in results.rows if row.utterance == name}
    for system, info in results.systems.items():
        path = clip_path(folder, system, name)
        row = rows.get(system)
        if info["text"] == "original" or row is None:
            continue
        if row.status != "ok" or not path.exists():
            players.append(
                f"<div class='player'><header><b>{escape(info['label'])}</b></header>"
                f"<p class='bad'>{escape(row.error or row.status)}</p></div>"
            )
            continue
        scores = ", ".join(
            f"{results.metrics[key]['label']} {row.scores[key]:.{results.metrics[key]['digits']}f}"
            for key in list(results.metrics)[:3]
            if key in row.scores and key in ("pesq_wb", "stoi") or len(results.metrics) < 3 and key in row.scores
        )
        players.append(_player(info["label"], scores, soundfile.read(path, dtype="float32")[0], rate, level))
    row = rows[results.baseline]
    text = " · ".join(part for part in (row.speaker, row.source, f"{row.seconds:.1f} s") if part)
    return (
        f"<div class='clip' tabindex='0'><h3>{escape(title)}: {escape(name)} <span class='soft'>{escape(text)}</span>"
        f"</h3><div class='players'>{''.join(players)}</div></div>"
    )


def _player(label: str, scores: str, samples: np.ndarray, rate: int, level: float) -> str:
    samples = samples[: int(PLAYER_SECONDS * rate)]
    flac = io.BytesIO()
    soundfile.write(flac, samples, rate, format="FLAC", subtype="PCM_16")
    picture = base64.b64encode(spectrogram_png(samples, rate, level)).decode()
    sound = base64.b64encode(flac.getvalue()).decode()
    name = escape(label, quote=True)
    return (
        f"<div class='player'><header><b>{name}</b><span class='soft'>{escape(scores)}</span></header>"
        f"<div class='picture'><img alt='Spectrogram, {name}' src='data:image/png;base64,{picture}'><i></i></div>"
        f"<audio controls preload='metadata' aria-label='{name}' src='data:audio/flac;base64,{sound}'></audio></div>"
    )


def _comparisons(results: Results) -> str:
    ours = escape(results.systems[results.baseline]["label"])
    note = (
        "<p class='soft'>Intervals by bootstrap over speakers, p values by flipping the signs of all of a speaker's "
        "clips (2000 draws), not corrected for the number of rows.</p>"
    )
    summary = f"{ours} minus each other system, on the same clips"
    return _details("Paired comparison", summary, comparisons(results), note)


def _breakdown(results: Results, by: str) -> str:
    note = f"<p class='soft'>{ONE_SPEAKER}</p>"
    return _details(f"By {by}", f"{len(results.breakdowns.get(by, {}))} groups", breakdown(results, by), note)


def _details(title: str, summary: str, rows: list[list[str]], note: str = "") -> str:
    """A table that opens on a click; the second column is text. Nothing where there are no rows."""
    if not rows:
        return ""
    head, *body = (
        "".join(f"<{tag}{' class=text' if at == 1 else ''}>{escape(text)}</{tag}>" for at, text in enumerate(row))
        for tag, row in zip(["th", *["td"] * len(rows)], rows, strict=False)
    )
    return (
        f"<h2>{title}</h2><details><summary>{summary}</summary><div class='scroll'><table><thead>"
        f"<tr>{head}</tr></thead><tbody><tr>{'</tr><tr>'.join(body)}</tr></tbody></table></div>{note}</details>"
    )


def _problems(results: Results) -> str:
    lines = [f"{name}: {reason}" for name, reason in results.left_out.items()] + problems(results)
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    head = f"<h2>Left out, or wrong</h2><details open id='problems'><summary>{len(lines)}</summary>"
    return f"{head}<ul>{items}</ul></details>"


def _footer(results: Results) -> str:
    tools = sorted({f"{k}: {v}" for info in results.systems.values() for k, v in info["versions"].items()})
    versions = [f"{name} {value}" for name, value in results.versions.items()] + tools
    return f"<h2>Versions</h2><p class='soft'>{escape(' · '.join(versions))}</p>"

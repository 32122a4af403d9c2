"""report.md: the table and what belongs to it, for a repository or a paper's appendix."""

from __future__ import annotations

from typing import Any

from .results import Results

MAX_FAILURES_SHOWN = 20
ONE_SPEAKER = "Where there is one speaker, the interval is over clips and says nothing of other speakers."


def markdown(results: Results) -> str:
    """The whole report as Markdown."""
    parts = [
        "# Evaluation",
        "",
        f"{_num_clips(results)} clips of `{results.source}`, scored at {results.reference_rate} Hz after alignment. "
        f"{results.created}.",
        "",
        "```",
        results.command,
        "```",
        "",
        *markdown_table(main_table(results)),
        "",
        f"{how_averaged(results)} Rates in kbit/s: nominal; actual, of what the decoder needs (entropy coded). ↑ "
        "higher is better, ↓ lower is better.",
        "",
    ]
    parts += _left_out(results) + _failures(results) + _costs(results) + _codebooks(results)
    pairs, groups = comparisons(results), breakdown(results, "corpus")
    parts += ["## Paired comparison", "", *markdown_table(pairs), ""] if pairs else []
    parts += ["## By corpus", "", *markdown_table(groups), "", ONE_SPEAKER, ""] if groups else []
    parts += ["## Versions", "", ", ".join(f"{name} {value}" for name, value in results.versions.items()), ""]
    tools = {v for info in results.systems.values() for v in (f"{k}: {x}" for k, x in info["versions"].items())}
    if tools:
        parts += ["Codecs: " + "; ".join(sorted(tools)), ""]
    return "\n".join(parts)


def how_averaged(results: Results) -> str:
    """What a cell of the tables is: over which clips and speakers, and against which transcripts."""
    clips = {row.utterance: row for row in results.rows}
    speakers = {row.speaker for row in clips.values()} - {""}
    unknown = sum(not row.speaker for row in clips.values())
    over = f"{len(speakers)} speakers (drawn with replacement, then clips of each)" if len(speakers) > 1 else "clips"
    said = [f"Mean ± half the 95 % bootstrap interval over {over}."]
    if unknown:
        said.append(f"Who speaks in {unknown} clips is not known: each counts as a speaker of its own.")
    elif len(speakers) == 1:
        said.append(ONE_SPEAKER)
    counts: dict[int, list[str]] = {}
    for name, metric in results.metrics.items():
        found = [values["metrics"][name]["count"] for values in results.summary.values() if name in values["metrics"]]
        counts.setdefault(max(found, default=0), []).append(metric["label"])
    fewer = [f"{', '.join(labels)}: {count}" for count, labels in counts.items() if 0 < count < len(clips)]
    if fewer:
        said.append(f"Only clips that every system has a score for count ({'; '.join(fewer)} of {len(clips)}).")
    if {"wer", "cer"} & results.metrics.keys():
        given = sum(bool(row.text) for row in clips.values())
        said.append(
            f"WER and CER: all errors over all words, against the manifest's transcript in {given} clips and what the "
            f"recogniser hears in the original in {len(clips) - given}."
        )
    return " ".join(said)


def main_table(results: Results) -> list[list[str]]:
    """Header and one row a system, as text."""
    metrics = results.metrics
    table = [["system", "nominal", "actual", *(heading(metrics[name]) for name in metrics), "clips"]]
    for system, summary in results.summary.items():
        info = results.systems[system]
        cells = [cell(summary["metrics"].get(name), metrics[name]["digits"]) for name in metrics]
        rates = [kbps(info["bit_rate"]), actual(summary)]
        table.append([info["label"], *rates, *cells, num_coded(summary)])
    return table


def num_coded(summary: dict[str, Any]) -> str:
    """'217', or '215 of 217 (failed: NAME, NAME)'."""
    failed = summary["failures"]
    if not failed:
        return str(summary["clips"])
    named = ", ".join(failed[:3]) + (", ..." if len(failed) > 3 else "")
    return f"{summary['clips'] - len(failed)} of {summary['clips']} (failed: {named})"


def heading(metric: dict[str, Any]) -> str:
    arrow = {True: " ↑", False: " ↓", None: ""}[metric["higher_is_better"]]
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    return f"{metric['label']}{unit}{arrow}"


def cell(interval: dict[str, float] | None, digits: int) -> str:
    """'2.31 ± 0.04', or a dash."""
    if interval is None:
        return "-"
    half = (interval["high"] - interval["low"]) / 2
    return f"{interval['mean']:.{digits}f} ± {half:.{digits}f}"


def kbps(bit_rate: float | None) -> str:
    return "-" if bit_rate is None else f"{bit_rate / 1000:.2f}"


def actual(summary: dict[str, Any]) -> str:
    """'2.81', or '2.81 (2.07)' with the rate of compact files."""
    compact = summary.get("compact_bit_rate")
    return kbps(summary["payload_bit_rate"]) + (f" ({kbps(compact)})" if compact else "")


def _num_clips(results: Results) -> int:
    return len({row.utterance for row in results.rows})


def markdown_table(rows: list[list[str]]) -> list[str]:
    """Lines of a table whose first row is its header."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def _left_out(results: Results) -> list[str]:
    if not results.left_out:
        return []
    return ["## Left out", "", *(f"- {name}: {reason}" for name, reason in results.left_out.items()), ""]


def problems(results: Results) -> list[str]:
    """A line for each clip of a system that went wrong or has something to say."""
    lines = []
    for row in results.rows:
        said = [row.error] if row.status != "ok" else []
        for reason in dict.fromkeys(row.reasons.values()):
            said.append(f"{', '.join(name for name in row.reasons if row.reasons[name] == reason)}: {reason}")
        said += row.notes
        if said:
            lines.append(f"{row.system}, {row.utterance} ({row.status}): {'; '.join(said)}")
    return lines


def _failures(results: Results) -> list[str]:
    lines = [f"- {line}" for line in problems(results)]
    if not lines:
        return []
    more = len(lines) - MAX_FAILURES_SHOWN
    tail = [f"- and {more} more, in results.json"] if more > 0 else []
    return ["## Clips that went wrong", "", *lines[:MAX_FAILURES_SHOWN], *tail, ""]


def _costs(results: Results) -> list[str]:
    rows = [["system", "encode", "decode", "peak memory (MiB)"]]
    for system, summary in results.summary.items():
        cells = [number(summary[name], 1) for name in ("encode_speed", "decode_speed")]
        cells.append(number(summary.get("peak_mib"), 0))
        if any(cell != "-" for cell in cells):
            rows.append([results.systems[system]["label"], *cells])
    note = (
        "Times real time of one worker while others were busy (`sqcodec profile` measures alone), with the start of "
        "the tool's process where there is one. Memory: of a process that codes the longest clip, with Python and "
        "PyTorch; tools take a few MiB and are not measured."
    )
    return ["## Speed and memory", "", *markdown_table(rows), "", note, ""] if len(rows) > 1 else []


def number(value: float | None, digits: int) -> str:
    """'12.3', or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def _codebooks(results: Results) -> list[str]:
    rows = [["system", "K", "tokens", "codes used", "perplexity", "CVU", "entropy (bit)", "given the last (bit)"]]
    for system, summary in results.summary.items():
        use = summary["codebook"]
        if use:
            rows.append(
                [
                    results.systems[system]["label"],
                    str(use["codebook_size"]),
                    str(use["num_tokens"]),
                    f"{use['used']} ({100 * use['used'] / use['codebook_size']:.1f} %)",
                    f"{use['perplexity']:.0f}",
                    f"{use['cvu']:.4f}",
                    f"{use['entropy']:.2f}",
                    f"{use['bigram_entropy']:.2f}",
                ]
            )
    note = "With fewer tokens than several times K, all but K are underestimates."
    return ["## Codebook", "", *markdown_table(rows), "", note, ""] if len(rows) > 1 else []


def comparisons(results: Results) -> list[list[str]]:
    """Header and rows of the paired comparison, as text; empty where there is nothing to compare."""
    if not results.comparisons:
        return []
    label = {system: info["label"] for system, info in results.systems.items()}
    rows = [[f"{label[results.baseline]} minus", "metric", "difference", "95 % interval", "p", "better on"]]
    for pair in results.comparisons:
        metric = results.metrics[pair["metric"]]
        digits = metric["digits"] + 1
        rows.append(
            [
                label[pair["second"]],
                heading(metric),
                f"{pair['difference']:+.{digits}f}",
                f"{pair['low']:+.{digits}f} to {pair['high']:+.{digits}f}",
                "< .001" if pair["p_value"] < 0.001 else f"{pair['p_value']:.3f}",
                f"{100 * pair['wins']:.0f} % of {pair['count']}",
            ]
        )
    return rows


def breakdown(results: Results, by: str) -> list[list[str]]:
    """Header and rows by corpus, source or speaker, as text; empty where there is a single one."""
    groups = results.breakdowns.get(by, {})
    if len(groups) < 2:
        return []
    metrics = results.metrics
    rows = [[by, "system", "clips", "speakers", *(heading(metric) for metric in metrics.values())]]
    for group, systems in groups.items():
        for system, means in systems.items():
            counts = [str(max((mean[key] for mean in means.values()), default=0)) for key in ("count", "speakers")]
            cells = [cell(means.get(name), metric["digits"]) for name, metric in metrics.items()]
            rows.append([group, results.systems[system]["label"], *counts, *cells])
    return rows

"""The tables of both reports, as rows of text with the head first."""

from __future__ import annotations

from typing import Any

from .results import Results

ONE_SPEAKER = "Where there is one speaker, the interval is over clips and says nothing of other speakers."
Table = list[list[str]]


def main_table(results: Results) -> Table:
    """One row a system: rates in kbit/s (in brackets that of compact files), metrics, clips."""
    metrics = results.metrics
    table = [["system", "nominal", "actual", *(heading(metrics[name]) for name in metrics), "clips"]]
    for system, summary in results.summary.items():
        info = results.systems[system]
        cells = [cell(summary["metrics"].get(name), metrics[name]["digits"]) for name in metrics]
        rates = [number(info["bit_rate"], 2, 1000), number(summary["payload_bit_rate"], 2, 1000)]
        if summary.get("compact_bit_rate"):
            rates[1] += f" ({number(summary['compact_bit_rate'], 2, 1000)})"
        coded, failed = str(summary["clips"]), summary["failures"]
        if failed:
            named = ", ".join(failed[:3]) + (", ..." if len(failed) > 3 else "")
            coded = f"{summary['clips'] - len(failed)} of {summary['clips']} (failed: {named})"
        table.append([info["label"], *rates, *cells, coded])
    return table


def best_systems(results: Results) -> dict[str, str]:
    """Metric -> the best system, among those that code."""
    best = {}
    for name, metric in results.metrics.items():
        means = {
            system: summary["metrics"][name]["mean"]
            for system, summary in results.summary.items()
            if name in summary["metrics"] and results.systems[system]["text"] != "original"
        }
        if means and metric["higher_is_better"] is not None:
            best[name] = (max if metric["higher_is_better"] else min)(means, key=means.__getitem__)
    return best


def cost_table(results: Results) -> Table:
    """One row a system: speed of encoding and decoding, peak memory. Dashes where it was not measured."""
    return [["system", "encode", "decode", "peak memory (MiB)"]] + [
        [results.systems[system]["label"], number(summary["encode_speed"], 1), number(summary["decode_speed"], 1),
         number(summary.get("peak_mib"), 0)]
        for system, summary in results.summary.items()
    ]  # fmt: skip


def codebook_table(results: Results) -> Table:
    """One row a system with a codebook; empty where there is none."""
    rows = []
    for system, summary in results.summary.items():
        use = summary["codebook"]
        if use:
            rows.append([
                results.systems[system]["label"], f"{use['codebook_size']:,}", f"{use['num_tokens']:,}",
                f"{use['used']:,} ({100 * use['used'] / use['codebook_size']:.1f} %)", f"{use['perplexity']:,.0f}",
                f"{use['cvu']:.4f}", f"{use['entropy']:.2f}", f"{use['bigram_entropy']:.2f}",
            ])  # fmt: skip
    head = ["system", "K", "tokens", "codes used", "perplexity", "CVU", "bit a token", "given the one before"]
    return [head, *rows] if rows else []


def comparison_table(results: Results) -> Table:
    """The paired comparison; empty where there is nothing to compare."""
    label = {system: info["label"] for system, info in results.systems.items()}
    rows = [[f"{label[results.baseline]} minus", "metric", "difference", "95 % interval", "p", "better on"]]
    for pair in results.comparisons:
        metric = results.metrics[pair["metric"]]
        digits = metric["digits"] + 1
        rows.append([
            label[pair["second"]], heading(metric), f"{pair['difference']:+.{digits}f}",
            f"{pair['low']:+.{digits}f} to {pair['high']:+.{digits}f}",
            "< .001" if pair["p_value"] < 0.001 else f"{pair['p_value']:.3f}",
            f"{100 * pair['wins']:.0f} % of {pair['count']}",
        ])  # fmt: skip
    return rows if len(rows) > 1 else []


def breakdown_table(results: Results, by: str) -> Table:
    """By corpus, source or speaker; empty where there is a single one."""
    groups, metrics = results.breakdowns.get(by, {}), results.metrics
    rows = [[by, "system", "clips", "speakers", *(heading(metric) for metric in metrics.values())]]
    for group, systems in groups.items():
        for system, means in systems.items():
            counts = [str(max((mean[key] for mean in means.values()), default=0)) for key in ("count", "speakers")]
            cells = [cell(means.get(name), metric["digits"]) for name, metric in metrics.items()]
            rows.append([group, results.systems[system]["label"], *counts, *cells])
    return rows if len(groups) > 1 else []


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


def markdown_table(rows: Table) -> list[str]:
    """Lines of a table in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def heading(metric: dict[str, Any]) -> str:
    arrow = {True: " ↑", False: " ↓", None: ""}[metric["higher_is_better"]]
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    return f"{metric['label']}{unit}{arrow}"


def cell(interval: dict[str, float] | None, digits: int) -> str:
    """'2.31 ± 0.04', or a dash."""
    if interval is None:
        return "-"
    return f"{interval['mean']:.{digits}f} ± {(interval['high'] - interval['low']) / 2:.{digits}f}"


def number(value: float | None, digits: int, unit: float = 1.0) -> str:
    """'12.3', or a dash."""
    return "-" if value is None else f"{value / unit:.{digits}f}"

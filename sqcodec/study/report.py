"""Tables (Markdown) and plots of what a study's store holds."""

from __future__ import annotations

import json
from pathlib import Path

from sqcodec.evaluation.tables import markdown_table, number
from sqcodec.study.plan import Claim, Job, Plan
from sqcodec.study.run import read_results
from sqcodec.study.summary import COLUMNS, Column, Line, difference, over_sizes, summarise


def write_report(plan: Plan, out: str | Path, plots: bool = True) -> list[Path]:
    """Writes ``tables.md``, ``summary.json`` and, with matplotlib, ``*.svg`` into ``out``. Returns the files.

    Raises ValueError where the store is empty.
    """
    out = Path(out)
    results = read_results(out)
    lines = summarise(plan, results.values())
    if not lines:
        raise ValueError(f"There are no results in '{out}' yet.")
    missing = [job for job in plan.jobs() if job.key not in results]
    tables = out / "tables.md"
    parts = [*quality_tables(lines), claims_table(plan, lines), robustness_table(lines), missing_note(missing)]
    tables.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    summary = out / "summary.json"
    summary.write_text(json.dumps([_compact(line) for line in lines], indent=0), encoding="utf-8")
    files = [tables, summary]
    if plots:
        from sqcodec.study.plots import write_plots

        files += write_plots(lines, out)
    return files


def quality_tables(lines: list[Line]) -> list[str]:
    """A table for each size and number of steps, best mel distance first."""
    parts = []
    for size, steps in sorted({(line.size, line.steps) for line in lines}):
        found = [line for line in lines if (line.size, line.steps) == (size, steps)]
        found.sort(key=lambda line: (line.mean("mel") is None, line.mean("mel")))
        parts.append(f"### About {size} codes, {steps} steps")
        parts.append(table(found))
    return parts


def table(lines: list[Line]) -> str:
    """One line a quantizer: mean ± standard deviation over seeds."""
    rows = [["quantizer", "seeds", *(column.label for column in COLUMNS)]]
    for line in lines:
        cells = [cell(line, column) for column in COLUMNS]
        if line.failed and not line.runs:
            cells = [f"failed: {line.failed[0]}", *[""] * (len(COLUMNS) - 1)]
        rows.append([line.label, str(len(line.runs)), *cells])
    return "\n".join(markdown_table(rows))


def cell(line: Line, column: Column) -> str:
    """"1.234 ± 0.012", without the spread for one seed, "-" for none."""
    mean, spread = line.mean(column.name), line.spread(column.name)
    if mean is None:
        return "-"
    text = f"{mean * column.scale:.{column.digits}f}"
    return text if spread is None else f"{text} ± {spread * column.scale:.{column.digits}f}"


def robustness_table(lines: list[Line]) -> str:
    """Quality of trained networks with other numbers of codes than they were trained with."""
    rows = [["quantizer", "trained with", "tested with", "mel distance", "PESQ-WB", "STOI", "CVU"]]
    for line in lines:
        for run in line.runs[:1]:
            tests = {str(run["size"]): run} | run.get("other_sizes", {})
            if len(tests) < 2:
                continue
            for _, test in sorted(tests.items(), key=lambda item: int(item[0])):
                rows.append([
                    line.label, f"{run['codes']:.0f}", f"{test['codes']:.0f}",
                    *(number(test[name], 3) for name in ("mel", "pesq_wb", "stoi", "cvu")),
                ])  # fmt: skip
    if len(rows) == 1:
        return ""
    return "### Trained with one number of codes, tested with another\n\n" + "\n".join(markdown_table(rows))


def claims_table(plan: Plan, lines: list[Line]) -> str:
    """The plan's claims at each size where both rows ran: mean difference over paired seeds, 95 % interval, verdict.

    Where there are several sizes with the same number of steps, also over all of them.
    """
    rows = [["claim", "codes", "steps", "number", "difference", "95 % interval", "seeds", "verdict"]]
    of = {(line.row, line.size, line.steps): line for line in lines}
    for claim in plan.claims:
        both = [(size, steps) for row, size, steps in of if row == claim.first and (claim.second, size, steps) in of]
        for size, steps in both:
            shown = _claimed(claim, of[claim.first, size, steps], of[claim.second, size, steps])
            if shown:
                rows.append([claim.text, str(size), str(steps), claim.metric, *shown])
        for steps in sorted({steps for _, steps in both}):
            sizes = [size for size, those in both if those == steps]
            if len(sizes) < 2:
                continue
            first, second = (
                over_sizes((of[row, size, steps] for size in sizes), claim.metric)
                for row in (claim.first, claim.second)
            )
            if first and second:
                rows.append([claim.text, "all", str(steps), claim.metric, *_claimed(claim, first, second)])
    return "" if len(rows) == 1 else "### What the papers say\n\n" + "\n".join(markdown_table(rows))


def _claimed(claim: Claim, first: Line, second: Line) -> list[str]:
    found = difference(first, second, claim.metric)
    if found is not None:
        mean, low, high, count = found
        sides = [high < 0, low > 0] if claim.lower else [low > 0, high < 0]
        verdict = "confirmed" if sides[0] else "contradicted" if sides[1] else "not decided"
        return [f"{mean:+.3f}", f"{low:+.3f} to {high:+.3f}", str(count), verdict]
    one, two = first.mean(claim.metric), second.mean(claim.metric)
    return [] if one is None or two is None else [f"{one - two:+.3f}", "-", "1", "one seed: no verdict"]


def missing_note(missing: list[Job]) -> str:
    """Which runs of the plan there are no results of."""
    if not missing:
        return "Every run of the study is in these tables."
    groups: dict[tuple[int, int], dict[str, int]] = {}
    for job in missing:
        rows = groups.setdefault((job.size, job.steps), {})
        rows[job.row] = rows.get(job.row, 0) + 1
    lines = [f"### Not run\n\n{len(missing)} runs of the study are not in these tables (number of seeds):\n"]
    for (size, steps), rows in sorted(groups.items()):
        names = ", ".join(f"{row} ({count})" for row, count in rows.items())
        lines.append(f"- {size} codes" + (f", {steps} steps" if steps else "") + f": {names}")
    return "\n".join(lines)


def _compact(line: Line) -> dict:
    """What a reader of the summary needs, rounded."""
    names = [column.name for column in COLUMNS] + ["entropy_bits", "gradient_norm_spread", "parameters"]
    return {
        "row": line.row, "size": line.size, "steps": line.steps, "seeds": [run["seed"] for run in line.runs],
        "failed": line.failed,
        **{name: [_rounded(run.get(name)) for run in line.runs] for name in names},
    }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")

"""All that an evaluation leaves: results.json, report.md, report.html, and exports for other toolkits.

The reports are templates (assets/). VERSA (https://github.com/wavlab-speech/versa) scores `--gt reference.scp --pred
SYSTEM.scp`: a name and a path a line. Codec-SUPERB (https://github.com/voidful/Codec-SUPERB) reports the mean of each
metric by codec and data set.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqcodec.extras import require
from sqcodec.files import write_atomically

from . import drawings, tables
from .results import Results
from .work import clip_path

_SUPERB_NAMES = {"pesq_wb": "pesq", "stoi": "stoi", "mel": "mel", "stft": "stft", "f0_rmse": "f0", "si_sdr": "si_sdr"}
_SUPERB_ALL = "all"


def publish(results: Results, folder: Path) -> list[Path]:
    """Writes the files into the evaluation's folder and returns their paths."""
    files = [results.save(folder), folder / "report.md", folder / "report.html"]
    for file in files[1:]:
        write_atomically(file, render(file.name, results, folder))
    write_versa(results, folder)
    write_codec_superb(results, folder)
    return files


def render(name: str, results: Results, folder: Path) -> str:
    """`report.md`, the tables and what belongs to them, for a repository or a paper's appendix; or `report.html`, one
    self-contained page: tables, plots, players, spectrograms. `folder` has the coded audio."""
    jinja2 = require("jinja2", "eval", "The report")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "assets"), autoescape=name.endswith("html"), trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    tools = {f"{tool}: {value}" for info in results.systems.values() for tool, value in info["versions"].items()}
    clips = len({row.utterance for row in results.rows})
    return environment.get_template(f"{name}.jinja").render(
        results=results, folder=folder, tables=tables, drawings=drawings, clips=clips, tools=sorted(tools)
    )


def write_versa(results: Results, folder: Path) -> None:
    """exports/versa/: reference.scp, one .scp a system, utt2spk, and scores of each clip as JSON lines."""
    out = folder / "exports" / "versa"
    out.mkdir(parents=True, exist_ok=True)
    good = [row for row in results.rows if row.status == "ok"]
    lists: dict[str, list[str]] = {"reference": []}
    scores: dict[str, list[str]] = {}
    for row in good:
        path = clip_path(folder, row.system, row.utterance).resolve()
        lists.setdefault(row.system, []).append(f"{row.utterance} {path}")
        scores.setdefault(row.system, []).append(json.dumps({"key": row.utterance, **row.scores}))
    names = sorted({(row.utterance, row.speaker or row.utterance) for row in good})
    lists["reference"] = [f"{name} {clip_path(folder, 'reference', name).resolve()}" for name, _ in names]
    texts = {f"{name}.scp": lines for name, lines in lists.items()}
    texts |= {f"{name}.result.txt": lines for name, lines in scores.items()}
    texts["utt2spk"] = [f"{name} {speaker}" for name, speaker in names]
    for name, lines in texts.items():
        write_atomically(out / name, "".join(f"{line}\n" for line in sorted(lines)))


def write_codec_superb(results: Results, folder: Path) -> Path:
    """exports/codec_superb.json: codec -> data set ('all' and each source) -> metric -> mean."""
    table: dict[str, dict[str, Any]] = {}
    for system, summary in results.summary.items():
        groups = {_SUPERB_ALL: summary["metrics"]}
        groups |= {name: means[system] for name, means in results.breakdowns.get("source", {}).items()}
        rate = summary["payload_bit_rate"]
        table[system] = {
            "bitrate_kbps": None if rate is None else round(rate / 1000, 4),
            "datasets": {
                name: {_SUPERB_NAMES.get(key, key): interval["mean"] for key, interval in means.items()}
                for name, means in groups.items()
                if means
            },
        }
    path = folder / "exports" / "codec_superb.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(table, indent=1))
    return path

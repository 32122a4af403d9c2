"""All that an evaluation leaves: results.json, report.md, report.html, exports. The reports are templates (assets/)."""

from __future__ import annotations

from pathlib import Path

from sqcodec.extras import require
from sqcodec.files import write_atomically

from . import drawings, tables
from .exports import write_codec_superb, write_versa
from .results import Results


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

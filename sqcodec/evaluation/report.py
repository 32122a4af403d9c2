"""All that an evaluation leaves: results.json, report.md, report.html, exports. The reports are templates (assets/)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqcodec.extras import require
from sqcodec.files import write_atomically

from . import drawings, tables
from .exports import write_codec_superb, write_versa
from .results import Results


def publish(results: Results, folder: Path) -> list[Path]:
    """Writes the files into the evaluation's folder and returns their paths."""
    files = [results.save(folder), folder / "report.md", folder / "report.html"]
    write_atomically(files[1], markdown(results))
    write_atomically(files[2], page(results, folder))
    write_versa(results, folder)
    write_codec_superb(results, folder)
    return files


def markdown(results: Results) -> str:
    """The tables and what belongs to them, for a repository or a paper's appendix."""
    return _render("report.md", results)


def page(results: Results, folder: Path) -> str:
    """One self-contained page: tables, plots, players, spectrograms. `folder` has the coded audio."""
    return _render("report.html", results, drawings=drawings, folder=folder, best=tables.best_systems(results))


def _render(template: str, results: Results, **values: Any) -> str:
    jinja2 = require("jinja2", "eval", "The report")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "assets"), autoescape=template.endswith("html"), trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    tools = {f"{name}: {value}" for info in results.systems.values() for name, value in info["versions"].items()}
    clips = len({row.utterance for row in results.rows})
    return environment.get_template(f"{template}.jinja").render(
        results=results, tables=tables, clips=clips, tools=sorted(tools), **values
    )

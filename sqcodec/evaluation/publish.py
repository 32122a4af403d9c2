"""Writing all that an evaluation leaves: results.json, report.md, report.html, exports."""

from __future__ import annotations

from pathlib import Path

from sqcodec.files import write_atomically

from .exports import write_codec_superb, write_versa
from .html import page
from .report import markdown
from .results import Results


def publish(results: Results, folder: Path) -> list[Path]:
    """Writes the files into the evaluation's folder and returns their paths."""
    files = [results.save(folder), folder / "report.md", folder / "report.html"]
    write_atomically(files[1], markdown(results))
    write_atomically(files[2], page(results, folder))
    write_versa(results, folder)
    write_codec_superb(results, folder)
    return files

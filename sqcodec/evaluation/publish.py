"""Writing all that an evaluation leaves: results.json, report.md, and the exports for other toolkits."""

from __future__ import annotations

from pathlib import Path

from .report import markdown
from .results import Results, write_atomically


def publish(results: Results, folder: Path) -> list[Path]:
    """Writes the files and returns their paths."""
    files = [results.save(folder), folder / "report.md"]
    write_atomically(files[1], markdown(results))
    return files

"""The results store of a study: one JSON line a finished run. A run without a line is run (again)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

NAME = "results.jsonl"


class Store:
    """``folder``/results.jsonl; a line cut off by a kill is left out, and ends before the next is written."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / NAME

    def read(self) -> dict[str, dict[str, Any]]:
        """Results by key, the last line of a key."""
        if not self.path.is_file():
            return {}
        found = {}
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                result = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[result["key"]] = result
        return found

    def add(self, result: dict[str, Any]) -> None:
        """Appends a result, on disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            broken = file.tell() and not self.path.read_bytes().endswith(b"\n")
            file.write((b"\n" if broken else b"") + json.dumps(result).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

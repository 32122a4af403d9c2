"""What an evaluation leaves behind: a row per clip and system, appended as they come, and results.json.

`rows.jsonl` in the output folder is the memory of an interrupted run: one JSON object a line, the last one of a
clip and system counts. `results.json` (schema `sqcodec.evaluation/1`) is written at the end, whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sqcodec.files import append_lines, read_lines, write_atomically

from .scorers import all_metrics

SCHEMA = "sqcodec.evaluation/1"


@dataclass
class Row:
    """One clip through one system.

    `status`: 'ok'; 'failed' (nothing came out: `error` says why); 'unreadable' (the clip itself). `scores` holds
    what could be scored, `reasons` why each other metric could not. `delay` is in samples at the reference rate;
    `length_change` in seconds, output minus input. Bits and times as in `Coded`. `fingerprint` is the system's; `text`
    the manifest's transcript or empty.
    """

    system: str
    utterance: str
    path: str
    speaker: str = ""
    source: str = ""
    text: str = ""
    seconds: float = 0.0
    status: str = "ok"
    error: str = ""
    notes: list[str] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    delay: int = 0
    length_change: float = 0.0
    payload_bits: int | None = None
    file_bits: int | None = None
    compact_bits: int | None = None
    num_tokens: int | None = None
    encode_seconds: float | None = None
    decode_seconds: float | None = None
    fingerprint: str = ""

    @property
    def corpus(self) -> str:
        """The source's first word: 'librispeech' of 'librispeech-dev-clean'."""
        return re.split(r"[\s,/(_-]", self.source, maxsplit=1)[0]

    def missing(self, metrics: list[str], text: str) -> list[str]:
        """Those of `metrics` that this row has neither a score nor a reason for, or for another transcript."""
        weights = {name: metric.weight for name, metric in all_metrics().items()}

        def is_there(name: str) -> bool:
            by_text = weights[name]
            return name in self.scores and (not by_text or by_text in self.scores and text == self.text)

        return [name for name in metrics if name not in self.reasons and not is_there(name)]


class RowStore:
    """rows.jsonl: read at the start, appended to after each clip. A half-written last line is dropped."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rows.jsonl"
        self.rows: dict[tuple[str, str], Row] = {}
        known = {item.name for item in fields(Row)}
        for values in read_lines(self.path):
            with contextlib.suppress(TypeError):  # it lacks what a row needs
                row = Row(**{key: value for key, value in values.items() if key in known})
                self.rows[row.system, row.utterance] = row

    def add(self, rows: list[Row]) -> None:
        """Keeps rows, on disk before it returns."""
        append_lines(self.path, map(asdict, rows))
        for row in rows:
            self.rows[row.system, row.utterance] = row


@dataclass
class Results:
    """Everything that the reports are made of. All members are plain JSON values or lists of rows."""

    command: str
    created: str
    source: str
    reference_rate: int
    versions: dict[str, str]
    metrics: dict[str, dict[str, Any]]
    systems: dict[str, dict[str, Any]]
    summary: dict[str, dict[str, Any]]
    breakdowns: dict[str, dict[str, dict[str, Any]]]
    comparisons: list[dict[str, Any]]
    left_out: dict[str, str]
    rows: list[Row]
    baseline: str = ""

    def save(self, folder: Path) -> Path:
        path = folder / "results.json"
        write_atomically(path, json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, allow_nan=False))
        return path

    @classmethod
    def load(cls, path: Path) -> Results:
        """Reads results.json. Raises ValueError where it is not one of this schema."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"'{path}' is not JSON: {error}.") from error
        if not isinstance(values, dict) or values.pop("schema", None) != SCHEMA:
            raise ValueError(f"'{path}' is not a results file of schema {SCHEMA}.")
        values["rows"] = [Row(**row) for row in values["rows"]]
        return cls(**values)

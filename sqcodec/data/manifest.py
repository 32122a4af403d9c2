"""Manifests: which clips belong to a corpus, who speaks, and how long they are.

Two forms are read: JSONL (one object a line) and TSV with a header line. Both need the column ``path``
(relative to the manifest's folder, or absolute); ``split``, ``speaker``, ``seconds``, ``text`` and ``source``
are used when present. A folder of audio files is a manifest too: its speaker is the name of the file's parent folder.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqcodec.audio import SUFFIXES

FEWEST_SPEAKERS = 10
"""From so many speakers on, speakers are held out rather than clips."""


@dataclass(frozen=True)
class Clip:
    """One audio file of a corpus. ``seconds`` is None where the manifest does not say."""

    path: Path
    speaker: str = ""
    seconds: float | None = None
    split: str = ""
    text: str = ""
    source: str = ""


def read_manifest(source: str | Path, split: str | None = None) -> list[Clip]:
    """The clips of a manifest (.jsonl, .tsv) or of a folder of audio, in a fixed order.

    Args:
        source: manifest file or folder.
        split: keep only the clips of this split (manifests only).
    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: no clip is left, or a line cannot be read (it is named).
    """
    source = Path(source)
    if source.is_dir():
        clips = [
            Clip(path, speaker=path.parent.name)
            for path in sorted(source.rglob("*"))
            if path.suffix.lower() in SUFFIXES and path.is_file()
        ]
    elif source.is_file():
        rows = _read_tsv(source) if source.suffix.lower() == ".tsv" else _read_jsonl(source)
        clips = [_to_clip(row, source, number) for number, row in rows]
        if split is not None:
            clips = [clip for clip in clips if clip.split == split]
    else:
        raise FileNotFoundError(f"No manifest or folder at '{source}'.")
    if not clips:
        wanted = f" of split '{split}'" if split else ""
        raise ValueError(f"'{source}' lists no clips{wanted}.")
    return clips


def hold_out_speakers(clips: list[Clip], speakers: Iterable[str]) -> tuple[list[Clip], list[Clip]]:
    """Splits clips into (the rest, those of the given speakers). An unknown speaker is a ValueError."""
    wanted = set(speakers)
    unknown = wanted - {clip.speaker for clip in clips}
    if unknown:
        raise ValueError(f"Unknown speakers {sorted(unknown)}: the manifest has none of their clips.")
    return [c for c in clips if c.speaker not in wanted], [c for c in clips if c.speaker in wanted]


def hold_out_share(clips: list[Clip], share: float) -> tuple[list[Clip], list[Clip]]:
    """Splits clips into (the rest, about ``share`` of the speakers, at least one).

    Who is held out follows from a hash of the name, so adding clips moves nobody. Where there are fewer than ten
    speakers it is clips instead of speakers. A share outside (0, 1), or a single clip, is a ValueError.
    """
    if not 0 < share < 1 or len(clips) < 2:
        raise ValueError(f"data.validation_share is {share} of {len(clips)} clips: give 0 to 1, and 2 clips or more.")
    by_speaker = enough_speakers(clip.speaker for clip in clips)
    inside = chosen_names([clip.speaker if by_speaker else clip.path.name for clip in clips], share)
    rest = [clip for clip, out in zip(clips, inside, strict=True) if not out]
    if not rest:
        raise ValueError("data.validation_share holds out every clip: give data.validation_split instead.")
    return rest, [clip for clip, out in zip(clips, inside, strict=True) if out]


def enough_speakers(speakers: Iterable[str]) -> bool:
    """Whether there are so many that some of them can be held out."""
    return len(set(speakers)) >= FEWEST_SPEAKERS


def chosen_names(names: Sequence[str], share: float) -> list[bool]:
    """For each name whether it is among about ``share`` of them, chosen by a hash; at least one is."""
    places = {name: name_place(name) for name in set(names)}
    highest = max(share, min(places.values(), default=0.0))
    return [places[name] <= highest for name in names]


def name_place(name: str) -> float:
    """A number in [0, 1) that only depends on the name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def _read_tsv(path: Path) -> Iterable[tuple[int, dict]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from enumerate(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE), start=2)


def _read_jsonl(path: Path) -> Iterable[tuple[int, dict]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"'{path}', line {number}: not a JSON object ({error}).") from error


def _to_clip(row: dict, manifest: Path, number: int) -> Clip:
    if not isinstance(row, dict) or not row.get("path"):
        raise ValueError(f"'{manifest}', line {number}: no 'path'.")
    try:
        seconds = float(row["seconds"]) if row.get("seconds") not in (None, "") else None
    except (TypeError, ValueError):
        raise ValueError(f"'{manifest}', line {number}: seconds is {row['seconds']!r}, not a number.") from None
    path = Path(row["path"])
    return Clip(
        path=path if path.is_absolute() else manifest.parent / path,
        speaker=str(row.get("speaker") or ""),
        seconds=seconds,
        split=str(row.get("split") or ""),
        text=str(row.get("text") or ""),
        source=str(row.get("source") or ""),
    )

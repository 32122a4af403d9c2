"""From a folder of audio to a manifest: every file is decoded once, and what should not be trained on is reported."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sqcodec.audio import SUFFIXES, AudioReader, CutAudioError
from sqcodec.data.manifest import name_place

SILENCE = 1e-3
"""A clip whose loudest sample is below this (60 dB under full scale) is silent."""


@dataclass(frozen=True)
class Finding:
    """One file: usable where ``problem`` is empty ("broken", "cut", "silent", "short", "duplicate")."""

    path: Path
    seconds: float = 0.0
    sample_rate: int = 0
    digest: str = ""
    problem: str = ""
    note: str = ""


def examine(path: Path, shortest: float = 0.0) -> Finding:
    """Decodes a file in blocks."""
    digest, peak = hashlib.sha256(), 0.0
    try:
        with AudioReader(path) as reader:
            for block in reader.blocks():
                peak = max(peak, float(np.abs(block).max()))
                digest.update(np.rint(block.T * 32767).astype(np.int16).tobytes())
            seconds, rate = reader.samples_read / reader.sample_rate, reader.sample_rate
    except (OSError, ValueError) as error:
        problem = "cut" if isinstance(error, CutAudioError) else "broken"
        return Finding(path, problem=problem, note=str(error).removeprefix(f"{path}: "))
    problem = "silent" if peak < SILENCE else "short" if seconds < shortest else ""
    note = {"silent": f"peak {peak:.1g}", "short": f"{seconds:.2f} s"}.get(problem, "")
    return Finding(path, seconds, rate, digest.hexdigest(), problem, note)


def examine_folder(folder: Path, shortest: float = 0.0, jobs: int = 1, pattern: str = "*") -> Iterator[Finding]:
    """The audio files under a folder whose names fit, in a fixed order. Of equal ones (same samples) one is usable."""
    paths = sorted(path for path in folder.rglob(pattern) if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ValueError(f"No audio under '{folder}' ({' '.join(sorted(SUFFIXES))}).")
    first: dict[str, Path] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(lambda path: examine(path, shortest), paths):
            if not found.problem and found.digest in first:
                found = Finding(found.path, problem="duplicate", note=f"of {first[found.digest]}")
            elif not found.problem:
                first[found.digest] = found.path
            yield found


def split_of(speaker: str, shares: dict[str, float]) -> str:
    """The split of a speaker, by a hash of the name: adding files moves nobody. ``shares`` beside "train"."""
    place = name_place(speaker)
    for split, share in shares.items():
        if place < share:
            return split
        place -= share
    return "train"


def manifest_line(
    found: Finding, manifest: Path, speaker: str, split: str, text: str = "", source: str = ""
) -> str:
    """One JSON object; the path is relative to the manifest where it lies under its folder."""
    path, root = found.path.resolve(), manifest.parent.resolve()
    row = {
        "path": str(path.relative_to(root) if path.is_relative_to(root) else path),
        "split": split,
        "speaker": speaker,
        "seconds": round(found.seconds, 3),
        "sample_rate": found.sample_rate,
    }
    row |= {key: value for key, value in (("text", text), ("source", source)) if value}
    return json.dumps(row, ensure_ascii=False)


def transcript(path: Path) -> str:
    """The text beside a clip: ``name.normalized.txt`` or ``name.txt``, else nothing."""
    for suffix in (".normalized.txt", ".txt"):
        beside = path.with_suffix(suffix)
        if beside.is_file():
            return " ".join(beside.read_text(encoding="utf-8").split())
    return ""

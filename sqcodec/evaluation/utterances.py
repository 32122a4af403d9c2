"""What is evaluated: clips of a manifest or a folder, each with a short name of its own."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sqcodec import audio
from sqcodec.data.manifest import read_manifest


@dataclass(frozen=True)
class Utterance:
    """One clip. `name` is unique in the run and safe as a file name; `text` is its transcript or empty."""

    name: str
    path: str
    speaker: str = ""
    source: str = ""
    text: str = ""

    def load(self, sample_rate: int) -> np.ndarray:
        """Samples float32 [T] at `sample_rate` Hz; several channels are averaged. Raises AudioError, OSError."""
        samples, _ = audio.load(self.path, sample_rate)
        return samples.mean(axis=0)


def list_utterances(source: str | Path, split: str | None = None, limit: int | None = None) -> list[Utterance]:
    """The clips of a manifest (TSV, JSONL) or folder, in its order.

    Args:
        source: manifest file or folder of audio.
        split: keep this split only (manifests; a folder has none).
        limit: keep this many, spread evenly over the list, so that all speakers have a share.
    Raises:
        FileNotFoundError, ValueError: as `read_manifest`; or limit is below 1.
    """
    clips = read_manifest(source, None if Path(source).is_dir() else split)
    if limit is not None:
        if limit < 1:
            raise ValueError(f"limit is {limit}; it must be at least 1.")
        step = max(len(clips) / limit, 1.0)
        clips = [clips[int(i * step)] for i in range(min(limit, len(clips)))]
    stems = Counter(_safe(clip.path.stem) for clip in clips)
    taken: Counter[str] = Counter()
    utterances = []
    for clip in clips:
        name = _safe(clip.path.stem)
        if stems[name] > 1:
            name = f"{_safe(clip.path.parent.name)}_{name}"
        taken[name] += 1
        if taken[name] > 1:
            name = f"{name}_{taken[name]}"
        utterances.append(Utterance(name, str(clip.path), clip.speaker, clip.source, clip.text))
    return utterances


def _safe(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text) or "clip"

"""What is evaluated: clips of a manifest or a folder, each with a short name of its own."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sqcodec import audio
from sqcodec.data.manifest import Clip, read_manifest


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
        source: manifest file or folder of audio. Speakers of a folder are the names of its folders; who speaks in the
            files right under it is not known.
        split: keep this split only (manifests; a folder has none).
        limit: keep this many: one of each speaker, or of speakers spread evenly over the list where there are more;
            then a second one of those that have two, and so on.
    Raises:
        FileNotFoundError, ValueError: as `read_manifest`; or limit is below 1.
    """
    clips = read_manifest(source, None if Path(source).is_dir() else split)
    if Path(source).is_dir():
        clips = [replace(clip, speaker="") if clip.path.parent == Path(source) else clip for clip in clips]
    if limit is not None:
        clips = _spread(clips, limit)
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


def _spread(clips: list[Clip], limit: int) -> list[Clip]:
    """`limit` of the clips, of as many speakers as can be, in their order."""
    if limit < 1:
        raise ValueError(f"limit is {limit}; it must be at least 1.")
    groups: dict[str, list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        groups[clip.speaker].append(index)
    turns: dict[int, list[int]] = defaultdict(list)
    for group in groups.values():
        order = np.argsort(np.arange(len(group)) * 0.618034 % 1, kind="stable")  # spread over the list, how many ever
        for turn, at in enumerate(order):
            turns[turn].append(group[at])
    chosen: list[int] = []
    for indices in turns.values():
        count = min(limit - len(chosen), len(indices))
        chosen += [indices[at * len(indices) // count] for at in range(count)]
    return [clips[index] for index in sorted(chosen)]


def _safe(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text) or "clip"

"""What is evaluated: clips of a manifest or a folder, each with a short name of its own."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
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


def list_utterances(
    source: str | Path | Sequence[str | Path], split: str | None = None, limit: int | None = None
) -> list[Utterance]:
    """The clips of audio files, folders and manifests (TSV, JSONL), in their order.

    Args:
        source: one of them, or several. Speakers of a folder are the names of its folders; who speaks in files that
            are named or right under it is not known.
        split: keep this split only (manifests; a folder has none).
        limit: keep this many: one of each speaker, or of speakers spread evenly over the list where there are more;
            then a second one of those that have two, and so on.
    Raises:
        FileNotFoundError, ValueError: as `read_manifest`; or limit is below 1.
    """
    named = [Path(source)] if isinstance(source, (str, Path)) else [Path(one) for one in source]
    clips = [clip for path in named for clip in _clips(path, split)]
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


def _clips(path: Path, split: str | None) -> list[Clip]:
    if path.suffix.lower() in audio.SUFFIXES and not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"{path}: No such file")
        return [Clip(path)]
    if not path.is_dir():
        return read_manifest(path, split)
    return [replace(clip, speaker="") if clip.path.parent == path else clip for clip in read_manifest(path)]


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

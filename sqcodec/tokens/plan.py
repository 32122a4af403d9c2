"""What is to be done, fixed before any of it: which clips, which ids, which shard. It depends on the manifest alone.

A shard is the unit of work and of failure: one process makes it, it appears whole or not at all, and then a note of
what it holds is left. So a run that was killed goes on with the shards that have no note, and neither the engine nor
the number of workers changes a byte.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sqcodec.data.manifest import Clip
from sqcodec.tokens.records import TokenInfo

DATA, NOTES = "data", "shards"
SUFFIXES = {"parquet": ".parquet", "npz": ".npz", "webdataset": ".tar", "hf": ".arrow"}


@dataclass(frozen=True)
class Item:
    """One clip to be coded."""

    id: str
    path: str
    speaker: str
    split: str
    text: str
    source: str


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs. ``first`` is the position of its first clip in the corpus."""

    number: int
    first: int
    items: tuple[Item, ...]
    out: str
    format: str
    model: str
    device: str
    info: TokenInfo

    @property
    def name(self) -> str:
        return f"part-{self.number:05d}"

    @property
    def data_path(self) -> Path:
        return Path(self.out) / DATA / (self.name + SUFFIXES[self.format])

    @property
    def note_path(self) -> Path:
        return Path(self.out) / NOTES / (self.name + ".json")


@dataclass(frozen=True)
class Plan:
    """A corpus in shards."""

    shards: tuple[tuple[Item, ...], ...]
    duplicates: tuple[str, ...]
    """Paths that the manifest lists again."""

    @cached_property
    def digest(self) -> str:
        """Changes with any clip, its fields, or where it goes (paths to the files may move)."""
        rows = [[dataclasses.astuple(dataclasses.replace(item, path="")) for item in items] for items in self.shards]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def make_plan(clips: list[Clip], root: Path, shard_clips: int, shard_seconds: float) -> Plan:
    """Clips in the manifest's order; a shard is full at ``shard_clips`` clips or ``shard_seconds`` of audio.

    A clip's id is its path relative to ``root`` without the suffix, or with it where two differ in nothing else.
    """
    unique: dict[str, Clip] = {}
    duplicates = []
    for clip in clips:
        if unique.setdefault(str(clip.path), clip) is not clip:
            duplicates.append(str(clip.path))
    names = {path: _name(clip.path, root) for path, clip in unique.items()}
    taken = Counter(Path(name).with_suffix("").as_posix() for name in names.values())
    shards: list[tuple[Item, ...]] = []
    shard: list[Item] = []
    seconds = 0.0
    for path, clip in unique.items():
        bare = Path(names[path]).with_suffix("").as_posix()
        name = bare if taken[bare] == 1 else names[path]
        shard.append(Item(name, path, clip.speaker, clip.split, clip.text, clip.source))
        seconds += clip.seconds or 0.0
        if len(shard) >= shard_clips or seconds >= shard_seconds:
            shards.append(tuple(shard))
            shard, seconds = [], 0.0
    if shard:
        shards.append(tuple(shard))
    return Plan(tuple(shards), tuple(duplicates))


def _name(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path.relative_to(path.anchor)).as_posix()

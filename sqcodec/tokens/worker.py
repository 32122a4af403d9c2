"""One shard: clips to tokens to a file, and a note of what it holds. Runs in worker processes of any engine."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from sqcodec.audio import AudioReader
from sqcodec.codec import Codec, Precision
from sqcodec.files import published, write_atomically
from sqcodec.tokens.formats import shard_format
from sqcodec.tokens.plan import Item, ShardTask
from sqcodec.tokens.records import TokenRecord

BATCH_SECONDS = 120.0
"""Clips are coded together up to this much audio; a longer one goes through in blocks by itself."""

_Clip = tuple[Item, np.ndarray, AudioReader]
"""With samples [T] at the model's rate, and what read them."""


@dataclass(frozen=True)
class Skipped:
    """A clip that could not be coded."""

    id: str
    path: str
    problem: str


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard. ``audio_seconds`` were coded in ``elapsed`` seconds; ``error`` says why it is missing."""

    number: int
    clips: int = 0
    tokens: int = 0
    audio_seconds: float = 0.0
    skipped: tuple[Skipped, ...] = ()
    elapsed: float = 0.0
    error: str = ""
    bytes: int = -1
    """Of the file; -1 where its note, an old one, does not say."""

    def to_note(self) -> str:
        """JSON of all that does not depend on the machine."""
        skipped = [[item.id, item.path, item.problem] for item in self.skipped]
        note = {"clips": self.clips, "tokens": self.tokens, "seconds": round(self.audio_seconds, 6)}
        return json.dumps(note | {"bytes": self.bytes, "skipped": skipped}, ensure_ascii=False)

    @classmethod
    def from_note(cls, number: int, path: Path) -> ShardResult:
        """Raises ValueError, naming the file, where it is not such a note."""
        try:
            note = json.loads(path.read_text("utf-8"))
            skipped = tuple(Skipped(*map(str, entry)) for entry in note["skipped"])
            clips, tokens, seconds = int(note["clips"]), int(note["tokens"]), float(note["seconds"])
            return cls(number, clips, tokens, seconds, skipped, bytes=int(note.get("bytes", -1)))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError(f"'{path}' is damaged: remove it, and its shard is made again.") from None


def prepare_process() -> None:
    """One thread a worker: they are as many as the cores, and tokens must not depend on the machine. A worker whose
    parent was killed ends too."""
    torch.set_num_threads(1)
    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()


def run_shard(task: ShardTask) -> ShardResult:
    """Codes a shard. Broken clips are in the result; OSError where the shard cannot be written."""
    start = time.perf_counter()
    codec = _load(task.model, task.device, task.info.precision)
    if not codec.matches(task.info.weights_hash):
        raise ValueError(f"Model '{task.model}' has changed since the run began: its weights are others.")
    skipped: list[Skipped] = []
    records = list(_code(codec, task, skipped))
    order = {item.id: index for index, item in enumerate(task.items)}
    records.sort(key=lambda record: order[record.id])
    task.data_path.parent.mkdir(parents=True, exist_ok=True)
    task.note_path.parent.mkdir(parents=True, exist_ok=True)
    with published(task.data_path) as partial:
        shard_format(task.format).write(partial, records, task.info, task.first)
    result = ShardResult(
        number=task.number,
        clips=len(records),
        tokens=sum(len(record.tokens) for record in records),
        audio_seconds=sum(record.seconds for record in records),
        skipped=tuple(sorted(skipped, key=lambda entry: order[entry.id])),
        elapsed=time.perf_counter() - start,
        bytes=task.data_path.stat().st_size,
    )
    write_atomically(task.note_path, result.to_note())
    return result


def _code(codec: Codec, task: ShardTask, skipped: list[Skipped]) -> Iterator[TokenRecord]:
    """The records of clips, those of a batch together and after those of longer clips in between."""
    most, batch, waiting = int(BATCH_SECONDS * codec.sample_rate), list[_Clip](), 0
    for item in task.items:
        try:
            with AudioReader(item.path) as reader:
                blocks = _mono(reader, codec.sample_rate)
                held, total = [], 0
                for block in blocks:
                    held.append(block)
                    total += block.shape[1]
                    if total > most:
                        coded = list(codec.encode_blocks(itertools.chain(held, blocks), bits=task.info.bits))
                        length = -(-reader.samples_read * codec.sample_rate // reader.sample_rate)
                        yield _record(task, item, np.concatenate(coded, axis=1)[0], length, reader)
                        break
                else:
                    if batch and waiting + total > most:
                        yield from _code_batch(codec, task, batch)
                        batch, waiting = [], 0
                    batch.append((item, np.concatenate(held, axis=1)[0], reader))
                    waiting += total
        except (ValueError, OSError) as error:
            skipped.append(Skipped(item.id, item.path, " ".join(str(error).split())))
    if batch:
        yield from _code_batch(codec, task, batch)


def _code_batch(codec: Codec, task: ShardTask, batch: list[_Clip]) -> Iterator[TokenRecord]:
    coded = codec.encode_batch([samples for _, samples, _ in batch], bits=task.info.bits)
    for (item, samples, reader), tokens in zip(batch, coded, strict=True):
        yield _record(task, item, tokens.numpy(), len(samples), reader)


def _record(task: ShardTask, item: Item, tokens: np.ndarray, length: int, reader: AudioReader) -> TokenRecord:
    """Of a clip that was read to its end; ``length`` in samples at the model's rate."""
    seconds, rate = reader.samples_read / reader.sample_rate, reader.sample_rate
    kept = tokens.astype(task.info.dtype)
    return TokenRecord(item.id, kept, length, seconds, rate, item.speaker, item.split, item.text, item.source)


def _mono(reader: AudioReader, sample_rate: int) -> Iterator[np.ndarray]:
    """Blocks [1, t]: the mean of the channels."""
    for block in reader.blocks(sample_rate):
        yield block if block.shape[0] == 1 else block.mean(axis=0, keepdims=True, dtype=np.float32)


@lru_cache(maxsize=1)
def _load(model: str, device: str, precision: Precision) -> Codec:
    return Codec.from_pretrained(model, device, precision)


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)

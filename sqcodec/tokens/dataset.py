"""Reading tokens back: random access to clips, mapped into memory, and sequences of one length for training.

The first use of a folder writes ``DIR/mapped/``: all tokens in one flat file, and where each clip begins. Later uses,
in any number of processes, map it; no clip is held in memory.

Letters: N tokens of a clip, L tokens of a packed sequence, K codebook size.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from tarfile import TarError
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from sqcodec.files import published, write_atomically
from sqcodec.tokens.corpus import read_index
from sqcodec.tokens.formats import shard_format
from sqcodec.tokens.records import TokenInfo, TokenRecord

if TYPE_CHECKING:
    from sqcodec.codec import Codec

MAPPED = "mapped"
_DAMAGE = (ValueError, TypeError, KeyError, EOFError, OSError, struct.error, zlib.error, BadZipFile, TarError)
"""What the formats' libraries raise."""


class TokenDataset:
    """The clips of a folder that ``sqcodec tokens`` wrote, in the manifest's order. A map-style dataset for PyTorch.

    Args:
        folder: of ``sqcodec tokens``, in any format.
        cache: where the flat copy goes; None is ``folder/mapped``.
    Raises:
        FileNotFoundError: not such a folder.
        ValueError: its run has not ended, or a shard is not what the index says.
    """

    def __init__(self, folder: str | Path, cache: str | Path | None = None) -> None:
        self.folder = Path(folder)
        index = read_index(folder)
        if not index["complete"]:
            raise ValueError(f"'{folder}' lacks shards: run 'sqcodec tokens' again with the same arguments first.")
        self.info = TokenInfo.from_dict(index)
        mapped = Path(cache) if cache else self.folder / MAPPED
        key = [index["digest"], self.info.weights_hash, index["clips"], index["tokens"]]
        key += [self.info.bits] if self.info.bits else []
        text, size = json.dumps(key), index["tokens"] * self.info.dtype.itemsize
        found, flat = mapped / "key.json", mapped / "tokens.bin"
        if not (found.is_file() and found.read_bytes() == text.encode() and flat.stat().st_size == size):
            _map(self.folder, index, self.info, mapped)
            write_atomically(found, text)
        self._offsets = np.load(mapped / "offsets.npy", mmap_mode="r")
        self._lines = np.load(mapped / "lines.npy", mmap_mode="r")
        self._tokens = _memory_map(mapped / "tokens.bin", self.info.dtype)
        self._records = _memory_map(mapped / "records.jsonl", np.dtype(np.uint8))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> TokenRecord:
        return TokenRecord(tokens=self.tokens(index), **self.fields(index))

    def __iter__(self) -> Iterator[TokenRecord]:
        return (self[index] for index in range(len(self)))

    def tokens(self, index: int) -> np.ndarray:
        """[N] of one clip, without a copy. IndexError beyond the end."""
        index = self._position(index)
        return self._tokens[self._offsets[index] : self._offsets[index + 1]]

    def fields(self, index: int) -> dict[str, Any]:
        """All of a clip but its tokens."""
        index = self._position(index)
        return json.loads(self._records[self._lines[index] : self._lines[index + 1]].tobytes())

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each clip, int64 [clips]."""
        return np.diff(self._offsets)

    def find(self, id: str) -> int:
        """The position of a clip. KeyError where there is none of that id."""
        return self._ids[id]

    def where(self, **fields: str) -> np.ndarray:
        """Positions of the clips with these fields, such as ``where(split="train", speaker="84")``; int64."""
        rows = (self.fields(index) for index in range(len(self)))
        fits = [all(str(row[name]) == value for name, value in fields.items()) for row in rows]
        return np.flatnonzero(fits)

    def decode(self, index: int, codec: Codec) -> np.ndarray:
        """A clip as samples float32 [num_samples], at the model's rate; nested tokens at the bits that they have.

        Raises:
            ValueError: ``codec`` is not the model that made the tokens.
        """
        if not codec.matches(self.info.weights_hash):
            raise ValueError(
                f"The tokens are of '{self.info.model}' with weights {self.info.weights_hash[:12]}, the codec is "
                f"'{codec.name}' with {codec.weights_hash[:12]}: load the model that made them."
            )
        record = self[index]
        return codec.decode(np.asarray(record.tokens, np.int64), record.num_samples, bits=self.info.bits)[0].numpy()

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {self.fields(index)["id"]: index for index in range(len(self))}

    def _position(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Clip {index} of {len(self)}.")
        return index % len(self)


class PackedTokens:
    """Clips one after the other, a separator before each, cut into sequences of one length. A map-style dataset.

    Args:
        dataset: the clips.
        length: L, tokens of a sequence. The last sequence begins earlier, so that every token is in one.
        clips: positions of the clips to use; None is all.
        seed: the order of the clips is drawn from (seed, epoch); None keeps the order given.
        separator: stands before each clip; None means K, the first number that is no token.
        prefixes: numbers that stand before the separator of each of ``clips`` (a transcript, a speaker); None is none.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        length: int,
        clips: Sequence[int] | np.ndarray | None = None,
        seed: int | None = 0,
        epoch: int = 0,
        separator: int | None = None,
        prefixes: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.dataset, self.length = dataset, length
        self.separator = dataset.info.codebook_size if separator is None else separator
        chosen = np.arange(len(dataset)) if clips is None else np.asarray(clips, np.int64)
        places = np.arange(len(chosen))
        if seed is not None:
            places = np.random.default_rng([seed, epoch]).permutation(places)
        self._order = chosen[places]
        none = np.zeros(0, np.int64)
        given = [none] * len(chosen) if prefixes is None else [np.asarray(prefix, np.int64) for prefix in prefixes]
        self._prefixes = [given[place] for place in places.tolist()]
        counts = dataset.lengths[self._order] + 1 + np.array([len(prefix) for prefix in self._prefixes])
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        if length < 1 or self._starts[-1] < length:
            raise ValueError(f"Sequences of {length} tokens; allowed are 1 to {self._starts[-1]}, all that there are.")

    def __len__(self) -> int:
        return int(-(-self._starts[-1] // self.length))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """``tokens`` int64 [L] and ``clips`` int64 [L]: which clip each belongs to, for attention within clips."""
        if not 0 <= index < len(self):
            raise IndexError(f"Sequence {index} of {len(self)}.")
        start = min(index * self.length, int(self._starts[-1]) - self.length)
        tokens, clips = np.empty(self.length, np.int64), np.empty(self.length, np.int64)
        place = int(np.searchsorted(self._starts, start, side="right")) - 1
        done = 0
        while done < self.length:
            clip = int(self._order[place])
            whole = np.concatenate([self._prefixes[place], np.array([self.separator]), self.dataset.tokens(clip)])
            part = whole[start + done - int(self._starts[place]) :][: self.length - done]
            tokens[done : done + len(part)], clips[done : done + len(part)] = part, clip
            done, place = done + len(part), place + 1
        return {"tokens": tokens, "clips": clips}


def _map(folder: Path, index: dict, info: TokenInfo, mapped: Path) -> None:
    """Writes the flat copy."""
    mapped.mkdir(parents=True, exist_ok=True)
    read = shard_format(index["format"]).read
    lengths, lines = [0], [0]
    with published(mapped / "tokens.bin") as tokens_path, published(mapped / "records.jsonl") as records_path:
        with tokens_path.open("wb") as tokens, records_path.open("wb") as records:
            for name, expected in zip(index["files"], index["shard_clips"], strict=True):
                before = len(lengths)
                for record in _records(read, folder / name):
                    tokens.write(np.ascontiguousarray(record.tokens, info.dtype).tobytes())
                    line = json.dumps(record.fields(), ensure_ascii=False).encode("utf-8") + b"\n"
                    records.write(line)
                    lengths.append(len(record.tokens))
                    lines.append(len(line))
                if (found := len(lengths) - before) != expected:
                    raise ValueError(f"'{folder / name}' holds {found} clips, its index says {expected}.")
    for name, counts in (("offsets.npy", lengths), ("lines.npy", lines)):
        with published(mapped / name) as path, path.open("wb") as file:
            np.save(file, np.cumsum(counts))


def _records(read: Callable[[Path], Iterator[TokenRecord]], path: Path) -> Iterator[TokenRecord]:
    """The records of a shard. ValueError, naming it, where it is damaged; OSError where it is not there."""
    try:
        yield from read(path)
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise ValueError(f"'{path}' is damaged ({error}): remove it and run 'sqcodec tokens' again.") from error


def _memory_map(path: Path, dtype: np.dtype) -> np.ndarray:
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)

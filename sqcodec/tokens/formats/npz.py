"""NumPy: ``tokens`` of all clips one after the other, ``offsets`` [clips + 1], the rest as UTF-8 JSON lines in
``records`` (bytes), the model as JSON in ``info`` (bytes). Compressed; nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sqcodec.tokens.records import TokenInfo, TokenRecord


def write(path: Path, records: Sequence[TokenRecord], info: TokenInfo, first: int) -> None:
    """Writes one shard."""
    lines = "".join(json.dumps(record.fields(), ensure_ascii=False) + "\n" for record in records)
    tokens = [np.zeros(0, info.dtype), *(record.tokens for record in records)]
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            tokens=np.concatenate(tokens).astype(info.dtype),
            offsets=np.cumsum([0, *(len(record.tokens) for record in records)]),
            records=_to_bytes(lines),
            info=_to_bytes(info.to_json()),
        )


def read(path: Path) -> Iterator[TokenRecord]:
    """The records of one shard."""
    with np.load(path, allow_pickle=False) as arrays:
        tokens, offsets = arrays["tokens"], arrays["offsets"]
        lines = arrays["records"].tobytes().decode("utf-8").split("\n")[:-1]
    for index, line in enumerate(lines):
        yield TokenRecord(tokens=tokens[offsets[index] : offsets[index + 1]], **json.loads(line))


def _to_bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-8"), np.uint8)

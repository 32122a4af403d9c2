"""WebDataset: a tar with ``<number>.json`` and ``<number>.tokens.npy`` for each clip, in reading order."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import webdataset

from sqcodec.tokens.records import TokenInfo, TokenRecord

ABOUT = ("model", "weights_hash", "bits")
"""What every clip's JSON says of the model."""


def write(path: Path, records: Sequence[TokenRecord], info: TokenInfo, first: int) -> None:
    """Writes one shard. Every clip's JSON names the model, so that shards may be mixed."""
    model = {"model": info.model, "weights_hash": info.weights_hash} | ({"bits": info.bits} if info.bits else {})
    with path.open("wb") as file, webdataset.TarWriter(file, mtime=0, user="", group="") as writer:
        for index, record in enumerate(records):
            buffer = io.BytesIO()
            np.save(buffer, record.tokens.astype(info.dtype))
            row = json.dumps(record.fields() | model, ensure_ascii=False)
            key = f"{first + index:09d}"
            writer.write({"__key__": key, "json": row.encode("utf-8"), "tokens.npy": buffer.getvalue()})


def read(path: Path) -> Iterator[TokenRecord]:
    """The records of one shard."""
    with tarfile.open(path) as archive:
        rows: dict[str, dict] = {}
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            key, extension = member.name.split(".", 1)
            if extension == "json":
                rows[key] = json.loads(file.read())
                continue
            row = {name: value for name, value in rows.pop(key).items() if name not in ABOUT}
            yield TokenRecord(tokens=np.load(io.BytesIO(file.read()), allow_pickle=False), **row)

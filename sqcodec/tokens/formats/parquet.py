"""Parquet, compressed with zstd; the bytes of the tokens lie in planes, so that the empty high ones cost nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet

from sqcodec.tokens.formats.table import FIELDS, from_table, to_table
from sqcodec.tokens.records import TokenInfo, TokenRecord

TOKENS = "tokens.list.element"


def write(path: Path, records: Sequence[TokenRecord], info: TokenInfo, first: int) -> None:
    """Writes one shard."""
    planes = info.dtype.itemsize == 4  # parquet has no narrower integers: uint8 and uint16 are packed by a dictionary
    pyarrow.parquet.write_table(
        to_table(records, info),
        path,
        compression="zstd",
        use_dictionary=["speaker", "split", "source", *([] if planes else [TOKENS])],
        column_encoding={TOKENS: "BYTE_STREAM_SPLIT"} if planes else None,
        write_statistics=[name for name, _ in FIELDS],
    )


def read(path: Path) -> Iterator[TokenRecord]:
    """The records of one shard."""
    yield from from_table(pyarrow.parquet.read_table(path))

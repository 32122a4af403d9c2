"""Records as an Arrow table; the schema's metadata says which model made them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow

from sqcodec.tokens.records import TokenInfo, TokenRecord

KEY = b"sqcodec"

FIELDS = (
    ("id", pyarrow.string()), ("num_samples", pyarrow.int64()), ("seconds", pyarrow.float64()),
    ("sample_rate", pyarrow.int32()), ("speaker", pyarrow.string()), ("split", pyarrow.string()),
    ("text", pyarrow.string()), ("source", pyarrow.string()),
)  # fmt: skip


def to_table(records: Sequence[TokenRecord], info: TokenInfo) -> pyarrow.Table:
    """One row a record; ``tokens`` is a list column of ``info.dtype``."""
    tokens = pyarrow.list_(pyarrow.from_numpy_dtype(info.dtype))
    schema = pyarrow.schema([*FIELDS, ("tokens", tokens)], metadata={KEY: info.to_json().encode()})
    columns: list[pyarrow.Array] = []
    rows = [record.fields() for record in records]
    for name, kind in FIELDS:
        columns.append(pyarrow.array([row[name] for row in rows], kind))
    offsets = np.cumsum([0, *(len(record.tokens) for record in records)])
    flat = np.concatenate([np.zeros(0, info.dtype), *(record.tokens for record in records)]).astype(info.dtype)
    columns.append(pyarrow.ListArray.from_arrays(pyarrow.array(offsets, pyarrow.int32()), pyarrow.array(flat)))
    return pyarrow.table(columns, schema=schema)


def from_table(table: pyarrow.Table) -> Iterator[TokenRecord]:
    """Records of one or more batches."""
    for batch in table.to_batches():
        column = batch.column("tokens")
        flat, offsets = column.values.to_numpy(), column.offsets.to_numpy()
        rows = batch.drop_columns(["tokens"]).to_pylist()
        for index, row in enumerate(rows):
            yield TokenRecord(tokens=flat[offsets[index] : offsets[index + 1]], **row)

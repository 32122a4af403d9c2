"""Arrow stream files as Hugging Face `datasets` keeps them: ``datasets.load_from_disk`` maps them into memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from datasets import DatasetInfo, Features

from sqcodec.files import write_atomically
from sqcodec.tokens.formats.table import KEY, from_table, to_table
from sqcodec.tokens.records import TokenInfo, TokenRecord


def write(path: Path, records: Sequence[TokenRecord], info: TokenInfo, first: int) -> None:
    """Writes one shard."""
    table = to_table(records, info)
    description = {"info": {"features": Features.from_arrow_schema(table.schema.remove_metadata()).to_dict()}}
    table = table.replace_schema_metadata({KEY: info.to_json(), b"huggingface": json.dumps(description)})
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def read(path: Path) -> Iterator[TokenRecord]:
    """The records of one shard."""
    with pyarrow.memory_map(str(path)) as file:
        yield from from_table(pyarrow.ipc.open_stream(file).read_all())


def finish(folder: Path, files: Sequence[Path], info: TokenInfo, digest: str) -> None:
    """The two files that make a folder of shards a saved dataset."""
    features = Features.from_arrow_schema(to_table([], info).schema.remove_metadata())
    described = DatasetInfo(features=features, description=f"Speech tokens of {info.model}")
    state: dict[str, Any] = {
        "_data_files": [{"filename": path.relative_to(folder.resolve()).as_posix()} for path in files],
        "_fingerprint": digest[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    described.write_to_directory(str(folder), pretty_print=True)
    write_atomically(folder / "state.json", json.dumps(state, indent=2))

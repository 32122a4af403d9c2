"""A shard that was cut was not noticed; a damaged index or note was a traceback; `--format hf` wanted a full path."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import failure, speech

from sqcodec import audio, cli
from sqcodec.tokens.dataset import TokenDataset

SUFFIXES = {"npz": ".npz", "parquet": ".parquet", "webdataset": ".tar", "hf": ".arrow"}


def tokens(format: str = "npz") -> int:
    arguments = ["--model", "tiny", "--engine", "serial", "--shard-clips", "2", "--format", format]
    return cli.main(["tokens", "in", "--out", "out", *arguments])


@pytest.fixture(autouse=True)
def corpus(workplace) -> None:
    Path("in").mkdir()
    for index in range(4):
        audio.save(f"in/{index}.wav", speech(0.3 + 0.1 * index), 16000)


@pytest.mark.parametrize("format", list(SUFFIXES))
def test_a_cut_shard_is_made_again(format, capsys, caplog):
    for module in {"webdataset": ["webdataset"], "hf": ["datasets"], "parquet": ["pyarrow"]}.get(format, []):
        pytest.importorskip(module)
    assert tokens(format) == 0
    path = Path(f"out/data/part-00001{SUFFIXES[format]}")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ValueError, match="part-00001.*(is damaged|its index says)"):
        TokenDataset("out")
    assert tokens(format) == 0 and path.read_bytes() == whole
    assert "part-00001" in caplog.text and "it is made again" in caplog.text
    assert len(TokenDataset("out")) == 4


@pytest.mark.parametrize("text", ["[]", "{}", "", "{", "null", '{"clips": "x", "skipped": 3}'])
@pytest.mark.parametrize("name", ["tokens.json", "shards/part-00000.json"])
def test_a_damaged_index_or_note_is_named(name, text, capsys):
    assert tokens() == 0
    Path("out", name).write_text(text)
    capsys.readouterr()
    assert tokens() == 1
    assert f"out/{name}' is damaged: remove it" in failure(capsys)
    Path("out", name).unlink()
    assert tokens() == 0 and len(TokenDataset("out")) == 4


def test_the_flat_copy_is_made_again_where_it_was_damaged():
    assert tokens() == 0
    before = [record.tokens.tolist() for record in TokenDataset("out")]
    for name, data in (("tokens.bin", b"123"), ("key.json", b"{")):
        Path("out/mapped", name).write_bytes(data)
        assert [record.tokens.tolist() for record in TokenDataset("out")] == before


def test_notes_of_before_still_count():
    assert tokens() == 0
    stamp = Path("out/data/part-00000.npz").stat().st_mtime_ns
    for path in Path("out/shards").iterdir():
        note = json.loads(path.read_text())
        del note["bytes"]
        path.write_text(json.dumps(note))
    assert tokens() == 0 and Path("out/data/part-00000.npz").stat().st_mtime_ns == stamp


def test_hf_with_a_relative_folder():
    datasets = pytest.importorskip("datasets")
    assert tokens("hf") == 0
    rows = datasets.load_from_disk("out")
    assert len(rows) == 4 and np.array_equal(rows[2]["tokens"], TokenDataset("out").tokens(2))

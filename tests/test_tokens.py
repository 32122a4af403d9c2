"""Tokens of a corpus: what goes in comes out, in every format, by every engine, through every interruption."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sqcodec import Codec
from sqcodec.audio import load
from sqcodec.cli import main
from sqcodec.config import ModelConfig
from sqcodec.nn import build_network
from sqcodec.tokens import worker
from sqcodec.tokens.corpus import tokenize
from sqcodec.tokens.dataset import PackedTokens, TokenDataset
from sqcodec.tokens.plan import Plan
from sqcodec.tokens.records import token_dtype

pytest.importorskip("pyarrow")
pytest.importorskip("datasets")
pytest.importorskip("webdataset")

LENGTHS = (9000, 16001, 4000, 12345, 30000, 700)


@pytest.fixture(scope="module")
def codec(tiny_config: ModelConfig, tmp_path_factory) -> Codec:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    Codec(build_network(tiny_config)).save_pretrained(folder)
    codec = Codec.from_pretrained(folder)
    codec.folder = folder
    return codec


@pytest.fixture(scope="module")
def manifest(speech: np.ndarray, tmp_path_factory) -> Path:
    """Clips of several lengths and rates, one in stereo, one broken, one listed twice."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for number, length in enumerate(LENGTHS):
        rate = 16000 if number % 2 else 24000
        samples = speech[1000 * number :][:length]
        (folder / f"s{number % 2}").mkdir(exist_ok=True)
        path = f"s{number % 2}/clip.{number}.wav"
        soundfile.write(folder / path, np.stack([samples, samples], 1) if number == 3 else samples, rate)
        rows.append({"path": path, "speaker": f"s{number % 2}", "text": f'said "{number}" \u00fc\tx', "split": "train"})
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    rows.insert(2, {"path": "broken.wav", "speaker": "s9"})
    rows.append(rows[0])
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run(manifest: Path, out: Path, codec: Codec, **options):
    return tokenize(manifest, out, model=codec.folder, **{"engine": "serial", "shard_clips": 2, **options})


@pytest.fixture(scope="module")
def folder(manifest: Path, codec: Codec, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tokens") / "parquet"
    run(manifest, out, codec)
    return out


@pytest.mark.parametrize("format", ["parquet", "npz", "webdataset", "hf"])
def test_what_is_written_is_what_the_codec_gives(format, manifest, codec, tmp_path) -> None:
    totals = run(manifest, tmp_path / "out", codec, format=format)
    dataset = TokenDataset(tmp_path / "out")
    assert (totals.clips, totals.skipped, len(dataset), totals.complete) == (6, 1, 6, True)
    for number, record in enumerate(dataset):
        samples, rate = load(manifest.parent / f"s{number % 2}/clip.{number}.wav")
        expected = codec.encode(samples.mean(0), rate)[0].numpy()
        assert record.tokens.dtype == np.uint32
        np.testing.assert_array_equal(record.tokens, expected)
        assert record.id == f"s{number % 2}/clip.{number}" and record.speaker == f"s{number % 2}"
        assert record.text == f'said "{number}" \u00fc\tx' and record.split == "train"
        assert record.sample_rate == rate and record.seconds == samples.shape[1] / rate
        assert record.num_samples == -(-samples.shape[1] * 16000 // rate)
    skipped = [json.loads(line) for line in (tmp_path / "out/skipped.jsonl").read_text().splitlines()]
    assert [Path(entry["path"]).name for entry in skipped] == ["broken.wav", "clip.0.wav"]
    assert skipped[1]["problem"] == "listed again"
    card = (tmp_path / "out/README.md").read_text()
    model = ("tiny", codec.weights_hash, "166.7", "117,649", "7 x 7 x 7 x 7 x 7 x 7", "uint32")
    for text in (*model, f"{totals.tokens:,}"):
        assert text in card


def test_other_libraries_read_it(manifest, codec, folder, tmp_path) -> None:
    import datasets
    import webdataset

    mine = TokenDataset(folder)
    expected = [record.tokens.tolist() for record in mine]
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), split="train")
    assert loaded["tokens"][:] == expected and loaded["id"][:] == [record.id for record in mine]
    run(manifest, tmp_path / "hf", codec, format="hf")
    saved = datasets.load_from_disk(str(tmp_path / "hf"))
    assert saved["tokens"][:] == expected and saved.features["tokens"].feature.dtype == "uint32"
    run(manifest, tmp_path / "tar", codec, format="webdataset")
    shards = [str(path) for path in sorted((tmp_path / "tar/data").iterdir())]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert [sample["tokens.npy"].tolist() for sample in samples] == expected
    assert samples[0]["json"]["weights_hash"] == codec.weights_hash


def test_again_does_nothing_and_goes_on_where_it_stopped(manifest, codec, tmp_path) -> None:
    out, done = tmp_path / "out", []
    run(manifest, out, codec, format="npz", report=lambda result, left: done.append((result.number, left)))
    assert done == [(0, 3), (1, 2), (2, 1), (3, 0)]
    before = contents(out)
    times = {path: path.stat().st_mtime_ns for path in (out / "data").iterdir()}
    done.clear()
    run(manifest, out, codec, format="npz", report=lambda result, left: done.append(result.number))
    assert not done and contents(out) == before
    assert times == {path: path.stat().st_mtime_ns for path in (out / "data").iterdir()}

    (out / "shards/part-00002.json").unlink()  # killed between the shard and its note
    (out / "data/part-00001.npz").unlink()
    (out / "data/.part-00001.npz.aa.partial").write_bytes(b"half")
    run(manifest, out, codec, format="npz", report=lambda result, left: done.append(result.number))
    assert done == [1, 2] and contents(out) == before

    done.clear()
    run(manifest, out, codec, format="npz", retry_skipped=True, report=lambda result, left: done.append(result.number))
    assert done == [1] and contents(out) == before


def test_machines_may_share_a_folder(manifest, codec, folder, tmp_path) -> None:
    out = tmp_path / "out"
    assert not run(manifest, out, codec, part=(2, 2)).complete
    with pytest.raises(ValueError, match="lacks shards"):
        TokenDataset(out)
    assert run(manifest, out, codec, part=(1, 2)).complete
    assert contents(out / "data") == contents(folder / "data")
    with pytest.raises(ValueError, match="Part 3 of 2"):
        run(manifest, out, codec, part=(3, 2))


def test_a_folder_is_for_one_plan(manifest, codec, folder) -> None:
    with pytest.raises(ValueError, match="format 'parquet', not 'npz'"):
        run(manifest, folder, codec, format="npz")
    with pytest.raises(ValueError, match="shard sizes"):
        run(manifest, folder, codec, shard_clips=3)
    with pytest.raises(ValueError, match="Unknown engine 'spark'"):
        run(manifest, folder, codec, engine="spark", retry_skipped=True)


def test_workers_may_die(manifest, codec, folder, tmp_path) -> None:
    """Two processes, one killed while shards are under way: nothing missing, nothing twice, every byte the same."""
    killed: list[int] = []

    def kill_one(result: worker.ShardResult, left: int) -> None:
        if not killed and left:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    out = tmp_path / "out"
    totals = run(manifest, out, codec, engine="local", workers=2, report=kill_one)
    assert killed and totals.complete and not totals.failed
    expected = contents(folder)
    assert contents(out) == {name: data for name, data in expected.items() if not name.startswith("mapped")}


def test_a_shard_that_always_kills_is_reported(monkeypatch) -> None:
    from sqcodec.tokens.engines import local

    calls: list[list[int]] = []

    def attempt(tasks, workers):
        calls.append([task.number for task in tasks])
        numbers = [task.number for task in tasks]
        done = set()
        for number in numbers:
            if number == 7:
                return done, {7, *numbers[numbers.index(7) + 1 :]}
            done.add(number)
            yield worker.ShardResult(number)
        return done, set()

    monkeypatch.setattr(local, "_attempt", attempt)
    tasks = [type("Task", (), {"number": number})() for number in (6, 7, 8)]
    results = list(local.run_local(tasks, 2))
    assert sorted((result.number, bool(result.error)) for result in results) == [(6, False), (7, True), (8, False)]
    assert calls == [[6, 7, 8], [7, 8], [7], [8]]


def test_ray_gives_the_same_though_a_worker_dies(manifest, codec, folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")
    ray = pytest.importorskip("ray")
    killed: list[int] = []

    def kill_one(result: worker.ShardResult, left: int) -> None:
        if not killed and left:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                if path.read_bytes().startswith(b"ray::MapWorker"):
                    killed.append(int(path.parent.name))
                    os.kill(killed[0], signal.SIGKILL)
                    break

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        totals = run(manifest, tmp_path / "out", codec, engine="ray", workers=2, report=kill_one)
    finally:
        ray.shutdown()
    assert killed and totals.complete
    expected = contents(folder)
    assert contents(tmp_path / "out") == {n: data for n, data in expected.items() if not n.startswith("mapped")}


def test_long_clips_go_through_in_blocks(manifest, codec, folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(worker, "BATCH_SECONDS", 0.5)
    run(manifest, tmp_path / "out", codec)
    assert contents(tmp_path / "out/data") == contents(folder / "data")


def test_decoding_returns_the_recording(codec, folder, manifest) -> None:
    dataset = TokenDataset(folder)
    index = dataset.find("s1/clip.3")
    samples, rate = load(manifest.parent / "s1/clip.3.wav")
    decoded = dataset.decode(index, codec)
    assert decoded.shape == (LENGTHS[3],) and rate == 16000
    np.testing.assert_array_equal(decoded, codec.decode(codec.encode(samples.mean(0)), LENGTHS[3])[0].numpy())
    torch.manual_seed(1)
    other = Codec(build_network(codec.config), "other", "ab" * 32)
    with pytest.raises(ValueError, match="load the model that made them"):
        dataset.decode(index, other)


def test_packed_sequences_hold_every_token(folder) -> None:
    dataset = TokenDataset(folder)
    np.testing.assert_array_equal(dataset.where(speaker="s1"), [1, 3, 5])
    assert isinstance(dataset.tokens(0).base, np.memmap)
    order = np.random.default_rng([3, 1]).permutation(len(dataset))
    stream = np.concatenate([[117649, *dataset.tokens(index)] for index in order])
    owner = np.concatenate([np.full(len(dataset.tokens(index)) + 1, index) for index in order])
    for length in (1, 7, 50, len(stream)):
        packed = PackedTokens(dataset, length, seed=3, epoch=1)
        assert len(packed) == -(-len(stream) // length)
        for index in range(len(packed)):
            start = min(index * length, len(stream) - length)
            np.testing.assert_array_equal(packed[index]["tokens"], stream[start : start + length])
            np.testing.assert_array_equal(packed[index]["clips"], owner[start : start + length])
    with pytest.raises(ValueError, match="allowed are 1 to"):
        PackedTokens(dataset, len(stream) + 1)
    with pytest.raises(IndexError):
        dataset[6]


def test_the_smallest_integers_that_fit() -> None:
    assert [token_dtype(size).name for size in (256, 257, 65536, 117649)] == ["uint8", "uint16", "uint16", "uint32"]


def test_ids_are_paths_and_never_equal(tmp_path) -> None:
    from sqcodec.data.manifest import Clip
    from sqcodec.tokens.plan import make_plan

    names = ["a/b.wav", "a/b.flac", "a/c.d.wav", "a/c.wav", "/elsewhere/x.wav"]
    plan: Plan = make_plan([Clip(tmp_path / name, seconds=10.0) for name in names], tmp_path, 3, 19.0)
    assert [[item.id for item in shard] for shard in plan.shards] == [
        ["a/b.wav", "a/b.flac"], ["a/c.d", "a/c"], ["elsewhere/x"],
    ]  # fmt: skip


def test_the_command(manifest, codec, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    arguments = ["tokens", str(manifest), "--out", str(out), "--model", str(codec.folder), "--engine", "serial"]
    assert main([*arguments, "--format", "npz"]) == 0
    captured = capsys.readouterr()
    assert "6 clips" in captured.out and "1 skipped (skipped.jsonl)" in captured.out
    assert "skipped: " in captured.err and "broken.wav" in captured.err and "times real time" in captured.err
    assert main([*arguments, "--format", "npz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 6
    assert main([*arguments, "--format", "hf"]) == 1
    assert "format 'npz', not 'hf'" in capsys.readouterr().err
    assert main([*arguments, "--part", "3/2"]) == 2

"""Model folders, .pt files, code files and stream states that somebody sent: one line, little memory, little time."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from cli_helpers import tiny_config as cli_config

import sqcodec
from sqcodec import compat, container, registry
from sqcodec.checkpoint import load_model, save_model
from sqcodec.config import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    FrameConfig,
    ModelConfig,
    WaveformConfig,
    published_config,
    published_names,
    quantizer_config,
)
from sqcodec.nn import build_network
from sqcodec.nn.fitting import outline


@pytest.fixture
def folder(tiny_config: ModelConfig, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", tiny_config, build_network(tiny_config).state_dict())
    return tmp_path / "model"


MEASURED = """
import contextlib, io, json, resource, sys, time
import numpy, sqcodec
from sqcodec import cli
codec = sqcodec.load("speech-3k")
codec.decode(codec.encode(numpy.zeros(4000, "float32")))  # what every use of a model costs
resource.setrlimit(resource.RLIMIT_CPU, (300, 300))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for work in json.loads(sys.stdin.read()):
    start, code, errors = time.process_time(), 0, io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            if work[0] == "state":
                sqcodec.StreamEncoder(codec).load_state(work[1])
            else:
                code = cli.main(work)
        except ValueError as error:
            code = 1
            print(error, file=sys.stderr)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(json.dumps([work, code, errors.getvalue(), peak, time.process_time() - start]), flush=True)
"""


BOMBS = {
    "largest": {
        "feature_dim": 8192, "encoder": {"dim": 8192, "depth": 128, "n_fft": 65536},
        "transformer": {"encoder_depth": 128, "decoder_depth": 128, "heads": 1},
        "decoder": {"dim": 8192, "depth": 128},
    },
    "wide": {"feature_dim": 8192, "encoder": {"dim": 8192, "n_fft": 65536}, "decoder": {"dim": 8192}},
    "codebook": {"quantizer": {"kind": "vq", "levels": [], "dim": 64, "size": 2**24}},
    "lookahead": {"lookahead": 1_000_000, "sample_rate": 1},
}  # fmt: skip


def test_hostile_files_cost_little(folder: Path, tmp_path: Path) -> None:
    """Beyond the use of a model: 512 MiB, 10 s and one line for each. One process tries them all."""
    config, works = ModelConfig.from_toml(folder / CONFIG_NAME), []
    for name, change in BOMBS.items():
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / CONFIG_NAME).write_text(config.changed(**change).to_toml())
        works.append(["info", str(tmp_path / name)])

    own = registry.read_index()["speech-3k"]["hash"]
    tokens = np.zeros((1024, 4), np.int64)
    header = container.CodeHeader("speech-3k", own, 16000, 768_000, 2**40, 1024, 4, 7**6, (7,) * 6)
    for name, changes in {"long": {}, "fast": {"original_sample_rate": 2**31 - 1}, "folder": {"model": "../x"}}.items():
        path = tmp_path / f"{name}.sqc"
        container.write(path, dataclasses.replace(header, **changes), tokens)
        works.append(["decode", str(path), f"{path}.wav", "--original-rate"])

    about = {"kind": "encoder", "model": "speech-3k", "weights_hash": own}
    state = {"numbers": torch.zeros(3, dtype=torch.int64), "pending": torch.zeros(1, 2**25)}
    safetensors.torch.save_file(state, tmp_path / "state", metadata=about)
    works.append(["state", str(tmp_path / "state")])

    environment = {**os.environ, "PYTHONPATH": str(Path(sqcodec.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED], input=json.dumps(works), capture_output=True, text=True, env=environment
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(rows) == len(works), done.stderr
    for work, code, errors, mebibytes, seconds in rows:
        assert code == 1 and errors.count("\n") == 1 and "Traceback" not in errors, (work, errors)
        assert mebibytes < 512 and seconds < 10, (work, mebibytes, seconds)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t | {"split.bias": t["split.bias"] * float("nan")}, "'split.bias' holds NaN or infinity"),
        (lambda t: t | {"split.bias": t["split.bias"].to(torch.complex64)}, "'split.bias' is"),
        (lambda t: t | {"split.bias": t["split.bias"].long()}, "'split.bias' is int64, the model needs float32"),
        (lambda t: t | {"split.bias": t["split.bias"][:-1].clone()}, "'split.bias' is [23], the model needs [24]"),
        (lambda t: {name: t[name] for name in t if name != "split.bias"}, "'split.bias' is missing"),
    ],
)
def test_weights_that_are_none(change, message: str, folder: Path) -> None:
    tensors = change(safetensors.torch.load_file(folder / WEIGHTS_NAME))
    safetensors.torch.save_file(tensors, folder / WEIGHTS_NAME)
    with pytest.raises(ValueError) as caught:
        load_model(folder)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_folders_are_one_line(folder: Path) -> None:
    draw = random.Random(0)
    for name, count in ((CONFIG_NAME, 150), (WEIGHTS_NAME, 150)):
        path = folder / name
        good = path.read_bytes()
        for _ in range(count):
            path.write_bytes(_damaged(good, draw, 3000))
            try:
                load_model(folder)
            except ValueError as error:
                assert str(folder) in str(error)
        path.write_bytes(good)
    for text in ("a = " + "[" * 5000, "\x00", "x" * 300_000):
        (folder / CONFIG_NAME).write_text(text)
        with pytest.raises(ValueError):
            load_model(folder)


def _damaged(good: bytes, draw: random.Random, near: int) -> bytes:
    data, how = bytearray(good), draw.random()
    if how < 0.2:
        return bytes(data[: draw.randrange(len(data))])
    for _ in range(draw.choice((1, 2, 8))):
        data[draw.randrange(min(near, len(data)))] = draw.randrange(256)
    return bytes(data)


def test_damaged_pt_files_are_one_line(tmp_path: Path) -> None:
    path, draw = tmp_path / "encoder.pt", random.Random(1)
    torch.save({"a": torch.randn(30, 3), "b": torch.arange(5)}, path)
    good = path.read_bytes()
    assert compat._read_part(path).keys() == {"a", "b"}
    refused = 0
    for _ in range(400):
        path.write_bytes(_damaged(good, draw, len(good)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a second line
                compat._read_part(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 50


class _Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"a": _Evil()}, "which was not run"),
        ({"a": torch.zeros(1).expand(2**40)}, "more elements than the file"),
        ({"a": torch.zeros(3, dtype=torch.complex64)}, "not a plain tensor of real numbers"),
        ({"a": torch.full((3,), float("inf"))}, "holds NaN or infinity"),
        ({"a": 3}, "named tensors"),
        ([1], "named tensors"),
    ],
)
def test_hostile_pt_files(content, message: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "encoder.pt")
    with pytest.raises(ValueError, match=message) as caught:
        compat._read_part(Path("encoder.pt"))
    assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value) and not Path("evil").exists()


def test_files_that_are_no_zip(tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    path.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(ValueError, match="no zip archive"):
        compat._read_part(path)
    torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="no zip archive"):
        compat._read_part(path)


def test_every_network_has_an_outline() -> None:
    """Whatever may be trained, coded or imported is built without memory, and is what is built with it."""
    configs: list[ModelConfig] = [FrameConfig(), cli_config("tiny"), *map(published_config, published_names())]
    for config in configs:
        assert all(tensor.is_meta for tensor in outline(config).state_dict().values())
    for config in (cli_config("tiny"), WaveformConfig()):
        for quantizer in (quantizer_config(kind="vp", levels=(), dim=4, size=64), quantizer_config(kind="fsq")):
            changed = config.changed(quantizer=quantizer.to_dict())
            shapes = {name: tensor.shape for name, tensor in build_network(changed).state_dict().items()}
            assert {name: tensor.shape for name, tensor in outline(changed).state_dict().items()} == shapes

"""Model folders, .pt files, code files and stream states that somebody sent: one line, little memory, little time."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from cli_helpers import tiny_config as cli_config

import sqcodec
from sqcodec import compat
from sqcodec.checkpoint import CONFIG_NAME, WEIGHTS_NAME, load_model, save_model
from sqcodec.config import FrameConfig, ModelConfig, QuantizerConfig, WaveformConfig, published_config, published_names
from sqcodec.nn import build_network
from sqcodec.nn.fitting import outline


@pytest.fixture
def folder(tiny_config: ModelConfig, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", tiny_config, build_network(tiny_config).state_dict())
    return tmp_path / "model"


MEASURED = """
import resource, sys, time
import sqcodec, sqcodec.codec, sqcodec.cli.decode, sqcodec.streaming, sqcodec.audio
from sqcodec import cli
codec = sqcodec.load("speech-3k")  # what every use costs
codec.decode(codec.encode(__import__("numpy").zeros(16000, "float32")))
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
code = 0
try:
    {work}
except ValueError as error:
    code = 1
    print(error, file=sys.stderr)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(code, (after - before) // 1024, time.perf_counter() - start)
"""


def cost(work: str) -> tuple[int, float, float, str]:
    """Exit status, MiB and seconds that ``work`` takes beyond the use of a model, and its errors."""
    environment = {**os.environ, "PYTHONPATH": str(Path(sqcodec.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.format(work=work)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    code, mebibytes, seconds = done.stdout.split()[-3:]
    return int(code), float(mebibytes), float(seconds), done.stderr


def check_cheap(work: str) -> None:
    code, mebibytes, seconds, errors = cost(work)
    assert code == 1 and errors.count("\n") == 1 and "Traceback" not in errors, errors
    assert mebibytes < 512 and seconds < 10, (mebibytes, seconds)


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


@pytest.mark.parametrize("name", BOMBS)
def test_model_folders(name: str, folder: Path) -> None:
    config = ModelConfig.from_toml(folder / CONFIG_NAME)
    (folder / CONFIG_NAME).write_text(config.changed(**BOMBS[name]).to_toml())
    check_cheap(f"code = cli.main(['info', {str(folder)!r}])")


def test_a_code_file_and_a_stream_state(tmp_path: Path) -> None:
    import numpy as np

    from sqcodec import container

    tokens = np.zeros((1024, 4), np.int64)
    own = sqcodec.load().weights_hash
    header = container.CodeHeader("speech-3k", own, 16000, 768_000, 2**40, 1024, 4, 7**6, (7,) * 6)
    path = tmp_path / "a.sqc"
    container.write(path, header, tokens)
    check_cheap(f"code = cli.main(['decode', {str(path)!r}, {str(tmp_path / 'a.wav')!r}, '--original-rate'])")
    about = {"kind": "encoder", "model": "speech-3k", "weights_hash": own}
    state = {"numbers": torch.zeros(3, dtype=torch.int64), "pending": torch.zeros(1, 2**25)}
    safetensors.torch.save_file(state, tmp_path / "state", metadata=about)
    check_cheap(f"sqcodec.StreamEncoder(codec).load_state({str(tmp_path / 'state')!r})")


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
        for quantizer in (QuantizerConfig(kind="vp", levels=(), dim=4, size=64), QuantizerConfig(kind="fsq")):
            changed = config.changed(quantizer=quantizer.to_dict())
            shapes = {name: tensor.shape for name, tensor in build_network(changed).state_dict().items()}
            assert {name: tensor.shape for name, tensor in outline(changed).state_dict().items()} == shapes

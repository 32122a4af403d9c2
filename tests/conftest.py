"""Shared by the tests: real clips, and a tiny model of each family."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from cli_helpers import tiny_config as cli_config

from sqcodec import checkpoint
from sqcodec.codec import Codec
from sqcodec.config import ModelConfig
from sqcodec.identity import hash_model
from sqcodec.nn import build_network

DATA = Path(__file__).parent / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU, and PyTorch finds none here"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny tensors run slower on many threads, and results stay the same on every machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """13.7 s of real speech, float32 [T] at 16 kHz."""
    return soundfile.read(DATA / "84-121123-0002.flac", dtype="float32")[0]


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    """A frame-rate network of a few thousand parameters, shaped like the one that ships."""
    return ModelConfig.from_dict(
        {
            "family": "frame",
            "name": "tiny",
            "feature_dim": 12,
            "lookahead": 480,
            "frame_length": 192,
            "tokens_per_frame": 2,
            "encoder": {"n_fft": 512, "dim": 16, "depth": 1, "kernel_size": 3},
            "transformer": {"encoder_depth": 1, "decoder_depth": 1, "window": 5, "heads": 2},
            "quantizer": {"kind": "fsp", "levels": [7, 7, 7, 7, 7, 7]},
            "decoder": {"n_fft": 384, "subframes": 2, "dim": 16, "depth": 1, "kernel_size": 3},
        }
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny(tiny_config: ModelConfig) -> Codec:
    """With one bit rate."""
    torch.manual_seed(0)
    return Codec(build_network(tiny_config), "tiny", "0123456789abcdef" * 4)


@pytest.fixture(scope="session")
def nested_config(tiny_config: ModelConfig) -> ModelConfig:
    """The tiny network with tokens of 6 to 16 bits, 12 by default: 1 to 2.667 kbit/s."""
    quantizer = {"kind": "nested", "levels": [], "dim": 4, "bits": [6, 12, 16]}
    # Exactness holds for widths in whole vectors.
    sides = {"encoder": {"dim": 64}, "decoder": {"dim": 64}}
    return tiny_config.changed(name="nested", quantizer=quantizer, **sides)


@pytest.fixture(scope="session")
def nested(nested_config: ModelConfig) -> Codec:
    """With many bit rates; its decoder, which is told the cells' sizes by weights that start at zero, hears them."""
    torch.manual_seed(0)
    network = build_network(nested_config)
    for parameter in network.parameters():
        if not parameter.abs().max():
            torch.nn.init.normal_(parameter, std=0.1)
    return Codec(network, "nested", hash_model(nested_config, network.state_dict()))


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """SQCODEC_HOME with two models of one configuration: "tiny" and "other"."""
    folder = tmp_path_factory.mktemp("home")
    for seed, name in enumerate(["tiny", "other"]):
        torch.manual_seed(seed)
        config = cli_config(name)
        checkpoint.save_model(folder / "models" / name, config, build_network(config).state_dict())
    return folder


@pytest.fixture(scope="session")
def nested_home(tmp_path_factory, nested: Codec, tiny: Codec) -> Path:
    """SQCODEC_HOME with two models: "nested", of many bit rates, and "tiny", of one."""
    folder = tmp_path_factory.mktemp("nested_home")
    for codec in (nested, tiny):
        checkpoint.save_model(folder / "models" / codec.name, codec.config, codec.network.state_dict())
    return folder


@pytest.fixture
def workplace(home, tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty working folder with the models of ``home``, for tests of the command line."""
    monkeypatch.setenv("SQCODEC_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    terminate = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, terminate)

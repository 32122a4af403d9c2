"""Models for the tests of the command line, and a working folder for each test."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from cli_helpers import tiny_config

from sqcodec import checkpoint
from sqcodec.nn import build_network


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """SQCODEC_HOME with two models of one configuration: "tiny" and "other"."""
    folder = tmp_path_factory.mktemp("home")
    for seed, name in enumerate(["tiny", "other"]):
        torch.manual_seed(seed)
        config = tiny_config(name)
        checkpoint.save_model(folder / "models" / name, config, build_network(config).state_dict())
    return folder


@pytest.fixture(autouse=True)
def environment(home, tmp_path, monkeypatch):
    monkeypatch.setenv("SQCODEC_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    terminate = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, terminate)

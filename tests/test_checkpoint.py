"""Model folders: faithful, atomic, and clear about what is wrong."""

from __future__ import annotations

import os

import pytest
import torch

from sqcodec.checkpoint import hash_folder, load_model, load_weights, save_model
from sqcodec.config import ModelConfig
from sqcodec.nn import build_network
from sqcodec.runs import write_state


def test_round_trip_and_hash(tiny_config: ModelConfig, tmp_path) -> None:
    tensors = build_network(tiny_config).state_dict()
    digest = save_model(tmp_path, tiny_config, tensors, {"licence": "MIT"})
    config, loaded, metadata = load_model(tmp_path)
    assert config == tiny_config and metadata["licence"] == "MIT"
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert hash_folder(tmp_path) == digest
    save_model(tmp_path, tiny_config, {name: tensor.half() for name, tensor in tensors.items()})
    assert {tensor.dtype for tensor in load_model(tmp_path)[1].values()} == {torch.float32}


def test_every_wrong_tensor_is_named() -> None:
    module = torch.nn.Linear(3, 2)
    with pytest.raises(ValueError, match="'bias' is missing"):
        load_weights(module, {"weight": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match=r"'weight' is \[3, 2\], the model needs \[2, 3\]"):
        load_weights(module, {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)})
    with pytest.raises(ValueError, match="'extra' is not part"):
        load_weights(module, {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "extra": torch.zeros(1)})


def test_missing_and_damaged_files(tiny_config: ModelConfig, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no config\.toml"):
        load_model(tmp_path)
    save_model(tmp_path, tiny_config, {"a": torch.zeros(1)})
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20])
    with pytest.raises(ValueError, match="damaged"):
        load_model(tmp_path)


def test_a_failed_write_keeps_the_previous_state(tmp_path, monkeypatch) -> None:
    path = tmp_path / "state.pt"
    write_state(path, {"step": 1})
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_state(path, {"step": 2})
    assert path.read_bytes() == before

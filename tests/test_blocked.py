"""Inference in blocks of time computes what the plain layers compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sqcodec.nn.blocked
from sqcodec.config import ModelConfig, published_config
from sqcodec.nn import build_network


@pytest.mark.parametrize("name", ["sqcodec-3kbps", "l3ac-1kbps", "causal"])
def test_blocks_equal_the_plain_layers(name: str, speech: np.ndarray, monkeypatch) -> None:
    """With gradients wanted the plain layers run, without them the blocks: small ones, so that there are many."""
    monkeypatch.setattr(sqcodec.nn.blocked, "BLOCK_VALUES", 2**13)
    torch.manual_seed(0)
    config = published_config("l3ac-3kbps" if name == "causal" else name)
    if name == "causal":
        values = config.to_dict()
        values["decoder"] = {**values["decoder"], "gate_norm": False}
        values["transformer"] = {**values["transformer"], "exact_window": True}
        config = ModelConfig.from_dict({**values, "causal": True})
    network = build_network(config).eval()
    for parameter in network.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    samples = network.pad(torch.from_numpy(speech[20000:26000])[None, None].repeat(2, 1, 1))
    samples[1] *= 0.5
    with torch.no_grad():
        features = network.encode_features(samples)
        wave = network.decode_features(features)
    plain = network.encode_features(samples).detach()
    torch.testing.assert_close(features, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))
    expected = network.decode_features(features).detach()
    torch.testing.assert_close(wave, expected, rtol=0, atol=1e-4)  # the tolerance of scripts/parity.py

"""`sqcodec profile`: multiply-accumulates of a network whose count is known, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sqcodec.codec import Codec
from sqcodec.config import ModelConfig
from sqcodec.evaluation.profile import _count_macs, fold_parametrizations
from sqcodec.nn import build_network


def test_products_convolutions_and_scaled_sums_are_counted() -> None:
    linear, conv = torch.nn.Linear(30, 20), torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(4, 8, 3))
    fold_parametrizations(conv)
    x = torch.randn(7, 30)
    with torch.inference_mode():
        assert _count_macs(lambda: linear(x)) == 7 * 30 * 20
        assert _count_macs(lambda: conv(torch.randn(1, 4, 12))) == 8 * 4 * 3 * 10
        assert _count_macs(lambda: torch.addcmul(x, x, x)) == 7 * 30


def test_a_model_is_measured(tiny_config: ModelConfig, tmp_path: Path) -> None:
    codec = Codec(build_network(tiny_config), "tiny")
    codec.save_pretrained(tmp_path / "tiny")
    command = [sys.executable, "-m", "sqcodec", "profile", "--model", str(tmp_path / "tiny"), "--json"]
    done = subprocess.run([*command, "--seconds", "1", "--threads", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    total = sum(parameter.numel() for parameter in codec.network.parameters())
    assert found["encoder_parameters"] + found["decoder_parameters"] == total
    # every linear weight is used once a frame of 12 ms; attention and depthwise convolutions come on top
    weights = sum(m.weight.numel() for m in codec.network.modules() if isinstance(m, torch.nn.Linear))
    counted = found["encode_macs"] + found["decode_macs"]
    assert 0.9 * weights / 0.012 < counted < 4 * weights / 0.012
    assert found["lookahead_ms"] == pytest.approx(30) and found["frame_ms"] == pytest.approx(12)
    (speed,) = found["speeds"]
    assert speed["encode"] > 0 and speed["decode"] > 0 and 50 < speed["peak_mib"] < 4000

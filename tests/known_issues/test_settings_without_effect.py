"""The frame-rate network ignored a dozen settings without a word, and got strides and a rate reduction wrong."""

from __future__ import annotations

import pytest
import torch

from sqcodec.config import FrameConfig, ModelConfig, WaveformConfig
from sqcodec.nn import build_network

OLD = """
feature_dim = 12
lookahead = 480
[encoder]
front = "stft"
n_fft = 512
hop = 192
dims = [16]
strides = []
depths = [1]
unit = { activation = "gelu", layer_scale = 0.2, kernel_size = 3 }
[transformer]
tokens_per_frame = 2
window = 5
heads = 2
head_dim = 8
position = "distance_bias"
[decoder]
head = "istft"
n_fft = 384
hop = 192
subframes = 2
dims = [16]
strides = []
depths = [2]
gate = false
unit = { activation = "gelu", layer_scale = 0.4 }
"""
"""A configuration as version 1 wrote it, without ``family``."""


@pytest.mark.parametrize("entry", [
    "transformer.position", "transformer.qk_norm", "transformer.ff_mult", "transformer.head_dim",
    "transformer.rate_reduction", "encoder.strides", "encoder.unit", "encoder.activation", "decoder.grn",
    "decoder.weight_norm", "decoder.output_dilations", "decoder.gate_norm", "causal", "pad_to",
])  # fmt: skip
def test_what_a_frame_network_does_not_read_cannot_be_set(entry: str) -> None:
    *table, name = entry.split(".")
    values = {"family": "frame"} | ({table[0]: {name: 1}} if table else {name: 1})
    with pytest.raises(ValueError, match=f"Unknown key '{entry}'"):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize("old,new", [
    ("strides = []", "strides = [2]"),
    ("window = 5", "window = 5\nrate_reduction = 2"),
    ("dims = [16]", "dims = [8, 8]"),
])  # fmt: skip
def test_what_it_got_wrong_is_refused_in_earlier_files(old: str, new: str) -> None:
    with pytest.raises(ValueError, match=new.partition(" ")[0] + "|rate_reduction"):
        ModelConfig.from_toml(OLD.replace(old, new, 1))


def test_an_earlier_file_gives_the_network_that_it_gave() -> None:
    config = ModelConfig.from_toml(OLD)
    assert isinstance(config, FrameConfig) and ModelConfig.from_toml(config.to_toml()) == config
    assert (config.hop_length, config.tokens_per_frame, config.encoder.kernel_size) == (96, 2, 3)
    assert (config.encoder.layer_scale, config.decoder.layer_scale, config.decoder.kernel_size) == (0.2, 0.4, 7)
    torch.manual_seed(0)
    state = build_network(config).state_dict()
    scales = [name for name in state if name.endswith("_scale")]  # of attention, both sides: the encoder's
    assert scales and all(bool((state[name] == 0.2).all()) for name in scales)
    assert sum(tensor.numel() for tensor in state.values()) == 39_906


def test_earlier_files_keep_their_ignored_settings_to_themselves() -> None:
    assert ModelConfig.from_toml(OLD.replace("window = 5", "window = 5\nff_mult = 2.0\nqk_norm = true")) == (
        ModelConfig.from_toml(OLD)
    )


def test_a_waveform_network_has_no_fft() -> None:
    with pytest.raises(ValueError, match="encoder.n_fft"):
        WaveformConfig.from_dict({"family": "waveform", "encoder": {"n_fft": 512}})
    with pytest.raises(ValueError, match="tokens_per_frame is 2"):
        ModelConfig.from_dict({"transformer": {"tokens_per_frame": 2}})

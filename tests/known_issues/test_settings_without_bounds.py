"""A config.toml could ask for a million layers, an FFT of 2^40 samples or a kernel of -1."""

from __future__ import annotations

import pytest

from sqcodec.config import ModelConfig, published_config


@pytest.mark.parametrize("entry,value", [
    ("encoder.depth", 1_000_000), ("encoder.dim", 10**9), ("encoder.n_fft", 2**40), ("encoder.kernel_size", -1),
    ("encoder.layer_scale", float("nan")), ("transformer.window", 10**9), ("transformer.heads", 0),
    ("decoder.depth", -1), ("decoder.subframes", 2**31), ("feature_dim", 10**7), ("sample_rate", 10**10),
    ("lookahead", 2**62), ("tokens_per_frame", 10**6), ("frame_length", 0), ("quantizer.levels", [2**40]),
    ("quantizer.noise_rate", float("inf")),
])  # fmt: skip
def test_of_a_frame_network(entry: str, value: object) -> None:
    *table, name = entry.split(".")
    tables = {table[0]: {name: value}} if table else {name: value}
    with pytest.raises(ValueError, match=f"^{entry} is .*must be .*between|{entry} is nan|{entry} is inf"):
        ModelConfig.from_dict({"family": "frame"} | tables)


@pytest.mark.parametrize("entry,value", [
    ("encoder.depths", [10**6, 1, 1, 2]), ("encoder.dims", [24, 48, 96, 10**9]), ("decoder.strides", [0, 3, 3, 2]),
    ("transformer.head_dim", 10**9), ("transformer.rate_reduction", 2**40), ("decoder.output_dilations", [-1]),
])  # fmt: skip
def test_of_a_waveform_network(entry: str, value: object) -> None:
    values = published_config("sqcodec-3kbps").to_dict()
    table, name = entry.split(".")
    with pytest.raises(ValueError, match=f"^{entry} is .*must be .*between"):
        ModelConfig.from_dict(values | {table: values[table] | {name: value}})


@pytest.mark.parametrize("value", [["a"], [7, True], [7.0], "777", {"a": 7}, None, [[7]]])
def test_a_list_of_whole_numbers_is_nothing_else(value: object) -> None:
    with pytest.raises(ValueError, match="^quantizer.levels is .*must be a"):
        ModelConfig.from_dict({"family": "frame", "quantizer": {"levels": value}})

"""Tiny networks built and run by the authors' packages (scripts/make_golden.py): ours code them alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from sqcodec.codec import Codec
from sqcodec.compat import PARTS, convert, translate_config
from sqcodec.config import ModelConfig
from sqcodec.nn.published.network import WaveformNetwork

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.safetensors"))
BOUNDARY = 1e-5
WAVEFORM_TOLERANCE = 1e-4  # float32 round-off of another order of operations, through all layers


def read_golden(path: Path) -> tuple[ModelConfig, dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """Configuration, the authors' state dict of each part, and samples, tokens and waveform."""
    with safe_open(path, framework="pt") as file:
        tables = json.loads(file.metadata()["tables"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    parts = {
        part: {name.split("/")[1]: tensor for name, tensor in tensors.items() if name.startswith(f"{part}/")}
        for part in PARTS
    }
    data = {name: tensor for name, tensor in tensors.items() if "/" not in name}
    return translate_config(tables), parts, data


def test_there_are_golden_files_of_both_families():
    assert {path.stem for path in GOLDEN} == {f"{f}-rate{r}" for f in ("sqcodec", "l3ac") for r in (1, 3)}


@pytest.mark.parametrize("fold", [False, True], ids=["as published", "folded"])
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_tokens_and_waveform_are_the_authors(path: Path, fold: bool):
    config, parts, data = read_golden(path)
    config, state = convert(parts, config, fold=fold)
    network = WaveformNetwork(config).eval()
    network.load_state_dict(state)
    with torch.no_grad():
        features = network.encode_features(network.pad(data["samples"].unsqueeze(1)))
        tokens = network.quantizer.encode(features)
        waveform = network.decode_features(network.quantizer.decode(data["tokens"])).squeeze(1)
    assert tokens.shape == data["tokens"].shape
    assert data["tokens"].unique().numel() > 50
    different = tokens != data["tokens"]
    assert network.quantizer.boundary_distance(features)[different].le(BOUNDARY).all()
    assert different.sum() <= 1
    assert waveform.shape == data["waveform"].shape
    assert (waveform - data["waveform"]).abs().max() <= WAVEFORM_TOLERANCE
    assert data["waveform"].abs().max() > 0.1


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_codec_runs_them_as_the_authors_do(path: Path):
    config, parts, data = read_golden(path)
    config, state = convert(parts, config)
    network = WaveformNetwork(config)
    network.load_state_dict(state)
    codec = Codec(network, "golden")
    tokens = codec.encode(data["samples"])
    assert torch.equal(tokens, data["tokens"])
    samples = codec.decode(tokens)[:, : data["samples"].shape[1]]
    expected = data["waveform"][:, : samples.shape[1]]
    assert (torch.as_tensor(samples) - expected).abs().max() <= WAVEFORM_TOLERANCE

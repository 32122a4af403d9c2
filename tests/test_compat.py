"""Import of published models from files: what is read, what is refused, and by which name."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import tomli_w
import torch
from safetensors import safe_open
from test_parity_golden import GOLDEN, read_golden
from torch import Tensor

from sqcodec.compat import PARTS, convert, load_published, read_config, translate_config
from sqcodec.config import published_config
from sqcodec.nn.published.network import WaveformNetwork

TINY = {path.stem: path for path in GOLDEN}
Parts = dict[str, dict[str, Tensor]]


def tables() -> dict:
    with safe_open(TINY["l3ac-rate3"], framework="pt") as file:
        return json.loads(file.metadata()["tables"]) | {"model_name": "tiny", "sample_rate": 16000}


def write_folder(folder: Path, parts: Parts, toml: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    for part, state in parts.items():
        torch.save(state, folder / f"{part}.pt")
    if toml:
        (folder / "tiny.toml").write_text(tomli_w.dumps(tables()))
    return folder


@pytest.fixture
def parts() -> Parts:
    return copy.deepcopy(read_golden(TINY["l3ac-rate3"])[1])


def run(config, state: dict[str, Tensor], samples: Tensor) -> tuple[Tensor, Tensor]:
    network = WaveformNetwork(config).eval()
    network.load_state_dict(state)
    with torch.no_grad():
        features = network.encode_features(network.pad(samples.unsqueeze(1)))
        tokens = network.quantizer.encode(features)
        return features, network.decode_features(network.quantizer.decode(tokens))


def test_folder_files_and_parts_give_the_same_model(tmp_path: Path, parts: Parts):
    folder = write_folder(tmp_path / "model", parts)
    config, state = load_published(folder)
    assert config.name == "l3ac-tiny" and not config.encoder.unit.weight_norm and not config.decoder.unit.grn
    expected = convert(parts, translate_config(tables()))[1]
    files = sorted(folder.iterdir())
    for other in (load_published([str(file) for file in files])[1], load_published(files[:5], files[5])[1]):
        assert other.keys() == state.keys() == expected.keys()
        assert all(torch.equal(other[name], tensor) for name, tensor in state.items())
        assert all(torch.equal(expected[name], tensor) for name, tensor in state.items())
    WaveformNetwork(config).load_state_dict(state)


def test_folding_keeps_the_function_and_keeping_keeps_the_parameters(parts: Parts):
    config, _, data = read_golden(TINY["l3ac-rate3"])
    kept_config, kept = convert(parts, config, fold=False)
    folded_config, folded = convert(parts, config, fold=True)
    assert kept_config == config and kept_config.encoder.unit.weight_norm
    gain = parts["encoder"]["blocks.1.0.module.pw_conv1.parametrizations.weight.original0"]
    kept_gain = kept["encoder.stages.0.units.0.expand.parametrizations.weight.original0"]
    assert torch.equal(gain, kept_gain)
    assert not any("parametrizations" in name or "response" in name for name in folded)
    features, wave = run(kept_config, kept, data["samples"])
    folded_features, folded_wave = run(folded_config, folded, data["samples"])
    assert (features - folded_features).abs().max() < 1e-4 * features.abs().max()
    assert (wave - folded_wave).abs().max() < 1e-4


def test_every_tensor_reaches_the_features_or_the_waveform(parts: Parts):
    """So that a tensor mapped to the wrong place cannot hide."""
    config, _, data = read_golden(TINY["l3ac-rate3"])
    config, state = convert(parts, config, fold=False)
    network = WaveformNetwork(config).eval()
    network.load_state_dict(state)
    samples = network.pad(data["samples"].unsqueeze(1))

    def outputs() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            latents = network.quantizer.latents(network.encode_features(samples))
            return latents, network.decode_features(network.quantizer.decode(data["tokens"]))

    latents, wave = outputs()
    for name, tensor in network.state_dict().items():
        undone = name.endswith("position.bias.layers.4.bias")  # by the softmax over distances
        if undone or ("gate.trends" in name and not name.endswith("original1")):  # by the norm over time
            continue
        original = tensor.clone()
        tensor.mul_(1 + 0.1 * torch.linspace(-1, 1, tensor.numel()).view(tensor.shape)).add_(0.01)
        changed_latents, changed_wave = outputs()
        tensor.copy_(original)
        change = max((changed_latents - latents).abs().max(), (changed_wave - wave).abs().max())
        assert change > 1e-5, name


@pytest.mark.parametrize(
    "part,old,new,message",
    [
        ("encoder", "blocks.1.0.module.norm.weight", None, "'blocks.1.0.module.norm.weight' of encoder"),
        ("en_decoder", "up_trans.trans.layers.0.1.4.weight", None, "'up_trans.trans.layers.0.1.4.weight' of"),
        ("decoder", "blocks.0.bias", "blocks.99.bias", "'blocks.0.bias' of decoder.pt is missing"),
        ("quantizer", None, "extra.weight", "'extra.weight' of quantizer.pt is not expected"),
    ],
)
def test_missing_and_unexpected_tensors_are_named(parts: Parts, part, old, new, message):
    tensor = parts[part].pop(old) if old else torch.zeros(3)
    if new:
        parts[part][new] = tensor
    with pytest.raises(ValueError, match=message):
        convert(parts, translate_config(tables()))


def test_wrong_shapes_are_named(parts: Parts, tmp_path: Path):
    parts["quantizer"]["project_in.weight"] = torch.zeros(4, 9)
    with pytest.raises(ValueError, match=r"'project_in.weight' of quantizer.*\(4, 9\): \(4, 8\) is needed"):
        convert(parts, translate_config(tables()))
    # the hub's folder name says which published configuration it is: these tiny weights are not it
    folder = write_folder(tmp_path / "3kbps.v1", parts, toml=False)
    with pytest.raises(ValueError, match="of encoder.pt.*is needed"):
        load_published(folder)


def test_files_that_are_missing_or_not_tensors(tmp_path: Path, parts: Parts):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load_published(tmp_path / "nowhere")
    folder = write_folder(tmp_path / "model", parts)
    with pytest.raises(FileNotFoundError, match="neither a file nor one of: .*l3ac-3kbps"):
        load_published(folder, "4kbps")
    (folder / "encoder.pt").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="encoder.pt is not a PyTorch file"):
        load_published(folder)
    torch.save([torch.zeros(3)], folder / "encoder.pt")
    with pytest.raises(ValueError, match="encoder.pt does not hold a dictionary"):
        load_published(folder)
    (folder / "encoder.pt").unlink()
    with pytest.raises(FileNotFoundError, match="encoder.pt missing"):
        load_published(folder)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_nothing_in_a_file_is_executed(tmp_path: Path, parts: Parts):
    folder = write_folder(tmp_path / "model", parts)
    torch.save({"weight": Malicious(tmp_path / "owned")}, folder / "decoder.pt")
    with pytest.raises(ValueError, match="decoder.pt is not a PyTorch file of tensors"):
        load_published(folder)
    assert not (tmp_path / "owned").exists()


def test_without_toml_the_configuration_must_be_said(tmp_path: Path, parts: Parts):
    folder = write_folder(tmp_path / "model", parts, toml=False)
    with pytest.raises(ValueError, match="Say which configuration.*sqcodec-3kbps"):
        load_published(folder)


@pytest.mark.parametrize(
    "key,value,message",
    [
        ("decoder_last_layer", "dilation", "decoder_last_layer is 'dilation'"),
        ("base_unit", "super", "base_unit is 'super'"),
        ("en_coder_cache_size", 3, "en_coder_cache_size is 3"),
        ("vq_config", {"name": "sim_vq"}, "Quantizer 'sim_vq'"),
        ("depth", 3, "Unknown key 'depth'"),
        ("encoder_dims", [4, 6], "dims and depths need one entry more"),
    ],
)
def test_configurations_that_cannot_be_expressed_are_refused(tmp_path: Path, key, value, message):
    values = tables()
    values["network_config"][key] = value
    (tmp_path / "x.toml").write_text(tomli_w.dumps(values))
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path / "x.toml")


def test_the_sample_rate_slip_of_12kbps_24khz_is_mended():
    values = tables() | {"model_name": "12kbps_24khz"}
    values["network_config"]["vq_config"] = {"name": "taae_fsq", "codebook_dim": [7, 7, 7, 7]}
    assert translate_config(values).sample_rate == 24000
    assert translate_config(values | {"model_name": "12kbps"}).sample_rate == 16000


def test_a_whole_published_model(tmp_path: Path):
    """With a whole-size l3ac-3kbps in the authors' names, made from our random weights."""
    from sqcodec.compat import _their_name

    config = published_config("l3ac-3kbps")
    with torch.device("meta"):
        state = WaveformNetwork(config).state_dict()
    parts: Parts = {part: {} for part in PARTS}
    for name, tensor in state.items():
        part, rest = _their_name(name, config).split(".", 1)
        parts[part][rest] = torch.full(tensor.shape, 0.5)
    folder = write_folder(tmp_path / "3kbps.v1", parts, toml=False)
    found, weights = load_published(folder, "l3ac-3kbps")
    assert found.name == "l3ac-3kbps" and found.hop_length == 96
    WaveformNetwork(found).load_state_dict(weights)
    assert load_published(folder)[0] == found  # the folder's name says which it is

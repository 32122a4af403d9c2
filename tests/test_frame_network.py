"""The frame-rate network: causal to the sample, attention equal to a dense reference, exact overlap-add."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sqcodec.config import ModelConfig
from sqcodec.nn import FrameNetwork, build_network
from sqcodec.nn.layers import FrameTransformerLayer, FrameUnit
from sqcodec.nn.spectral import ISTFTHead, STFTFront


@pytest.fixture
def network(tiny_config: ModelConfig) -> FrameNetwork:
    torch.manual_seed(0)
    return build_network(tiny_config).eval()


@torch.no_grad()
def test_output_does_not_depend_on_the_future(network: FrameNetwork, speech: np.ndarray) -> None:
    samples = torch.from_numpy(speech[: 192 * 60])[None, None]
    output, quantized = network(samples)
    for frame in (1, 13, 40):
        changed = samples.clone()
        changed[..., 192 * frame :] = torch.randn(192 * (60 - frame))
        other_output, other = network(changed)
        assert torch.equal(output[..., : 192 * frame], other_output[..., : 192 * frame])
        assert torch.equal(quantized.indices[:, : 2 * frame], other.indices[:, : 2 * frame])
        assert not torch.equal(quantized.indices[:, 2 * frame :], other.indices[:, 2 * frame :])


@torch.no_grad()
def test_context_is_all_that_the_layers_see(network: FrameNetwork, speech: np.ndarray) -> None:
    """Cutting off the past beyond the stated context changes nothing; cutting off one frame more does."""
    samples = torch.from_numpy(speech[20000 : 20000 + 192 * 60])[None, None]
    features = network.encode_features(samples)
    context = -(-network.encoder_context // 192)
    kept = network.encode_features(samples[..., 192 * 20 :])[:, 2 * context :]
    torch.testing.assert_close(features[:, 2 * (20 + context) :], kept, rtol=0, atol=1e-6)  # round-off only
    short = network.encode_features(samples[..., 192 * 20 :])[:, 2 : 2 * context]
    assert (features[:, 42 : 2 * (20 + context)] - short).abs().max() > 1e-4
    output = network.decode_features(features)
    context = -(-network.decoder_context // 192)
    kept = network.decode_features(features[:, 40:])[..., 192 * context :]
    torch.testing.assert_close(output[..., 192 * (20 + context) :], kept, rtol=0, atol=1e-6)


def test_windowed_attention_equals_dense_attention() -> None:
    torch.manual_seed(1)
    layer = FrameTransformerLayer(12, heads=3, window=4)
    torch.nn.init.normal_(layer.distance_bias)
    x = torch.randn(2, 23, 12)
    query, key, value = layer.query_key_value(x).view(2, 23, 3, 3, 4).permute(2, 0, 3, 1, 4)
    logits = query @ key.transpose(-1, -2) / math.sqrt(4)
    for head in range(3):
        for i in range(23):
            for j in range(23):
                seen = 0 <= i - j < 4
                logits[:, head, i, j] += layer.distance_bias[head, i - j] if seen else -math.inf
    expected = (logits.softmax(-1) @ value).transpose(1, 2).reshape(2, 23, 12)
    torch.testing.assert_close(layer._attend(x), expected, rtol=1e-5, atol=1e-6)


def test_unit_equals_a_grouped_convolution() -> None:
    torch.manual_seed(2)
    unit = FrameUnit(6, kernel_size=5)
    x = torch.randn(2, 17, 6)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (4, 0))
    hidden = torch.nn.functional.conv1d(padded, unit.depthwise_weight.T[:, None], unit.depthwise_bias, groups=6)
    hidden = unit.expand(unit.norm(hidden.transpose(1, 2)))
    expected = x + unit.scale * unit.contract(torch.nn.functional.gelu(hidden, approximate="tanh"))
    torch.testing.assert_close(unit(x), expected, rtol=1e-5, atol=1e-6)


def test_overlap_add_inverts_a_windowed_stft(speech: np.ndarray) -> None:
    head = ISTFTHead(384, 96)
    samples = torch.from_numpy(speech[: 96 * 50])[None]
    padded = torch.nn.functional.pad(samples, (head.overlap, head.overlap))
    spectra = torch.fft.rfft(padded.unfold(-1, 384, 96) * torch.hann_window(384))
    output = head.overlap_add(head.frames(spectra.abs(), spectra.angle()))
    torch.testing.assert_close(output[:, 288 : 288 + samples.shape[1]], samples, rtol=0, atol=1e-6)


def test_front_keeps_phase_and_compresses_magnitude() -> None:
    """A sine 20 dB louder gives bins 10^0.3 as large, with the same phase."""
    front = STFTFront(512, 192)
    sine = 0.05 * torch.sin(2 * math.pi * 1000 / 16000 * torch.arange(512 + 192.0) + 0.7)[None]
    quiet, loud = front(sine), front(10 * sine)
    for part in (quiet[..., 32], quiet[..., 257 + 32]):
        assert part.abs().min() > 1e-3
    ratio = loud[..., 32] / quiet[..., 32]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 10**0.3), rtol=1e-3, atol=0)


def test_lengths(network: FrameNetwork) -> None:
    """T samples need ceil((T + lookahead) / frame) frames of two tokens, and come back as T."""
    for length in (1, 191, 192, 193, 5000):
        samples = torch.randn(1, 1, length)
        padded = network.pad(samples)
        output, quantized = network(padded)
        assert quantized.indices.shape[1] == network.token_count(length) == 2 * -(-(length + 480) // 192)
        assert network.crop(output, length).shape[-1] == length


def test_configuration_errors_name_the_value(tiny_config: ModelConfig) -> None:
    values = tiny_config.to_dict()
    with pytest.raises(ValueError, match="lookahead is 100: it must be at least the overlap of the head .288."):
        build_network(ModelConfig.from_dict({**values, "lookahead": 100}))
    head = {**values["decoder"], "n_fft": 200}
    with pytest.raises(ValueError, match="decoder.n_fft is 200: it must be a multiple of .* .96."):
        build_network(ModelConfig.from_dict({**values, "decoder": head}))

"""Layers and the network: causality, agreement with plain formulas, attention, gradients."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sqcodec.config import (
    DecoderConfig,
    EncoderConfig,
    TransformerConfig,
    UnitConfig,
    WaveformConfig,
    quantizer_config,
)
from sqcodec.nn.published.attention import LocalTransformer, PositionMask
from sqcodec.nn.published.layers import ChannelNorm, Conv1d, ConvUnit, Snake, upsample
from sqcodec.nn.published.network import WaveformNetwork
from sqcodec.nn.published.tconv import TrendFront, TrendGate, envelope


def tiny(causal: bool = True, rate: int = 2, **transformer) -> WaveformConfig:
    """Hop 6 x rate, 3 bits or so; a norm over time and symmetric padding only where not causal."""
    options = {"window": 5, "heads": 2, "head_dim": 8, "rate_reduction": rate, "exact_window": causal}
    options |= transformer
    if rate > 1:
        options |= {"encoder_frame_depth": 1, "decoder_frame_depth": 1}
    unit = UnitConfig(layer_scale=0.5, grn=not causal, weight_norm=not causal)
    return WaveformConfig(
        feature_dim=16,
        causal=causal,
        lookahead=7 if causal else 0,
        encoder=EncoderConfig(dims=(8, 12, 16), strides=(3, 2), depths=(1, 1, 1), unit=unit),
        transformer=TransformerConfig(**options),
        quantizer=quantizer_config(levels=(5, 5, 5)),
        decoder=DecoderConfig(
            dims=(16, 12, 8), strides=(2, 3), depths=(1, 1, 1), gate_norm=not causal, unit=unit
        ),
    )


def randomised(module: nn.Module) -> nn.Module:
    """Random values for all parameters, so that initial zeros hide nothing."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        if isinstance(module, WaveformNetwork):  # keeps the last tanh from saturating
            for parameter in module.decoder.head.project.parameters():
                parameter.mul_(0.03)
    return module.eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


POSITIONS = [
    {"position": "dynamic_bias"},
    {"position": "rotary", "qk_norm": True},
    {"position": "alibi"},
]


@pytest.mark.parametrize("rate", [1, 2])
@pytest.mark.parametrize("options", POSITIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_the_past_does_not_depend_on_the_future(options: dict, rate: int):
    """Prefix property: n tokens come from the first n hops, n hops of output from the first n tokens."""
    config = tiny(rate=rate, **options)
    network, hop, count = randomised(WaveformNetwork(config)), config.hop_length, 17
    samples, other = noise(1, 1, 30 * hop), noise(1, 1, 30 * hop, seed=1)
    changed = torch.cat([samples[..., : count * hop], 5 * other[..., count * hop :]], dim=-1)
    with torch.no_grad():
        features, changed_features = network.encode_features(samples), network.encode_features(changed)
        # tolerance: products of another shape round differently; a leak of the future would be near 1
        assert (features - changed_features)[:, :count].abs().max() < 1e-5
        assert (features - changed_features)[:, count:].abs().amax(-1).min() > 1e-3
        cut = network.encode_features(samples[..., : count * hop])
        assert torch.allclose(cut, features[:, :count], atol=1e-4, rtol=1e-4)

        wave = network.decode_features(features)
        mixed = torch.cat([features[:, :count], 3 * changed_features[:, count:]], dim=1)
        changed_wave = network.decode_features(mixed)
        assert (wave - changed_wave)[..., : count * hop].abs().max() < 1e-5
        assert (wave - changed_wave)[..., count * hop :].abs().max() > 1e-3
        short = network.decode_features(features[:, :count])
        assert torch.allclose(short, wave[..., : count * hop], atol=1e-4, rtol=1e-4)


def test_the_published_kind_is_not_causal():
    """The test above can fail: symmetric padding and the norm over time do look ahead."""
    config = tiny(causal=False)
    network, hop = randomised(WaveformNetwork(config)), config.hop_length
    samples = noise(1, 1, 30 * hop)
    changed = samples.clone()
    changed[..., 17 * hop :] = 0
    with torch.no_grad():
        difference = network.encode_features(samples) - network.encode_features(changed)
        assert difference[:, 16].abs().max() > 1e-3
        features = network.encode_features(samples)
        mixed = features.clone()
        mixed[:, 17:] = 0
        wave = network.decode_features(features) - network.decode_features(mixed)
        assert wave[..., :60].abs().max() > 1e-5


@pytest.mark.parametrize("rate", [1, 2])
@pytest.mark.parametrize("options", POSITIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_context_is_all_that_is_seen_of_the_past(options: dict, rate: int):
    """So a recording may be cut anywhere, with `encoder_context` and `decoder_context` repeated before."""
    config = tiny(rate=rate, window=3, **options)
    network, hop = randomised(WaveformNetwork(config)), config.hop_length
    samples = noise(1, 1, 140 * hop)
    with torch.no_grad():
        features = network.encode_features(samples)
        context = -(-network.encoder_context // hop)
        assert 10 < context < 130
        cut = network.encode_features(samples[..., -(context + 2) * hop :])
        assert torch.allclose(cut[:, -2:], features[:, -2:], atol=1e-4, rtol=1e-4)
        near = network.encode_features(samples[..., -(context // 4) * hop :])
        assert (near[:, -2:] - features[:, -2:]).abs().max() > 1e-3

        wave = network.decode_features(features)
        context = -(-network.decoder_context // hop)
        assert 10 < context < 130
        cut = network.decode_features(features[:, -(context + 2) :])
        assert torch.allclose(cut[..., -2 * hop :], wave[..., -2 * hop :], atol=1e-5)
        near = network.decode_features(features[:, -2:])
        assert (near - wave[..., -2 * hop :]).abs().max() > 1e-4


@pytest.mark.parametrize("causal", [True, False])
def test_a_batch_is_its_clips(causal: bool):
    config = tiny(causal)
    network = randomised(WaveformNetwork(config))
    samples = noise(3, 1, 20 * config.hop_length)
    with torch.no_grad():
        wave, output = network(samples)
        for clip in range(3):
            one_wave, one = network(samples[clip : clip + 1])
            assert torch.equal(one.indices, output.indices[clip : clip + 1])
            assert torch.allclose(one_wave, wave[clip : clip + 1], atol=1e-5)


def test_lookahead_padding_and_cropping():
    network = WaveformNetwork(tiny())
    hop = network.config.hop_length  # 12, lookahead 7
    for length, tokens in ((0, 0), (1, 1), (5, 1), (6, 2), (17, 2), (18, 3)):
        assert network.token_count(length) == tokens
        padded = network.pad(noise(1, 1, length))
        assert padded.shape[-1] == network.pad_length(length) == tokens * hop
        assert network.crop(padded, length).shape[-1] == length
    window = dataclasses.replace(network.config, pad_to="window", lookahead=0)
    assert WaveformNetwork(window).pad_length(61) == 2 * 5 * hop
    assert WaveformNetwork(window).token_count(61) == 6
    with pytest.raises(ValueError, match="a multiple of 12"):
        network.encode_features(noise(1, 1, 13))


@pytest.mark.parametrize("causal", [True, False])
def test_every_parameter_gets_a_gradient(causal: bool):
    config = tiny(causal)
    network = randomised(WaveformNetwork(config)).train()
    wave, output = network(noise(2, 1, 20 * config.hop_length))
    (wave.square().mean() + output.loss).backward()
    for name, parameter in network.named_parameters():
        if name.endswith("position.bias.layers.4.bias") or ("gate.trends" in name and name.endswith("bias")):
            continue  # a constant, which the softmax over distances or the norm over time undoes
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_bfloat16_autocast_stays_close():
    config = tiny()
    network = randomised(WaveformNetwork(config))
    samples = noise(1, 1, 20 * config.hop_length)
    with torch.no_grad():
        expected = network.encode_features(samples)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = network.encode_features(samples)
    error = (features - expected).pow(2).mean() / expected.pow(2).mean()
    assert error.sqrt() < 0.05


def plain_attention(x: Tensor, layer, bias, visible: Tensor) -> Tensor:
    """Attention over all steps at once, by the textbook."""
    q, k, v = layer.to_qkv(layer.norm(x)).chunk(3, dim=-1)
    q, k, v = (part.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for part in (q, k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias
    scores = scores.masked_fill(~visible, float("-inf"))
    return layer.to_out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("steps", [1, 4, 5, 6, 23])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("position", ["dynamic_bias", "alibi"])
def test_local_attention_is_masked_attention(position: str, exact: bool, steps: int):
    window = 5
    config = TransformerConfig(position=position, exact_window=exact, heads=2, head_dim=8, window=window)
    stack = randomised(LocalTransformer(16, 2, window, config))
    x = noise(2, steps, 16)
    index = torch.arange(steps)
    distance = index[:, None] - index
    bucket = index // window
    seen = distance < window if exact else bucket[:, None] - bucket <= 1
    visible = (distance >= 0) & seen
    bias = stack.position.bias(torch.arange(steps).float())[distance.abs()].permute(2, 0, 1)
    expected = x
    for attention, feed_forward in zip(stack.attentions, stack.feed_forwards, strict=True):
        expected = expected + plain_attention(expected, attention, bias, visible)
        expected = expected + feed_forward(expected)
    assert torch.allclose(stack(x), expected, atol=1e-4, rtol=1e-4)


def test_rotary_positions_are_relative():
    """With the same content at each step, shifting a sequence shifts the output: only distances count."""
    config = TransformerConfig(position="rotary", heads=2, head_dim=8, window=4)
    stack = randomised(LocalTransformer(16, 1, 4, config))
    x = noise(1, 12, 16)
    shifted = torch.cat([noise(1, 3, 16, seed=5), x], dim=1)
    assert torch.allclose(stack(x)[:, 4:], stack(shifted)[:, 7:], atol=1e-5)  # beyond the window's start
    reordered = x[:, [1, 0, 2, 3]]
    last = stack(x[:, :4])[:, 3] - stack(reordered)[:, 3]
    assert last.abs().max() > 1e-3  # and the order counts


def test_position_mask_of_a_bucket():
    config = TransformerConfig(position="alibi", heads=2, window=3, exact_window=True)
    mask = PositionMask(16, 3, config)(torch.zeros(1), 3, 6)
    assert mask.shape == (2, 3, 6)
    visible = torch.isfinite(mask[0]).int().tolist()
    assert visible == [[0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1]]
    assert mask[0, 0, 1:4].tolist() == [-0.125, -0.0625, 0.0]


def test_shifted_products_are_the_depthwise_convolution():
    for causal in (True, False):
        layer = Conv1d(6, 6, 7, dilation=3, groups=6, causal=causal)
        x = noise(2, 6, 50)
        expected = F.conv1d(F.pad(x, layer.pads), layer.weight, layer.bias, dilation=3, groups=6)
        assert torch.allclose(layer(x), expected, atol=1e-6)
        assert torch.allclose(layer._shifted_products(F.pad(x, layer.pads)), expected, atol=1e-6)


def test_envelope_is_the_mean_of_the_running_maximum():
    x = noise(1, 1, 40)
    for causal in (True, False):
        offset = 4 if causal else 2
        padded = F.pad(x.abs(), (offset, 4 - offset))[0, 0]
        peaks = torch.stack([padded[t : t + 5].max() for t in range(40)])
        means = F.pad(peaks, (offset, 4 - offset)).unfold(0, 5, 1).mean(-1)
        assert torch.allclose(envelope(x, 5, causal)[0, 0], means, atol=1e-6)
    assert torch.equal(envelope(x, 1, True), x)


def test_causal_upsampling_is_a_line_from_the_last_value_to_this_one():
    x = torch.tensor([[[2.0, 4.0, 0.0]]])
    assert upsample(x, 2, causal=True).tolist() == [[[1.0, 2.0, 3.0, 4.0, 2.0, 0.0]]]
    assert upsample(x, 2, causal=False).tolist() == [[[2.0, 2.5, 3.5, 3.0, 1.0, 0.0]]]


def test_norm_and_snake_formulas():
    x = noise(2, 8, 10)
    norm = randomised(ChannelNorm(8, 1e-6))
    expected = F.layer_norm(x.transpose(1, 2), (8,), norm.weight, norm.bias, 1e-6).transpose(1, 2)
    assert torch.allclose(norm(x), expected, atol=1e-5)
    snake = randomised(Snake(8, 1e-9))
    alpha = snake.alpha[:, None]
    assert torch.allclose(snake(x), x + torch.sin(alpha * x) ** 2 / alpha, atol=1e-5)
    last = Snake(8, 1e-9, channels_last=True)
    last.load_state_dict(snake.state_dict())
    assert torch.allclose(last(x.transpose(1, 2)).transpose(1, 2), snake(x), atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        ConvUnit(8, UnitConfig(grn=True, layer_scale=0.1), causal=True, dilation=3),
        ConvUnit(8, UnitConfig(activation="gelu", norm=False, weight_norm=True), causal=True),
        TrendGate(8, causal=True, norm=False, weight_norm=False),
        TrendFront(8, causal=True, weight_norm=True),
    ],
    ids=["unit", "gelu unit", "gate", "front"],
)
def test_causal_layers_see_only_the_past_and_use_it(layer: nn.Module):
    layer = randomised(layer)
    x = noise(1, 1 if isinstance(layer, TrendFront) else 8, 60)
    changed = x.clone()
    changed[..., 30:] += 1
    difference = (layer(x) - layer(changed)).abs().amax(1)[0]
    assert difference[:30].max() < 1e-6 and difference[30] > 1e-4
    changed = x.clone()
    changed[..., 27] += 1
    assert (layer(x) - layer(changed)).abs().amax(1)[0, 30] > 1e-5

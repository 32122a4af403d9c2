"""Prepared networks compute, in blocks of time, what the plain layers compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sqcodec.nn.published.blocked
from sqcodec.codec import Codec
from sqcodec.config import ModelConfig, published_config
from sqcodec.nn import build_network
from sqcodec.nn.inference import InferenceOptions, can_pack
from sqcodec.nn.published.network import WaveformNetwork
from sqcodec.nn.published.prepared import PreparedNetwork


def random_network(name: str) -> WaveformNetwork:
    """All parameters away from their initial values; "causal" is a network that no one has published."""
    torch.manual_seed(0)
    config = published_config("l3ac-3kbps" if name == "causal" else name)
    if name == "causal":
        values = config.to_dict()
        values["decoder"] = {**values["decoder"], "gate_norm": False}
        values["transformer"] = {**values["transformer"], "exact_window": True}
        config = ModelConfig.from_dict({**values, "causal": True})
    network = build_network(config).eval().requires_grad_(False)
    assert isinstance(network, WaveformNetwork)
    for parameter in network.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return network


@pytest.mark.parametrize("name", ["sqcodec-3kbps", "l3ac-1kbps", "causal"])
@torch.inference_mode()
def test_prepared_equals_the_plain_layers(name: str, speech: np.ndarray, monkeypatch) -> None:
    """In small blocks, so that there are many; in both precisions."""
    monkeypatch.setattr(sqcodec.nn.published.blocked, "BLOCK_BYTES", 2**17)
    network = random_network(name)
    samples = network.pad(torch.from_numpy(speech[20000:26000])[None, None])
    if name != "sqcodec-3kbps":
        samples = torch.cat([samples, 0.5 * samples])
    features = network.encode_features(samples)
    wave = network.decode_features(features)
    prepared = PreparedNetwork(network, InferenceOptions(packed=can_pack(torch.float32)))
    found = prepared.encode_features(samples)
    torch.testing.assert_close(found, features, rtol=1e-4, atol=1e-4 * float(features.abs().max()))
    # the tolerance of scripts/parity.py: round-off that some Snakes multiply
    torch.testing.assert_close(prepared.decode_features(features), wave, rtol=0, atol=1e-4)
    rough = PreparedNetwork(network, InferenceOptions(torch.bfloat16, packed=can_pack(torch.bfloat16)))
    assert (rough.encode_features(samples) - features).norm() < 0.03 * features.norm()
    assert (rough.decode_features(features) - wave).norm() < 0.2 * wave.norm()


@torch.inference_mode()
def test_long_padding_is_not_computed(speech: np.ndarray, monkeypatch) -> None:
    """The published SQCodec pads a second to four and a half; the frames within the padding are all the same."""
    network = random_network("sqcodec-0k75bps")
    samples = network.pad(torch.from_numpy(speech[20000:36000])[None, None])
    prepared = PreparedNetwork(network, InferenceOptions())
    expected = prepared.encode_features(samples)
    computed = []
    encode = prepared._encode
    monkeypatch.setattr(prepared, "_encode", lambda part: computed.append(part.shape[2]) or encode(part))
    found = prepared.encode_features(samples, 16000)
    assert computed[0] < 22000 < samples.shape[2]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@torch.inference_mode()
def test_codec_in_both_precisions(speech: np.ndarray) -> None:
    network = random_network("l3ac-1kbps")
    exact, rough = Codec(network), Codec(network, precision="bfloat16")
    tokens = exact.encode(speech[:8000])
    features = network.encode_features(network.pad(torch.from_numpy(speech[:8000])[None, None]))
    assert torch.equal(tokens, network.quantizer.encode(features))
    assert rough.encode(speech[:8000]).shape == tokens.shape
    assert (exact.decode(tokens) - rough.decode(tokens)).norm() < 0.2 * exact.decode(tokens).norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_compiled_snake_has_one_graph_for_all_lengths(dtype: torch.dtype) -> None:
    pytest.importorskip("torch._inductor")
    from sqcodec.nn.published.snake import _snake, snake

    graphs = []

    def count(module, inputs):
        graphs.append(module)
        return module.forward

    function = torch.compile(_snake, dynamic=True, backend=count)
    near = {"rtol": 1e-2, "atol": 1e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-6}
    for steps, width in ((7, 12), (100, 12), (33, 40), (2, 5)):
        x, alpha = torch.randn(2, steps, width).to(dtype), torch.rand(width) + 0.5
        expected = x + (torch.sin(x.float() * alpha).square() / alpha).to(dtype)
        torch.testing.assert_close(function(x, alpha, 1 / alpha), expected, **near)
        torch.testing.assert_close(snake(x, alpha, 1 / alpha), expected, **near)
    assert len(graphs) == 1

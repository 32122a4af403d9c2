"""The training path with channels last computes what the plain layers compute, and the same gradients."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sqcodec.config import ModelConfig, published_config
from sqcodec.nn import build_network
from sqcodec.nn.published import differentiable
from sqcodec.nn.published.layers import Snake
from sqcodec.nn.published.network import WaveformNetwork
from sqcodec.nn.published.time_major import TimeMajorNetwork
from sqcodec.training.recipe import load_recipe
from sqcodec.training.step import Step

RECIPE = Path(__file__).parent.parent / "recipes" / "mini_speech.toml"


def small_network(name: str, **unit: object) -> WaveformNetwork:
    """A published configuration at a third of its width, all parameters away from their initial values."""
    torch.manual_seed(0)
    values = published_config("l3ac-3kbps" if name == "causal" else name).to_dict()
    if name == "causal":
        values["transformer"]["exact_window"] = True
        values |= {"causal": True}
    encoder, decoder = values["encoder"], values["decoder"]
    encoder |= {"dims": [8 * 2**stage for stage in range(len(encoder["dims"]))], "unit": encoder["unit"] | unit}
    decoder |= {"dims": [8 * 2**stage for stage in reversed(range(len(decoder["dims"])))]}
    decoder |= {"unit": decoder["unit"] | unit, "gate_norm": name != "causal"}
    network = build_network(ModelConfig.from_dict(values)).eval()
    assert isinstance(network, WaveformNetwork)
    for parameter in network.parameters():
        parameter.data += (0.1 if parameter.dim() == 1 else 0.02) * torch.randn_like(parameter)
    return network


def gradients(
    network: WaveformNetwork, run: object, samples: Tensor, half: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = run(samples)[0].float()  # type: ignore[operator]
    (output - samples).abs().mean().backward()
    return output.detach(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def distance(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The largest relative error of a parameter's gradient. Some are zero but for round-off, such as those of biases
    before an instance norm, hence the offset."""
    largest = max(gradient.norm() for gradient in wanted.values())
    return max(float((found[n] - wanted[n]).norm() / (wanted[n].norm() + 1e-3 * largest)) for n in wanted)


@pytest.mark.parametrize(
    "name, unit",
    [("l3ac-3kbps", {}), ("sqcodec-1k5bps", {}), ("causal", {"activation": "gelu", "norm": False, "layer_scale": 0.5})],
)
def test_same_output_and_gradients(name: str, unit: dict, speech: np.ndarray, monkeypatch) -> None:
    """The loops uncompiled; a compiled one is below."""
    monkeypatch.setattr(differentiable, "_compiled", lambda function: function)
    network = small_network(name, **unit)
    samples = torch.from_numpy(speech[20000 : 20000 + 16 * network.config.hop_length]).repeat(2, 1, 1)
    output, wanted = gradients(network, network, samples)
    fast, found = gradients(network, TimeMajorNetwork(network), samples)
    torch.testing.assert_close(fast, output, rtol=0, atol=1e-5)
    assert found.keys() == wanted.keys()
    assert distance(found, wanted) < 1e-3
    exact = distance(gradients(network, network, samples, half=True)[1], wanted)
    assert distance(gradients(network, TimeMajorNetwork(network), samples, half=True)[1], wanted) < 1.5 * exact


def test_compiled_loops_serve_all_shapes() -> None:
    """Snake and the depthwise convolution, compiled, at two widths and lengths."""
    for channels, length in ((24, 70), (40, 33)):
        torch.manual_seed(1)
        plain = Snake(channels, 1e-8, channels_last=True)
        gamma, beta = (torch.randn(channels, requires_grad=True) for _ in range(2))
        taps, bias = torch.randn(7, channels, requires_grad=True), torch.randn(channels, requires_grad=True)
        x = torch.randn(2, length, channels, requires_grad=True)
        leaves = (x, plain.alpha, gamma, beta, taps, bias)
        y = plain(x) * (1 + gamma) + beta
        padded = torch.nn.functional.pad(y.transpose(1, 2), (4, 14))
        wanted = torch.nn.functional.conv1d(padded, taps.T[:, None], bias, dilation=3, groups=channels).transpose(1, 2)
        y = differentiable.snake(x, plain.alpha, 1e-8, gamma, beta)
        found = differentiable.depthwise(y, taps, bias, (4, 14), 3)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        slope = torch.randn_like(wanted)
        for one, other in zip(
            torch.autograd.grad(found, leaves, slope), torch.autograd.grad(wanted, leaves, slope), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_train_compile_takes_it(speech: np.ndarray, monkeypatch) -> None:
    """``train.compile`` of a waveform network on a CPU: the same loss terms."""
    monkeypatch.setattr(differentiable, "_compiled", lambda function: function)
    recipe, network = load_recipe(RECIPE), small_network("l3ac-3kbps")
    calls: list[int] = []
    whole = TimeMajorNetwork.__call__

    def counted(self: TimeMajorNetwork, *inputs: Tensor) -> object:
        calls.append(1)
        return whole(self, *inputs)

    monkeypatch.setattr(TimeMajorNetwork, "__call__", counted)
    samples = torch.from_numpy(speech[20000 : 20000 + 40 * network.config.hop_length])[None]
    terms = []
    for fast in (False, True):
        train = dataclasses.replace(recipe.train, compile=fast, bf16=False)
        terms.append(Step(network, 16000, recipe.loss, train)(samples, 10**6).terms)
    assert calls == [1]
    for name, term in terms[0].items():
        torch.testing.assert_close(terms[1][name], term, rtol=1e-4, atol=1e-6, msg=name)

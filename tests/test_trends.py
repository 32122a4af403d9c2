"""TConv in the causal network, and nested tokens: exact in pieces, batches, precisions and runtimes.

Letters: B batch, T samples, N tokens, D code dimensions.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sqcodec.codec import Codec
from sqcodec.config import ModelConfig
from sqcodec.nn import FrameNetwork, build_network
from sqcodec.nn.tconv import GATE_CONTEXT, GATE_SCALES, GATE_TAPS, TrendGate, Trends, gate_windows, means, stride
from sqcodec.quantizers.nested import NestedFSP
from sqcodec.streaming import StreamDecoder, StreamEncoder

FRONTS = ("stft", "tconv", "tconv+stft", "tconv+stft 12")


def awake(network: FrameNetwork) -> FrameNetwork:
    """With what starts at zero, so as to change nothing, at random values."""
    for parameter in network.parameters():
        if not parameter.abs().max():
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.fixture(params=FRONTS)
def network(request: pytest.FixtureRequest, tiny_config: ModelConfig) -> FrameNetwork:
    torch.manual_seed(0)
    quantizer = {"kind": "nested", "levels": [], "dim": 4, "bits": [4, 9, 12]}
    # Exactness holds for widths in whole vectors.
    front, hop = request.param.rsplit(" ", 1) if " " in request.param else (request.param, "16")
    encoder = {"front": front, "dim": 64, "trend_width": 64, "trend_hop": int(hop)}
    decoder = {"gate": True, "dim": 64}
    config = tiny_config.changed(encoder=encoder, decoder=decoder, quantizer=quantizer)
    return awake(build_network(config))


def test_trends_are_means_of_maxima() -> None:
    trends = Trends((1, 5, 11, 21, 45), 192, 16)
    samples = torch.randn(2, trends.overlap + 3 * 192, generator=torch.Generator().manual_seed(0))
    windows = trends(samples)
    assert windows.shape == (2, 36, 62) and trends.overlap == 92
    for window in (0, 17, 35):
        last, column = trends.overlap + 16 * (window + 1), 0
        for scale, taps in zip(trends.scales, trends.taps, strict=True):
            step = stride(scale, 16)
            for tap in range(taps):
                end = last - (taps - 1 - tap) * step
                ends = [end - index * step for index in range(means(scale, 16))]
                peaks = [samples[:, stop - scale : stop].abs().amax(1) for stop in ends]
                expected = samples[:, end - 1] if scale == 1 else torch.stack(peaks).mean(0)
                torch.testing.assert_close(windows[:, window, column], expected)
                column += 1
    assert [stride(scale, 16) for scale in trends.scales] == [1, 2, 4, 8, 16]
    assert torch.equal(Trends((1, 5, 11, 21, 45), 192, 16)(samples[:, 192:]), windows[:, 12:])
    assert [stride(scale, 36) for scale in trends.scales] == [1, 2, 4, 4, 4]
    with pytest.raises(ValueError, match="a divisor of the frame of 192"):
        Trends((1, 5), 192, 20)


def test_gates_see_the_published_trends_of_the_first_channel() -> None:
    from sqcodec.nn.published.tconv import envelope

    first = torch.randn(2, 80, generator=torch.Generator().manual_seed(0))
    windows = gate_windows(F.pad(first, (GATE_CONTEXT, 0)))
    column = 0
    for scale in GATE_SCALES:
        trend, dilation = envelope(first[:, None], scale, causal=True)[:, 0], scale // 2 + 1
        for tap in range(GATE_TAPS):
            back = (GATE_TAPS - 1 - tap) * dilation
            torch.testing.assert_close(windows[:, :, column], F.pad(trend, (back, 0))[:, :80])
            column += 1
    x = torch.randn(2, 30, 6)
    assert torch.equal(TrendGate(6)(x), x)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pieces_and_batches_are_the_whole(network: FrameNetwork, speech: np.ndarray, precision) -> None:
    codec = Codec(network, precision=precision)
    samples = np.stack([speech[:20000], speech[30000:50000]])
    tokens = codec.encode(samples)
    decoded = codec.decode(tokens, 20000)
    if precision == "float32":
        padded = network.pad(torch.from_numpy(samples)[:, None])
        assert torch.equal(network.quantizer.encode(network.encode_features(padded)), tokens)
        reference = network.crop(network.decode_features(network.quantizer.decode(tokens)), 20000)[:, 0]
        assert (reference - decoded).abs().max() < 1e-5  # another order of summation
    encoder, decoder = StreamEncoder(codec, 2), StreamDecoder(codec, 2)
    random, pieces, start = np.random.default_rng(0), [], 0
    while start < 20000:
        stop = start + int(random.integers(1, 1500))
        pieces.append(encoder.push(samples[:, start:stop]))
        start = stop
        if len(pieces) == 9:
            state = encoder.state_dict()
            encoder = StreamEncoder(codec, 2)
            encoder.load_state_dict(state)
    pieces.append(encoder.flush())
    assert torch.equal(torch.cat(pieces, 1), tokens)
    live = torch.cat([decoder.push(piece) for piece in pieces], 1)
    assert torch.equal(live[:, :20000], decoded)
    assert torch.equal(codec.encode_batch([samples[0], samples[1, :7000]])[0], tokens[0])


def test_onnx_runs_it(network: FrameNetwork, tmp_path) -> None:
    pytest.importorskip("onnxruntime")
    from sqcodec.export.onnx import check_onnx, export_onnx

    codec = Codec(network, name="tiny")
    export_onnx(codec, tmp_path)
    equal, difference = check_onnx(codec, tmp_path, seconds=1.0)
    assert equal > 0.99 and difference < 1e-4


def test_front_and_gates_start_as_what_changes_nothing(tiny_config: ModelConfig, speech: np.ndarray) -> None:
    torch.manual_seed(1)
    plain = build_network(tiny_config).eval()
    wide = build_network(tiny_config.changed(encoder={"front": "tconv+stft"}, decoder={"gate": True})).eval()
    new = wide.state_dict().keys() - plain.state_dict().keys()
    assert new and all(name.startswith(("trend_front.", "gates.")) for name in new)
    wide.load_state_dict(plain.state_dict() | {name: wide.state_dict()[name] for name in new})
    samples = torch.from_numpy(speech[: 192 * 40])[None, None]
    with torch.no_grad():
        assert torch.equal(plain(samples)[0], wide(samples)[0])


# Nested tokens


def test_a_token_cut_to_fewer_bits_is_the_token_at_that_rate() -> None:
    torch.manual_seed(0)
    quantizer = NestedFSP(16, 5, (3, 12, 18)).eval()
    features = torch.randn(2, 200, 16) * 4
    finest = quantizer.encode(features, 18)
    assert torch.equal(quantizer.join(quantizer.split(finest, 18).long()), finest)
    interval = (torch.tanh(quantizer.latents(features)) + 1) / 2
    for bits in range(3, 19):
        tokens = quantizer.encode(features, bits)
        assert torch.equal(tokens, finest >> (18 - bits)) and int(tokens.max()) < 2**bits
        codes, sizes = quantizer.lookup(tokens, bits).chunk(2, dim=-1)
        assert ((codes / 12**0.5 + 0.5 - interval).abs() <= sizes / 2 + 1e-6).all()
    output = quantizer(features)
    assert torch.equal(output.indices, quantizer.encode(features))
    assert torch.equal(output.features, quantizer.decode(output.indices))
    with pytest.raises(ValueError, match="2 bits: this model has 3 to 18"):
        quantizer.encode(features, 2)
    with pytest.raises(ValueError, match="knows 0 to 7"):
        quantizer.decode(torch.tensor([[8]]), 3)


def test_each_segment_is_trained_at_bits_of_its_own() -> None:
    torch.manual_seed(0)
    quantizer = NestedFSP(8, 3, (2, 6, 9), noise_rate=0.0).train()
    seen: list[torch.Tensor] = []
    quantizer.with_sizes = lambda codes, counts: (  # type: ignore[method-assign]
        seen.append(counts), NestedFSP.with_sizes(quantizer, codes, counts)
    )[1]  # fmt: skip
    output = quantizer(torch.randn(500, 4, 8, requires_grad=True))
    bits = seen[0].log2().sum(-1).flatten()
    assert sorted(bits.unique().tolist()) == [2, 3, 4, 5, 6, 7, 8, 9]
    quantizer.lost_rate, quantizer.lost_burst = 0.5, 6
    lost = quantizer._lost(torch.zeros(2000, 50, 3))
    assert lost.any(1).float().mean() == pytest.approx(0.5 * (1 - 0.96**50), abs=0.04)
    runs = "".join("x" if flag else " " for flag in lost[:, :].flatten().tolist()).split()
    assert 1 == min(map(len, runs)) and max(map(len, runs)) >= 6
    seen.clear()
    kept = quantizer(torch.randn(50, 40, 8)).features
    assert (seen[0] == 1).all(-1).float().mean() > 0.02 and torch.isfinite(kept).all()
    (output.features.sum() + output.loss).backward()
    assert all(parameter.grad is not None for parameter in quantizer.parameters())

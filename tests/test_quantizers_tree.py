"""VP with codes in a tree: tokens can be cut, coarser codes are worse by what fewer codes cost, sizes are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sqcodec.codec import Codec
from sqcodec.config import quantizer_config
from sqcodec.nn import build_network
from sqcodec.quantizers import PerturbationOptions, TreeQuantizer, VectorPerturbation, VectorQuantizer, build_quantizer
from sqcodec.quantizers.kmeans import fit_codes, halved

BITS = (2, 5, 8)
CONFIG = quantizer_config(kind="vp_tree", dim=3, bits=BITS)


@pytest.fixture(scope="module")
def points() -> torch.Tensor:
    return torch.randn(1, 8000, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def quantizer(points) -> TreeQuantizer:
    torch.manual_seed(0)
    found = build_quantizer(CONFIG, 12)
    assert isinstance(found, TreeQuantizer)
    found.set_codebook(list(fit_codes(points[0], 256, 5, 0))[-1].codes)
    return found.eval()


def test_the_order_of_the_codes() -> None:
    line = torch.tensor([5.0, 1.0, 7.0, 0.0, 3.0, 2.0, 6.0, 4.0])[:, None] * torch.tensor([[1.0, -2.0]])
    order = halved(line, 8)
    halves = {frozenset(half) for half in line[order, 0].view(2, 4).tolist()}
    quarters = {frozenset(quarter) for quarter in line[order, 0].view(4, 2).tolist()}
    assert halves == {frozenset({0.0, 1.0, 2.0, 3.0}), frozenset({4.0, 5.0, 6.0, 7.0})}
    assert quarters == {frozenset({first, first + 1.0}) for first in (0.0, 2.0, 4.0, 6.0)}


def test_cut_tokens_are_the_tokens_at_fewer_bits(quantizer, points) -> None:
    finest = quantizer.at(8).nearest(points)
    assert len(finest.unique()) == 256 and torch.equal(quantizer.nearest(points), finest >> 3)
    error = []
    for bits in range(BITS[0], BITS[2] + 1):
        coder = quantizer.at(bits)
        tokens = coder.nearest(points)
        assert torch.equal(tokens, finest >> (8 - bits))
        error.append(float((coder.lookup(tokens) - points).square().mean()))
    assert all(coarse > fine for coarse, fine in zip(error, error[1:], strict=False))
    flat = VectorQuantizer(12, 3, 32)  # what K-means with so many codes reaches
    flat.set_codebook(list(fit_codes(points[0], 32, 20, 0))[-1].codes)
    best = float((flat.lookup(flat.nearest(points)) - points).square().mean())
    assert best < error[3] < 1.5 * best  # 3 dimensions halved 5 times: cells are twice as long as wide
    for bits in (1, 9):
        with pytest.raises(ValueError, match="has 2 to 8"):
            quantizer.at(bits)


def test_segments_are_perturbed_as_among_as_many_codes_as_they_draw(points) -> None:
    perturbation = VectorPerturbation(3, 256, PerturbationOptions(neighbours_per_code=16, reference_per_code=16))
    perturbation.queue.copy_(torch.randn(4096, 3, generator=torch.Generator().manual_seed(1)))
    perturbation.filled = len(perturbation.queue)
    torch.manual_seed(0)
    latents = points[0, :6000].view(3, 2000, 3)
    offset, _ = perturbation(latents, torch.tensor([4, 32, 256]))
    moved = offset.norm(dim=-1)
    sizes = [float(row[row > 0].mean()) for row in moved]
    assert sizes[0] > 1.4 * sizes[1] > 1.4**2 * sizes[2]
    torch.manual_seed(0)
    perturbation.filled, perturbation.position = 4096, 0
    perturbation.queue.copy_(torch.randn(4096, 3, generator=torch.Generator().manual_seed(1)))
    same, _ = perturbation(latents)
    assert torch.allclose(same[2], offset[2], atol=1e-6)


def test_a_codec_with_such_tokens_has_many_rates(tiny_config, speech) -> None:
    torch.manual_seed(0)
    settings = {"kind": "vp_tree", "levels": [], "dim": 3, "bits": [4, 6, 8]}
    network = build_network(tiny_config.changed(quantizer=settings))
    network.quantizer.set_codebook(torch.randn(256, 3))
    codec = Codec(network, "tree", "0" * 64)
    samples = speech[:8000]
    assert list(codec.rates) == [4, 5, 6, 7, 8] and codec.default_bits == 6
    finest = codec.encode(samples, bits=8)
    for bits in (4, 6):
        tokens = codec.encode(samples, bits=bits)
        assert torch.equal(tokens, finest >> (8 - bits))
        decoded = codec.decode(tokens, len(samples), bits=bits)
        assert np.isfinite(decoded.numpy()).all() and decoded.shape == (1, 8000)
    assert not torch.equal(codec.decode(finest, 8000, bits=8), decoded)

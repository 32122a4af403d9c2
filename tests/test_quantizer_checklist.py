"""One checklist that every quantizer passes. Sizes: B 4, N 96, C 16, codebooks of 64 codes or so."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from sqcodec.codec import Codec
from sqcodec.config import FrameConfig, ModelConfig, QuantizerConfig, quantizer_config
from sqcodec.container import CodeHeader, dumps, loads
from sqcodec.nn import build_network
from sqcodec.quantizers import VectorPerturbation, build_quantizer
from sqcodec.quantizers.compared.library import PACKAGE
from sqcodec.quantizers.compared.mapped import CodeMap, radius_surrogate
from sqcodec.quantizers.perturbation import PerturbationOptions
from sqcodec.streaming import StreamDecoder, StreamEncoder

LIBRARY = ("vq", "rotation", "directional", "simvq", "lfq", "bsq", "rvq", "pvq", "msrvq")
FIELDS = {
    "fsq": {"levels": (4, 4, 4)},
    "fsp": {"levels": (4, 4, 4)},
    "nested": {"levels": (), "dim": 4, "bits": (4, 6, 8)},
    "vp_tree": {"dim": 4, "bits": (4, 6, 8)},
    "none": {"levels": (), "dim": 4},
    "rvq": {"levels": (8, 16), "dim": 4},
    "pvq": {"levels": (8, 16), "dim": 4},
    "msrvq": {"levels": (8, 16), "dim": 4, "strides": (2, 1)},
    "lfq": {"levels": (), "dim": 6, "size": 64},
    "bsq": {"levels": (), "dim": 6, "size": 64},
}
ALL = list(QuantizerConfig.kinds)
CONFIGS = {kind: quantizer_config(kind=kind, **FIELDS.get(kind, {"levels": (), "dim": 4, "size": 64})) for kind in ALL}
RESTARTS = {"kmeans_init": True, "restart_below": 0.1}
CONFIGS |= {
    "vq restarts": quantizer_config(kind="vq", levels=(), dim=4, size=64, **RESTARTS),
    "rvq restarts": quantizer_config(kind="rvq", levels=(8, 16), dim=4, **RESTARTS),
    "gritvq mlp": quantizer_config(
        kind="gritvq", levels=(), dim=4, size=64, transform="mlp", radius="log"
    ),
}
TOKENS = [name for name in CONFIGS if name != "none"]


def build(name: str):
    if CONFIGS[name].kind in LIBRARY:
        pytest.importorskip(PACKAGE)
    torch.manual_seed(0)
    quantizer = build_quantizer(CONFIGS[name], 16)
    torch.nn.init.orthogonal_(quantizer.project_in.weight)
    if name in ("vp", "vp_tree"):
        size = len(quantizer.codebook)
        perturbation = VectorPerturbation(4, size, PerturbationOptions(neighbours_per_code=4))
        perturbation.queue.normal_()
        perturbation.filled = len(perturbation.queue)
        quantizer.perturbation = perturbation
        quantizer.set_codebook(torch.randn(size, 4))
    return quantizer


def features(seed: int = 1) -> torch.Tensor:
    return torch.randn(4, 96, 16, generator=torch.Generator().manual_seed(seed))


def trained(name: str, steps: int = 3):
    """After a few steps, so that what training changes is tested too."""
    quantizer = build(name).train()
    optimizer = torch.optim.SGD([p for p in quantizer.parameters() if p.requires_grad], lr=0.05)
    for step in range(steps):
        output = quantizer(features(10 + step))
        ((output.features - features(10 + step)).square().mean() + output.loss).backward()
        optimizer.step()
        optimizer.zero_grad()
    return quantizer.eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_training_gives_finite_gradients_to_input_and_parameters(name):
    quantizer = build(name).train()
    for step in range(2):  # the first step of some is special (k-means)
        x = features(step).requires_grad_()
        quantizer.zero_grad()
        output = quantizer(x)
        (output.features.square().mean() + output.loss).backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad.abs().sum(-1) > 0).float().mean() > 0.99
    silent = [key for key, p in quantizer.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent, f"without gradient: {silent}"
    assert all(torch.isfinite(p.grad).all() for p in quantizer.parameters() if p.grad is not None)
    assert output.features.shape == x.shape and output.indices.shape == x.shape[:2]
    assert output.loss.ndim == 0 and torch.isfinite(output.loss)
    assert 0 <= output.indices.min() and output.indices.max() < CONFIGS[name].codebook_size


@pytest.mark.parametrize("name", TOKENS)
def test_evaluation_is_decode_of_encode_without_noise_and_independent_of_the_batch(name):
    quantizer, x = trained(name), features()
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}
    with torch.no_grad():
        output = quantizer(x)
        assert output.indices.dtype == torch.int64
        assert torch.equal(output.indices, quantizer.encode(x))
        assert torch.equal(output.features, quantizer.decode(output.indices))
        assert torch.equal(quantizer(x).features, output.features)
        assert torch.equal(quantizer.encode(x[2:3, 40:58]), output.indices[2:3, 40:58])
    assert all(torch.equal(value, before[key]) for key, value in quantizer.state_dict().items())
    assert output.indices.unique().numel() > 1


@pytest.mark.parametrize("name", TOKENS)
def test_every_token_decodes_and_codes_come_back_to_themselves(name):
    quantizer = build(name).eval()
    if "restarts" in name:  # its codebook starts with the first batch
        quantizer = trained(name)
    size = CONFIGS[name].codebook_size
    tokens = torch.arange(size)[None]
    if name == "msrvq":  # a shared digit counts at the first token of its group only
        tokens = torch.stack([torch.arange(size), torch.arange(size) // 8 * 8], -1).reshape(1, -1)
    codes = quantizer.lookup(tokens)
    assert torch.isfinite(codes).all()
    assert codes.flatten(0, 1).unique(dim=0).shape[0] > 0.9 * size
    if CONFIGS[name].kind not in ("fsq", "fsp", "nested", "vp_tree", "rvq", "msrvq", "hypervq"):
        # the nearest code of a code is itself: every token is reachable
        assert torch.equal(quantizer.nearest(codes), tokens)
    for bad in (torch.tensor([[-1]]), torch.tensor([[size]])):
        with pytest.raises(ValueError, match="Tokens"):
            quantizer.decode(bad)


@pytest.mark.parametrize("name", TOKENS)
def test_bfloat16_and_saved_state(name):
    quantizer, x = trained(name), features().bfloat16()
    other = build_quantizer(CONFIGS[name], 16).eval()
    other.load_state_dict(quantizer.state_dict())
    with torch.no_grad():
        expected = quantizer.encode(x.float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = other(x)
    assert output.features.dtype == torch.bfloat16
    assert torch.equal(output.indices, expected)
    quantizer.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        learned = quantizer(x)
    assert learned.features.dtype == torch.bfloat16 and learned.loss.dtype == torch.float32


def test_none_has_no_tokens_and_says_so():
    quantizer, x = build("none").eval(), features()
    expected = quantizer.project_out(quantizer.project_in(x))
    assert torch.allclose(quantizer(x).features, expected, atol=1e-6)
    for call in (quantizer.encode, quantizer.decode):
        with pytest.raises(ValueError, match="no tokens"):
            call(x if call == quantizer.encode else torch.zeros(1, 1, dtype=torch.int64))
    assert CONFIGS["none"].token_bits == math.inf


def test_bit_rates_count_every_codebook_and_shared_codes_once():
    assert CONFIGS["rvq"].token_bits == CONFIGS["pvq"].token_bits == 3 + 4
    assert CONFIGS["msrvq"].token_bits == 3 / 2 + 4
    assert CONFIGS["lfq"].token_bits == 6
    model = FrameConfig(quantizer=CONFIGS["vq"], tokens_per_frame=2)
    assert model.bit_rate == model.token_rate * 6
    with pytest.raises(ValueError, match="strides.*divisors of tokens_per_frame"):
        FrameConfig(quantizer=CONFIGS["msrvq"], tokens_per_frame=1)


def test_config_mistakes_are_named():
    with pytest.raises(ValueError, match="2.dim"):
        quantizer_config(kind="lfq", levels=(), dim=5, size=64)
    with pytest.raises(ValueError, match="multiple of the number of codebooks"):
        quantizer_config(kind="pvq", levels=(8, 8), dim=5)
    with pytest.raises(ValueError, match="quantizer.decay"):
        quantizer_config(kind="vq", dim=4, size=64, decay=1.0)
    with pytest.raises(ValueError, match="Unknown key 'strides'|Unknown key 'quantizer.strides'"):
        quantizer_config(kind="simvq", levels=(), dim=4, size=64, strides=(1,))


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, PACKAGE, None)
    with pytest.raises(ImportError, match="pip install"):
        build_quantizer(CONFIGS["vq"], 16)


@pytest.mark.parametrize("radius", ["identity", "log", "sqrt", "tanh"])
def test_the_grit_surrogate_is_the_code_with_the_radial_gradient(radius):
    torch.manual_seed(2)
    z, e = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    output = radius_surrogate(z, e, radius)
    assert torch.allclose(output, e)
    weights = torch.randn(5, 3)
    (output * weights).sum().backward()
    length = (e - z).detach().norm(dim=-1, keepdim=True)
    u = (e - z).detach() / length
    slope = {"identity": 1.0, "log": 1 / (1 + length), "sqrt": 0.5 / (length + 1e-3).sqrt(),
             "tanh": 1 - torch.tanh(length) ** 2}[radius]
    radial = slope * (weights * u).sum(-1, keepdim=True) * u
    assert torch.allclose(e.grad, radial, atol=1e-5)
    assert torch.allclose(z.grad, weights - radial, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "low_rank", "mlp"])
def test_code_maps_start_as_the_identity_and_one_code_moves_all(kind):
    torch.manual_seed(3)
    codes, target = torch.randn(20, 4), torch.ones(4)
    mapping = CodeMap(4, kind)
    assert torch.allclose(mapping(codes), codes, atol=1e-6)
    optimizer = torch.optim.SGD([p for p in mapping.parameters() if p.requires_grad], lr=0.3)
    for _ in range(3):
        optimizer.zero_grad()
        (mapping(codes)[0] - target).square().sum().backward()
        optimizer.step()
    assert ((mapping(codes) - codes).norm(dim=-1) > 1e-4).all()


@pytest.mark.parametrize("name", ["rvq", "msrvq", "pvq", "lfq", "gritvq", "fvq", "hypervq"])
def test_a_codec_streams_and_stores_tokens_of_any_kind(name, tiny_config, speech, tmp_path):
    values = tiny_config.to_dict()
    values |= {"transformer": values["transformer"] | {"window": 8}}
    config = dataclasses.replace(ModelConfig.from_dict(values), quantizer=CONFIGS[name])
    assert ModelConfig.from_toml(config.to_toml()) == config
    torch.manual_seed(3)
    build(name)  # skips without the package
    codec, part = Codec(build_network(config), "tiny", "0" * 16), speech[:16000]
    tokens = codec.encode(part)
    assert tokens.max() < config.codebook_size and len(tokens.unique()) > 1
    encoder = StreamEncoder(codec)
    pieces = [encoder.push(part[start : start + 1111]) for start in range(0, 16000, 1111)] + [encoder.flush()]
    assert torch.equal(torch.cat(pieces, dim=1), tokens)
    decoder, whole = StreamDecoder(codec), codec.decode(tokens)
    samples = torch.cat([decoder.push(tokens[:, :34]), decoder.push(tokens[:, 34:])], dim=1)
    assert torch.equal(samples[:, : whole.shape[1]], whole)
    header = CodeHeader(model="tiny", weights_hash="0" * 16, codebook_size=config.codebook_size, levels=codec.levels,
                    sample_rate=16000, original_sample_rate=16000, num_samples=16000, num_channels=1,
                    num_tokens=tokens.shape[1])  # fmt: skip
    assert np.array_equal(loads(dumps(header, tokens.numpy()))[1], tokens.numpy())


SHARED = ("vq", "rotation", "simvq", "rvq", "pvq", "msrvq", "gritvq", "nsvq", "transvq", "fvq", "sqvae", "gmvq",
          "hypervq", "vaevq", "scq")  # fmt: skip
"""Kinds whose training step is that of the whole batch, however many processes share it. Not the others: replaced
codes (directional, restarts) are drawn by each process, entropies (lfq, bsq) and transport (vqwae) are of its part."""


def one_step(name: str, rank: int, processes: int) -> dict[str, torch.Tensor]:
    """State after, and gradients of, a step on this process's part of a batch of 4."""
    quantizer = build(name).train()
    torch.manual_seed(5)
    part = features().chunk(processes)[rank]
    output = quantizer(part)
    (output.features.square().mean() + output.loss).backward()
    gradients = {f"{key}.grad": p.grad for key, p in quantizer.named_parameters() if p.grad is not None}
    if processes > 1:
        for gradient in gradients.values():
            torch.distributed.all_reduce(gradient)
            gradient /= processes
    return {key: value.clone() for key, value in (quantizer.state_dict() | gradients).items()}


def work(rank: int, folder: str, kinds: tuple[str, ...]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    states = {name: one_step(name, rank, 2) for name in kinds}
    torch.save(states, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_train_as_one(tmp_path):
    pytest.importorskip(PACKAGE)
    torch.multiprocessing.spawn(work, (str(tmp_path), SHARED), nprocs=2)
    for name in SHARED:
        alone = one_step(name, 0, 1)
        for rank in range(2):
            together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)[name]
            for key, value in alone.items():
                assert torch.allclose(together[key].float(), value.float(), atol=2e-5), (name, key, rank)

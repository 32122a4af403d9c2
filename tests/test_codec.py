"""The codec: any way of cutting the audio gives the same tokens; bad input is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sqcodec
import sqcodec.nn.coder
from sqcodec.audio import resample
from sqcodec.codec import Codec
from sqcodec.config import ModelConfig
from sqcodec.nn import build_network


@pytest.fixture
def codec(tiny_config: ModelConfig) -> Codec:
    torch.manual_seed(3)
    return Codec(build_network(tiny_config), "tiny", "0" * 64)


def test_blocks_of_any_size_equal_the_whole(codec: Codec, speech: np.ndarray, monkeypatch) -> None:
    samples = np.stack([speech[:90000], speech[90000:180000]])
    whole = codec.encode(samples)
    decoded = codec.decode(whole, 90000)
    monkeypatch.setattr(sqcodec.nn.coder, "CHUNK_SECONDS", 0.5)
    random = np.random.default_rng(0)
    cuts = np.sort(random.choice(90000, size=25, replace=False))
    blocks = np.split(samples, cuts, axis=1)
    chunked = np.concatenate(list(codec.encode_blocks(blocks)), axis=1)
    # Round-off differs with the shape of a matrix product; a token may flip only on a decision boundary.
    assert (torch.from_numpy(chunked) != whole).float().mean() < 1e-3
    assert torch.equal(torch.from_numpy(chunked), codec.encode(samples))
    torch.testing.assert_close(codec.decode(whole, 90000), decoded, rtol=0, atol=1e-5)


def test_a_batch_equals_its_items(codec: Codec, speech: np.ndarray) -> None:
    samples = np.stack([speech[i * 20000 : (i + 1) * 20000] for i in range(3)])
    tokens = codec.encode(samples)
    for row, item in zip(tokens, samples, strict=True):
        assert (codec.encode(item)[0] != row).float().mean() < 1e-3


@pytest.mark.parametrize("length", [1, 191, 192, 4000, 16000 * 24 - 480, 16000 * 24, 16000 * 24 + 1])
def test_lengths_come_back(codec: Codec, length: int) -> None:
    samples = np.random.default_rng(0).standard_normal(length).astype(np.float32) * 0.1
    tokens = codec.encode(samples)
    assert tokens.dtype == torch.int64 and tokens.shape == (1, codec.token_count(length))
    assert codec.decode(tokens, length).shape == (1, length)
    assert codec.decode(tokens).shape[1] >= length


def test_numpy_torch_and_int16_are_the_same(codec: Codec, speech: np.ndarray) -> None:
    integers = np.round(speech[:20000] * 32768).astype(np.int16)
    floats = integers.astype(np.float32) / 32768
    expected = codec.encode(floats)
    assert torch.equal(codec.encode(torch.from_numpy(floats)), expected)
    assert torch.equal(codec.encode(integers), expected)
    assert torch.equal(codec.decode(expected.numpy()), codec.decode(expected))


def test_other_rates_are_resampled(codec: Codec, speech: np.ndarray) -> None:
    high = resample(speech[None, :32000], 16000, 48000)
    back = resample(high, 48000, 16000)
    assert torch.equal(codec.encode(high, 48000), codec.encode(back))
    assert codec.encode(high[:, :1], 48000).shape == (1, codec.token_count(1))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, np.float32), "at least one"),
        (np.zeros((1, 2, 3), np.float32), r"\[1, 2, 3\]"),
        (np.array([0.0, np.nan], np.float32), "not finite"),
        (np.array([0.0, np.inf], np.float32), "not finite"),
        (np.zeros(10, np.int32), "int32"),
    ],
)
def test_bad_samples(codec: Codec, samples: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec.encode(samples)


def test_bad_tokens(codec: Codec) -> None:
    for tokens in ([[7**6]], [[-1]]):
        with pytest.raises(ValueError, match="117648"):
            codec.decode(np.array(tokens * 1).repeat(8, axis=1))
    with pytest.raises(ValueError, match="fewer than 5000"):
        codec.decode(np.zeros((1, 10), np.int64), 5000)
    with pytest.raises(ValueError, match="at least one"):
        codec.decode(np.zeros((1, 0), np.int64))


def test_save_and_load(codec: Codec, speech: np.ndarray, tmp_path) -> None:
    codec.save_pretrained(tmp_path / "model")
    loaded = sqcodec.load(tmp_path / "model")
    assert loaded.weights_hash == codec.weights_hash and loaded.name == "tiny"
    assert torch.equal(loaded.encode(speech[:30000]), codec.encode(speech[:30000]))


def test_unknown_model_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match="Unknown model '2kbps'. Choose one of: "):
        sqcodec.load("2kbps")
    with pytest.raises(ValueError, match="sqcodec import hub:l3ac-1kbps"):
        sqcodec.load("l3ac-1kbps")

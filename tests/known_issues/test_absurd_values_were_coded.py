"""Sample rates, samples, tokens, lengths and stream states that cannot be: a ValueError that says what is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from sqcodec.codec import Codec
from sqcodec.config import ModelConfig
from sqcodec.nn import build_network
from sqcodec.streaming import StreamDecoder, StreamEncoder


@pytest.fixture(scope="module")
def codec(tiny_config: ModelConfig) -> Codec:
    torch.manual_seed(0)
    return Codec(build_network(tiny_config), "tiny", "ab" * 32)


NOISE = np.random.default_rng(0).uniform(-0.1, 0.1, 4000).astype(np.float32)


@pytest.mark.parametrize("rate", [0.001, 1.5, 0, -16000, 999, 768_001, 2**40, 2**31 - 1, float("nan"), True, "16000"])
def test_sample_rates(codec: Codec, rate: object) -> None:
    with pytest.raises(ValueError, match="whole number from 1000 to 768000"):
        codec.encode(NOISE, rate)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="whole number from 1000 to 768000"):
        codec.encode_batch([NOISE], rate)  # type: ignore[arg-type]


def test_whole_rates_of_any_type(codec: Codec) -> None:
    expected = codec.encode(NOISE, 24000)
    for rate in (24000.0, np.int32(24000), np.float64(24000)):
        assert torch.equal(codec.encode(NOISE, rate), expected)  # type: ignore[arg-type]
    for rate in (1000, 768_000):
        assert codec.encode(NOISE, rate).shape[1]


def test_samples_that_are_no_audio(codec: Codec) -> None:
    assert codec.encode(NOISE * 1e4).shape[1]
    loud = NOISE * 1e12
    ways = (
        codec.encode, StreamEncoder(codec).push, lambda x: codec.encode_batch([x]),
        lambda x: list(codec.encode_blocks([x[None]])),
    )  # fmt: skip
    for work in ways:
        with pytest.raises(ValueError, match="full scale is 1"):
            work(loud)
    with pytest.raises(ValueError, match="not finite"):
        list(codec.encode_blocks([np.full((1, 5), np.nan, np.float32)]))


@pytest.mark.parametrize("tokens", [[1.0, 2.0], [True, False], np.array([1, 2], np.complex64), ["1", "2"]])
def test_tokens_are_integers(codec: Codec, tokens: object) -> None:
    for work in (codec.decode, StreamDecoder(codec).push, lambda x: codec.decode_batch([x])):
        with pytest.raises(ValueError, match="integers are needed"):
            work(tokens)  # type: ignore[arg-type]
    assert codec.decode(np.array([5] * 8, np.uint16)).shape == codec.decode([5] * 8).shape  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [-3, 2.5, True, "7", None])
def test_lengths_are_whole_numbers(codec: Codec, length: object) -> None:
    tokens = codec.encode(NOISE)[0]
    with pytest.raises(ValueError, match="0 or more"):
        codec.decode_batch([tokens], [length])  # type: ignore[list-item]
    if length is not None:
        with pytest.raises(ValueError, match="0 or more"):
            codec.decode(tokens, length)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="0 or more"):
            list(codec.decode_blocks(iter([tokens[None].numpy()]), length))  # type: ignore[arg-type]
    assert codec.decode(tokens, 0).shape == (1, 0) and codec.decode_batch([tokens], [0])[0].shape == (0,)


FORGED = {
    "total of 2^60": lambda s: s["numbers"].__setitem__(1, 2**60),
    "position of -5": lambda s: s["numbers"].__setitem__(0, -5),
    "position of 2^60": lambda s: s["numbers"].__setitem__(0, 2**60),
    "position one off": lambda s: s["numbers"].__setitem__(0, s["numbers"][0] + 1),
    "closed twice": lambda s: s["numbers"].__setitem__(2, 2),
    "NaN in a layer": lambda s: s["layer.0"].view(-1).__setitem__(0, float("nan")),
    "a layer in float64": lambda s: s.__setitem__("layer.0", s["layer.0"].double()),
    "numbers as floats": lambda s: s.__setitem__("numbers", s["numbers"].double()),
    "four numbers": lambda s: s.__setitem__("numbers", torch.zeros(4, dtype=torch.int64)),
    "a full frame pending": lambda s: s.__setitem__("pending", s["pending"].new_zeros(1, 192)),
    "pending of two channels": lambda s: s.__setitem__("pending", s["pending"].new_zeros(2, 0)),
    "pending without channels": lambda s: s.__setitem__("pending", s["pending"].new_zeros(0)),
    "an unknown tensor": lambda s: s.__setitem__("more", torch.zeros(1)),
    "a layer missing": lambda s: s.pop("layer.1"),
}


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("how", FORGED)
def test_forged_stream_states(codec: Codec, kind: str, how: str, tmp_path: Path) -> None:
    stream: StreamEncoder | StreamDecoder = StreamEncoder(codec) if kind == "encoder" else StreamDecoder(codec)
    stream.push(NOISE[:700] if kind == "encoder" else codec.encode(NOISE)[0][:7])  # frames, and a part of one
    state = stream.state_dict()
    FORGED[how](state)
    with pytest.raises(ValueError, match="no state of a"):
        stream.load_state_dict(state)
    about = {"kind": kind, "model": "tiny", "weights_hash": codec.weights_hash}
    safetensors.torch.save_file(state, tmp_path / "state", metadata=about)
    with pytest.raises(ValueError, match="no state of a"):
        stream.load_state(tmp_path / "state")


def test_pending_tokens_outside_the_codebook(codec: Codec) -> None:
    decoder = StreamDecoder(codec)
    decoder.push([1])
    for token in (-1, codec.codebook_size):
        state = decoder.state_dict()
        state["pending"][0, 0] = token
        with pytest.raises(ValueError, match="no state of a"):
            decoder.load_state_dict(state)


def test_states_at_every_point_are_taken(codec: Codec) -> None:
    """Those that streams really have, the flushed one too."""
    encoder, decoder = StreamEncoder(codec), StreamDecoder(codec)
    for length in (0, 1, 191, 1, 400):
        tokens = encoder.push(NOISE[:length])
        decoder.push(tokens[:, :1])
        StreamEncoder(codec).load_state_dict(encoder.state_dict())
        StreamDecoder(codec).load_state_dict(decoder.state_dict())
    encoder.flush()
    again = StreamEncoder(codec)
    again.load_state_dict(encoder.state_dict())
    assert again.samples_read == 593

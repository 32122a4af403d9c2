"""Streaming: any way of cutting the input gives bit for bit what the whole gives, with the weights that ship."""

from __future__ import annotations

import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import sqcodec
from sqcodec.codec import Codec
from sqcodec.config import ModelConfig
from sqcodec.nn import build_network
from sqcodec.nn.incremental import DecoderSteps, EncoderSteps
from sqcodec.nn.inference import InferenceOptions, can_pack
from sqcodec.streaming import StreamDecoder, StreamEncoder

SHIPPED = ("speech-3k", "speech-1k")


@pytest.fixture(scope="module", params=SHIPPED)
def shipped(request) -> Codec:
    return sqcodec.load(request.param)


@pytest.fixture(scope="module")
def tokens(shipped: Codec, speech: np.ndarray) -> torch.Tensor:
    return shipped.encode(speech[: 16000 * 5])


@pytest.fixture
def tiny(tiny_config: ModelConfig) -> Codec:
    """Of window 8: below that PyTorch multiplies the tiny matrices of the attention in another order."""
    torch.manual_seed(3)
    values = tiny_config.to_dict()
    config = ModelConfig.from_dict({**values, "transformer": {**values["transformer"], "window": 8}})
    return Codec(build_network(config), "tiny", "0" * 64)


def cut(total: int, longest: int, seed: int) -> list[slice]:
    """Random pieces of 0 to ``longest``, all orders of magnitude alike."""
    random, slices, start = np.random.default_rng(seed), [], 0
    while start < total:
        size = min(int(longest ** random.random()) - (random.random() < 0.1), total - start)
        slices.append(slice(start, start + size))
        start += size
    return slices


@pytest.mark.parametrize("seed", range(3))
def test_any_chunking_is_the_whole(shipped: Codec, speech: np.ndarray, tokens: torch.Tensor, seed: int) -> None:
    """Pieces of 1 sample to 3 s, and of 0 to hundreds of tokens."""
    length = 16000 * 5
    encoder, decoder = StreamEncoder(shipped), StreamDecoder(shipped)
    pieces = [encoder.push(speech[part]) for part in cut(length, 48000, seed)] + [encoder.flush()]
    assert torch.equal(torch.cat(pieces, dim=1), tokens)
    output = torch.cat([decoder.push(tokens[:, part]) for part in cut(tokens.shape[1], 500, seed)], dim=1)
    assert torch.equal(output[:, :length], shipped.decode(tokens, length))
    waves = list(shipped.decode_blocks(tokens.numpy(), length))
    assert np.array_equal(np.concatenate(waves, axis=1), output[:, :length])
    assert encoder.samples_read == length and decoder.samples_written == output.shape[1]


def test_one_sample_at_a_time(shipped: Codec, speech: np.ndarray, tokens: torch.Tensor) -> None:
    """A token is known as soon as its frame is complete, not later."""
    encoder, per_frame = StreamEncoder(shipped), shipped.config.tokens_per_frame
    length = shipped.hop_length * per_frame
    for index in range(length * 8):
        found = encoder.push(speech[index : index + 1])
        assert found.shape[1] == (per_frame if index % length == length - 1 else 0)
        if found.shape[1]:
            frame = index // length
            assert torch.equal(found, tokens[:, per_frame * frame : per_frame * (frame + 1)])


def test_steps_equal_the_network(shipped: Codec, speech: np.ndarray) -> None:
    """The prepared weights against the plain network: same tokens, samples but for round-off."""
    network = shipped.network
    samples = network.pad(torch.from_numpy(speech[:60000])[None, None])
    expected = network.quantizer.encode(network.encode_features(samples))
    assert torch.equal(shipped.encode(speech[:60000]), expected)
    wave = network.crop(network.decode_features(network.quantizer.decode(expected))[:, 0], 60000)
    torch.testing.assert_close(shipped.decode(expected, 60000), wave, rtol=0, atol=2e-6)


@pytest.mark.parametrize("packed", [False, True] if can_pack(torch.float32) else [False])
@torch.inference_mode()
def test_exact_with_both_kinds_of_kernels(
    tiny: Codec, shipped: Codec, speech: np.ndarray, tokens: torch.Tensor, packed: bool
) -> None:
    for codec in (tiny, shipped):
        encoder = EncoderSteps(codec.network, InferenceOptions(packed=packed))
        decoder = DecoderSteps(codec.network, InferenceOptions(packed=packed))
        length, per_frame = encoder.frame_length, encoder.tokens_per_frame
        samples = torch.from_numpy(speech[: length * 130])[None]
        whole = encoder(samples, encoder.initial_state(1))
        wave = decoder(whole, decoder.initial_state(1))
        for seed in range(3):
            state, other = encoder.initial_state(1), decoder.initial_state(1)
            parts = cut(130, 60, seed)
            pieces = [encoder(samples[:, part.start * length : part.stop * length], state) for part in parts]
            assert torch.equal(torch.cat(pieces, dim=1), whole)
            waves = [decoder(whole[:, per_frame * part.start : per_frame * part.stop], other) for part in parts]
            assert torch.equal(torch.cat(waves, dim=1), wave)


def test_batch_is_its_items(shipped: Codec, speech: np.ndarray) -> None:
    lengths = [1, 191, 20000, 9000, 33333, 16000, 15999, 48 * 192]
    items = [speech[1000 * i : 1000 * i + length] for i, length in enumerate(lengths)]
    batch = shipped.encode_batch(items)
    waves = shipped.decode_batch(batch, lengths)
    for item, row, wave in zip(items, batch, waves, strict=True):
        assert torch.equal(shipped.encode(item)[0], row)
        assert torch.equal(shipped.decode(row, len(item))[0], wave)
    assert all(len(wave) >= length for wave, length in zip(shipped.decode_batch(batch), lengths, strict=True))
    channels = np.stack([speech[:30000], speech[30000:60000]])
    assert torch.equal(shipped.encode(channels), torch.stack(shipped.encode_batch(list(channels))))


def test_state_of_what_ships_is_saved_and_restored(
    shipped: Codec, speech: np.ndarray, tokens: torch.Tensor, tmp_path
) -> None:
    """A call of 5 s is handed from one pair of streams to the next, by files, at random moments."""
    length, output = 16000 * 5, []
    encoder, decoder = StreamEncoder(shipped), StreamDecoder(shipped)
    for part in cut(length, 30000, seed=7):
        output.append(decoder.push(encoder.push(speech[part])))
        encoder.save_state(tmp_path / "encoder")
        decoder.save_state(tmp_path / "decoder")
        encoder, decoder = StreamEncoder(shipped), StreamDecoder(shipped)
        encoder.load_state(tmp_path / "encoder")
        decoder.load_state(tmp_path / "decoder")
    output.append(decoder.push(encoder.flush()))
    assert torch.equal(torch.cat(output, dim=1)[:, :length], shipped.decode(tokens, length))


def test_state_is_saved_and_restored(tiny: Codec, speech: np.ndarray, tmp_path) -> None:
    """Two channels, stopped in the middle of a frame, and continued elsewhere."""
    samples = np.stack([speech[:20000], speech[20000:40000]])
    tokens = tiny.encode(samples)
    first, second = StreamEncoder(tiny, 2), StreamEncoder(tiny, 2)
    head = first.push(samples[:, :7777])
    first.save_state(tmp_path / "encoder")
    first.push(samples[:, 7777:])  # what was saved must not change
    second.load_state(tmp_path / "encoder")
    assert torch.equal(torch.cat([head, second.push(samples[:, 7777:]), second.flush()], dim=1), tokens)
    decoder = StreamDecoder(tiny, 2)
    start = decoder.push(tokens[:, :33])
    state = decoder.state_dict()
    rest = decoder.push(tokens[:, 33:])
    decoder.load_state_dict(state)
    assert torch.equal(decoder.push(tokens[:, 33:]), rest)
    assert torch.equal(torch.cat([start, rest], dim=1)[:, :20000], tiny.decode(tokens, 20000))
    decoder.reset()
    assert torch.equal(decoder.push(tokens[:, :33]), start)


def test_states_of_others_are_refused(tiny: Codec, shipped: Codec, tmp_path) -> None:
    StreamEncoder(tiny).save_state(tmp_path / "state")
    with pytest.raises(ValueError, match=f"is of model 'tiny' .*; this stream's model is '{shipped.name}'"):
        StreamEncoder(shipped).load_state(tmp_path / "state")
    with pytest.raises(ValueError, match="has the kind 'encoder'"):
        StreamDecoder(tiny).load_state(tmp_path / "state")
    with pytest.raises(ValueError, match="no state of a encoder of model 'tiny' with 2 channels"):
        StreamEncoder(tiny, 2).load_state_dict(StreamEncoder(tiny).state_dict())
    (tmp_path / "state").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no stream state"):
        StreamEncoder(tiny).load_state(tmp_path / "state")


def test_bad_pieces(tiny: Codec) -> None:
    encoder, decoder = StreamEncoder(tiny), StreamDecoder(tiny)
    with pytest.raises(ValueError, match=r"shape \[2, 5\]: \[1, any number\]"):
        encoder.push(np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match="not finite"):
        encoder.push(np.array([np.nan], np.float32))
    with pytest.raises(ValueError, match="int64: float"):
        encoder.push(np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="117648"):
        decoder.push(np.array([117649, 0]))
    encoder.flush()
    with pytest.raises(ValueError, match="was flushed"):
        encoder.push(np.zeros(3, np.float32))


def test_latency(shipped: Codec, speech: np.ndarray) -> None:
    """Lookahead and a frame: with each sample that goes in, all but the last ``latency`` are out, and no fewer."""
    lookahead, frame = {"speech-3k": (480, 192), "speech-1k": (1152, 256)}[shipped.name]
    assert shipped.latency == lookahead + frame == round({"speech-3k": 0.042, "speech-1k": 0.088}[shipped.name] * 16000)
    encoder, decoder = StreamEncoder(shipped), StreamDecoder(shipped)
    held, written = [], 0
    for index in range(lookahead + 3 * frame):
        written += decoder.push(encoder.push(speech[index : index + 1])).shape[1]
        held.append(index + 1 - written)
    assert max(held) == shipped.latency - 1  # the one that completes a frame is not held back any more
    assert min(held[lookahead:]) == lookahead


def test_bfloat16_is_close(shipped: Codec, speech: np.ndarray) -> None:
    fast = Codec(shipped.network, shipped.name, shipped.weights_hash, precision="bfloat16")
    tokens = shipped.encode(speech[:48000])
    assert (fast.encode(speech[:48000]) != tokens).float().mean() < 0.05
    exact, rough = shipped.decode(tokens), fast.decode(tokens)
    assert 10 * torch.log10(exact.square().sum() / (exact - rough).square().sum()) > 30


def test_models_that_cannot_stream(tiny_config: ModelConfig) -> None:
    from sqcodec.config import published_config

    codec = Codec(build_network(published_config("l3ac-3kbps")), "l3ac-3kbps")
    with pytest.raises(ValueError, match="cannot stream exactly"):
        StreamEncoder(codec)
    with pytest.raises(ValueError, match="Unknown precision"):
        Codec(codec.network, precision="int8")


def test_both_precisions_and_two_threads(shipped: Codec, speech: np.ndarray, tokens: torch.Tensor) -> None:
    """Pieces equal the whole in bfloat16 too; and the whole is the same with two threads as with one."""
    fast = Codec(shipped.network, shipped.name, shipped.weights_hash, precision="bfloat16")
    torch.set_num_threads(2)
    assert torch.equal(shipped.encode(speech[:80000]), tokens)
    expected = fast.encode(speech[:40000])
    encoder, decoder = StreamEncoder(fast), StreamDecoder(fast)
    pieces = [encoder.push(speech[part]) for part in cut(40000, 20000, seed=5)] + [encoder.flush()]
    assert torch.equal(torch.cat(pieces, dim=1), expected)
    output = torch.cat([decoder.push(piece) for piece in pieces], dim=1)
    assert torch.equal(output[:, :40000], fast.decode(expected, 40000))


def test_the_microphone_example(speech: np.ndarray, monkeypatch) -> None:
    """With a sound card made of arrays: what is played is what is decoded, later by the latency."""
    sounds: list[np.ndarray] = []

    class Card:
        def __init__(self, rate: int, block: int, channels: int, dtype: str, callback) -> None:
            self.block, self.callback = block, callback

        def __enter__(self) -> None:
            for start in range(0, 40 * self.block, self.block):
                played = np.zeros((self.block, 1), np.float32)
                self.callback(speech[start : start + self.block, None], played, self.block, None, None)
                sounds.append(played[:, 0])

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setitem(sys.modules, "sounddevice", types.SimpleNamespace(Stream=Card))
    monkeypatch.setattr("builtins.input", lambda: "")
    example = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "live_microphone.py"))
    example["main"]("speech-3k")
    codec, found = sqcodec.load("speech-3k"), np.concatenate(sounds)
    decoded = codec.decode(codec.encode(speech[: len(found)]))[0].numpy()
    assert not found[: codec.latency].any()
    assert np.array_equal(found[codec.latency :], decoded[: len(found) - codec.latency])

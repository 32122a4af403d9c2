"""Lost tokens: streamed, batched and whole they are concealed alike, to the last bit, and as documented."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import sqcodec
from sqcodec.codec import Codec
from sqcodec.nn import build_network
from sqcodec.nn.incremental import FADE_SECONDS, LOST
from sqcodec.streaming import StreamDecoder


def told(codec: Codec) -> Codec:
    """The same network as if it had been trained with lost tokens."""
    network = build_network(codec.config.changed(conceals=True))
    network.load_state_dict(codec.network.state_dict())
    return Codec(network, codec.name, codec.weights_hash)


@pytest.fixture(params=["speech-3k", "nested", "told"])
def codec(request, nested: Codec) -> Codec:
    return {"nested": nested, "told": told(nested)}.get(request.param) or sqcodec.load(request.param)


def losses(length: int, share: float, seed: int = 0) -> np.ndarray:
    """A mask with bursts of 1 to 9."""
    random = np.random.default_rng(seed)
    return np.repeat(random.random(length) < share, random.integers(1, 10, length))[:length]


def test_streams_and_batches_conceal_as_the_whole(codec: Codec, speech: np.ndarray) -> None:
    tokens = codec.encode(np.stack([speech[:60000], speech[60000:120000]]))
    masks = [losses(tokens.shape[1], 0.1), losses(tokens.shape[1], 0.1)]
    whole = codec.decode(tokens, lost=masks[0])
    assert torch.equal(codec.decode(tokens), codec.decode(tokens, lost=np.zeros(tokens.shape, bool)))
    assert not torch.equal(codec.decode(tokens), whole)
    decoder, parts, edges = StreamDecoder(codec, 2), [], [0, *(np.flatnonzero(np.diff(masks[0])) + 1), len(masks[0])]
    for start, end in zip(edges, edges[1:], strict=False):
        for first in range(start, end, 5):
            last = min(first + 5, end)
            parts.append(decoder.push(None, last - first) if masks[0][first] else decoder.push(tokens[:, first:last]))
    assert torch.equal(torch.cat(parts, dim=1)[:, : whole.shape[1]], whole)
    items = [tokens[0], tokens[1, :101], tokens[1]]
    masks = [masks[0], masks[1][:101], torch.from_numpy(masks[1])]
    for item, mask, wave in zip(items, masks, codec.decode_batch(items, lost=masks), strict=True):
        assert torch.equal(codec.decode(item, lost=mask)[0], wave)


def test_a_state_is_saved_in_the_middle_of_a_loss(codec: Codec, speech: np.ndarray, tmp_path) -> None:
    tokens = codec.encode(speech[:30000])
    one, other = StreamDecoder(codec), StreamDecoder(codec)
    one.push(tokens[:, :33])
    one.push(None, 6)
    one.save_state(tmp_path / "state")
    other.load_state(tmp_path / "state")
    assert torch.equal(one.push(None, 3), other.push(None, 3))
    assert torch.equal(one.push(tokens[:, 42:]), other.push(tokens[:, 42:]))


def test_what_stands_for_a_lost_token(codec: Codec, speech: np.ndarray) -> None:
    """Against the plain network: the code without bits, or the last code of the place, fading."""
    config, network = codec.config, codec.network
    tokens, per_frame = codec.encode(speech[:40000]), codec.config.tokens_per_frame
    mask = losses(tokens.shape[1], 0.1)
    nothing = torch.zeros(network.quantizer.project_out.in_features)
    if config.quantizer.kind == "nested":
        nothing[config.quantizer.dim :] = 1
    quantizer = network.quantizer.at(codec.default_bits)
    codes = quantizer.lookup(tokens).clone()
    for index in np.flatnonzero(mask):
        since = next((n for n in range(index // per_frame + 1) if not mask[index - n * per_frame]), None)
        codes[0, index] = nothing
        if since is not None and not config.conceals:
            weight = max(0.0, 1 - since * config.frame_length / config.sample_rate / FADE_SECONDS)
            heard = quantizer.lookup(tokens)[0, index - since * per_frame]
            codes[0, index] = nothing + weight * (heard - nothing)
    with torch.inference_mode():
        wave = network.decode_features(network.quantizer.features(codes, torch.float32))[0, 0]
    found = codec.decode(torch.where(torch.from_numpy(mask), -7, tokens), 40000, lost=mask)[0]
    torch.testing.assert_close(found, wave[codec.lookahead :][:40000], rtol=0, atol=1e-5)


def test_mistakes_are_named(nested: Codec) -> None:
    tokens = torch.zeros(2, 40, dtype=torch.int64)
    for mask in (np.zeros(39, bool), np.zeros(40), np.zeros((1, 40), bool), True, np.zeros((3, 40), bool)):
        with pytest.raises(ValueError, match=r"lost is \w+ of shape .*\[2, 40\], is needed"):
            nested.decode(tokens, lost=mask)
    with pytest.raises(ValueError, match="1 masks of lost tokens for 2 items"):
        nested.decode_batch([tokens[0], tokens[1]], lost=[np.zeros(40, bool)])
    for count in (None, -1, 2.5, True, 10**12):
        with pytest.raises(ValueError, match=r"push\(None, .*a whole number of lost tokens"):
            StreamDecoder(nested).push(None, count)
    with pytest.raises(ValueError, match="push lost ones apart"):
        StreamDecoder(nested).push(tokens[0], 3)
    for wrong in (tokens - 1, tokens + LOST, np.full((1, 40), 2**64 - 2**62, np.uint64)):
        with pytest.raises(ValueError, match="Tokens span"):
            nested.decode(wrong)
        with pytest.raises(ValueError, match="Tokens span"):
            list(nested.decode_blocks(np.asarray(wrong), 10))
        with pytest.raises(ValueError, match="Tokens span"):
            StreamDecoder(nested, len(wrong)).push(wrong)
    with pytest.raises(ValueError, match="conceals"):
        dataclasses.replace(sqcodec.load("speech-3k-v1").config, conceals=True)

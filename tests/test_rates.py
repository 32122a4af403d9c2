"""One model, many bit rates: each is exact in pieces, batches and streams, and cutting tokens is coding at fewer bits.

Letters: C channels, T samples, N tokens.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sqcodec.codec import Codec
from sqcodec.rates import BitRates, bit_groups
from sqcodec.streaming import StreamDecoder, StreamEncoder

LOWEST, DEFAULT, HIGHEST = 6, 12, 16


def cut_at_random(samples: np.ndarray, seed: int) -> list[np.ndarray]:
    """[C, T] in pieces of up to 1500 samples."""
    random, pieces, start = np.random.default_rng(seed), [], 0
    while start < samples.shape[1]:
        stop = start + int(random.integers(1, 1500))
        pieces.append(samples[:, start:stop])
        start = stop
    return pieces


def test_rates_by_bits_and_by_kbps(nested: Codec) -> None:
    rate = nested.token_rate / 1000
    assert nested.bits_range == (LOWEST, HIGHEST) and nested.default_bits == DEFAULT
    assert list(nested.rates) == list(range(LOWEST, HIGHEST + 1))
    assert nested.rates[9] == pytest.approx(9 * rate) and nested.bit_rate == pytest.approx(12000 * rate)
    pick = nested.config.pick_bits
    assert pick() == DEFAULT and pick(7) == 7
    assert pick(kbps=9 * rate) == 9 and pick(kbps=9.9 * rate) == 9 and pick(kbps=100) == HIGHEST
    assert all(pick(kbps=float(f"{value:.3f}")) == bits for bits, value in nested.rates.items())  # as it is printed
    assert "6 to 16 bits a token" in repr(nested)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"bits": 5}, "Tokens of 5 bits: allowed are 1 to 2.667 kbit/s, 6 to 16 bits a token"),
        ({"bits": 17}, "Tokens of 17 bits"),
        ({"bits": 7.5}, "Tokens of 7.5 bits"),
        ({"bits": True}, "Tokens of True bits"),
        ({"kbps": 0.9}, "A rate of 0.9 kbit/s: allowed are 1 to 2.667"),
        ({"kbps": float("nan")}, "A rate of nan kbit/s"),
        ({"kbps": -1}, "A rate of -1 kbit/s"),
        ({"bits": 8, "kbps": 2}, "bits is 8 and kbps is 2: give one of the two"),
    ],
)
def test_rates_that_are_not_there(nested: Codec, asked, message) -> None:
    samples, tokens = np.zeros(4000, np.float32), np.zeros(20, np.int64)
    for call in (
        lambda: nested.encode(samples, **asked),
        lambda: nested.decode(tokens, **asked),
        lambda: nested.encode_batch([samples], **asked),
        lambda: nested.decode_batch([tokens], **asked),
        lambda: StreamEncoder(nested, **asked),
        lambda: StreamDecoder(nested, **asked),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_model_with_one_rate_says_so(tiny: Codec) -> None:
    assert tiny.rates == {} and tiny.bits_range is None and tiny.default_bits is None
    with pytest.raises(ValueError, match="Model 'tiny' cannot be asked for 2 kbit/s: it has one rate, 2.807 kbit/s"):
        tiny.encode(np.zeros(4000, np.float32), kbps=2)
    with pytest.raises(ValueError, match="cannot be asked for 12 bits a token"):
        StreamDecoder(tiny, bits=12)
    encoder = StreamEncoder(tiny)
    assert encoder.bits is None and encoder.kbps == pytest.approx(2.807, abs=1e-3)
    with pytest.raises(ValueError, match="it has one rate"):
        encoder.bits = 12


@pytest.mark.parametrize("bits", [LOWEST, 9, DEFAULT, HIGHEST])
def test_every_rate_is_exact(nested: Codec, speech: np.ndarray, bits: int) -> None:
    samples = np.stack([speech[:20000], speech[30000:50000]])
    tokens = nested.encode(samples, bits=bits)
    assert torch.equal(tokens, nested.encode(samples, bits=HIGHEST) >> (HIGHEST - bits))
    assert torch.equal(tokens, nested.encode(samples, kbps=nested.rates[bits])) and int(tokens.max()) < 2**bits
    decoded = nested.decode(tokens, 20000, bits=bits)
    assert torch.equal(decoded, nested.decode(tokens, 20000, kbps=nested.rates[bits]))
    if bits == DEFAULT:
        assert torch.equal(tokens, nested.encode(samples)) and torch.equal(decoded, nested.decode(tokens, 20000))
    network = nested.network
    padded = network.pad(torch.from_numpy(samples)[:, None])
    assert torch.equal(network.quantizer.at(bits).encode(network.encode_features(padded)), tokens)
    reference = network.crop(network.decode_features(network.quantizer.at(bits).decode(tokens)), 20000)[:, 0]
    assert (reference - decoded).abs().max() < 1e-5  # another order of summation

    rows = nested.encode_batch([samples[0], samples[1, :7000]], bits=bits)
    assert torch.equal(rows[0], tokens[0])
    assert torch.equal(rows[1], nested.encode(samples[1, :7000], bits=bits)[0])
    decoded_rows = nested.decode_batch(rows, [20000, 7000], bits=bits)
    assert torch.equal(decoded_rows[0], decoded[0])
    assert torch.equal(decoded_rows[1], nested.decode(rows[1], 7000, bits=bits)[0])
    blocks = list(nested.encode_blocks(cut_at_random(samples, 1), bits=bits))
    assert np.array_equal(np.concatenate(blocks, axis=1), tokens)
    assert np.array_equal(np.concatenate(list(nested.decode_blocks(iter(blocks), 20000, bits=bits)), axis=1), decoded)

    encoder, decoder = StreamEncoder(nested, 2, bits=bits), StreamDecoder(nested, 2, bits=bits)
    pieces = [*map(encoder.push, cut_at_random(samples, 2)), encoder.flush()]
    assert torch.equal(torch.cat(pieces, 1), tokens)
    assert torch.equal(torch.cat([decoder.push(piece) for piece in pieces], 1)[:, :20000], decoded)


def test_the_rate_of_a_stream_changes_while_it_runs(nested: Codec, speech: np.ndarray, tmp_path) -> None:
    samples = speech[None, :30000]
    finest = nested.encode(samples, bits=HIGHEST)
    encoder, decoder = StreamEncoder(nested), StreamDecoder(nested)
    random, found, heard, used, count = np.random.default_rng(3), [], [], [], 0
    for index, block in enumerate([*cut_at_random(samples, 4), None]):
        encoder.bits = int(random.integers(LOWEST, HIGHEST + 1))
        tokens = encoder.flush() if block is None else encoder.push(block)
        expected = finest[:, count : count + tokens.shape[1]] >> (HIGHEST - encoder.bits)
        assert torch.equal(tokens, expected)
        count += tokens.shape[1]
        used += [encoder.bits] * tokens.shape[1]
        found.append(tokens)
        decoder.bits = encoder.bits
        heard.append(decoder.push(tokens))
        if index == 5:  # goes on in another process, at the rate of before
            encoder.save_state(tmp_path / "encoder")
            decoder.save_state(tmp_path / "decoder")
            now, encoder, decoder = encoder.bits, StreamEncoder(nested), StreamDecoder(nested)
            encoder.load_state(tmp_path / "encoder")
            decoder.load_state(tmp_path / "decoder")
            assert encoder.bits == decoder.bits == now
    assert count == finest.shape[1] and len(set(used)) > 5

    # The decoder of the network, told the bits of each token.
    quantizer = nested.network.quantizer
    tokens = torch.cat(found, 1)[0]
    parts = [quantizer.at(bits).decode(token[None, None]) for token, bits in zip(tokens, used, strict=True)]
    reference = nested.network.decode_features(torch.cat(parts, 1))[:, 0, nested.lookahead :]
    assert (reference - torch.cat(heard, 1)).abs().max() < 1e-5  # another order of summation


def test_bits_of_a_stream(nested: Codec) -> None:
    encoder, decoder = StreamEncoder(nested, kbps=1.5), StreamDecoder(nested, bits=9)
    assert encoder.bits == 9 and encoder.kbps == pytest.approx(1.5)
    encoder.kbps = 2.2
    assert encoder.bits == 13
    encoder.reset()
    assert encoder.bits == 13  # a new recording, the same call
    with pytest.raises(ValueError, match="Tokens of 40 bits"):
        encoder.bits = 40
    assert encoder.bits == 13
    with pytest.raises(ValueError, match="knows 0 to 511"):
        decoder.push(np.array([512, 0]))
    decoder.push(np.array([3]))  # half a frame
    decoder.bits = 9
    with pytest.raises(ValueError, match="change between frames of 2 tokens: 1 of a frame"):
        decoder.bits = 10
    state = decoder.state_dict()
    state["numbers"][3] = 99
    with pytest.raises(ValueError, match="no state of a decoder"):
        decoder.load_state_dict(state)
    state["numbers"][3], state["pending"] = 8, torch.tensor([[300]])
    with pytest.raises(ValueError, match="no state of a decoder"):
        decoder.load_state_dict(state)


def test_digits_of_a_nested_token() -> None:
    assert bit_groups(18, 6) == (64, 64, 64) and bit_groups(20, 6) == (4, 64, 64, 64) and bit_groups(4, 6) == (16,)
    assert str(BitRates(9, 24, 1000 / 6)) == "1.5 to 4 kbit/s, 9 to 24 bits a token"


def test_corpora_of_tokens_know_their_bits(nested: Codec, nested_home, tmp_path, monkeypatch) -> None:
    from sqcodec import audio
    from sqcodec.cli import main
    from sqcodec.tokens.dataset import TokenDataset
    from sqcodec.vocabulary.factors import join_digits, split_tokens
    from sqcodec.vocabulary.strings import SpeechVocabulary

    monkeypatch.setenv("SQCODEC_HOME", str(nested_home))
    clips = {name: np.random.default_rng(index).normal(0, 0.1, (1, 9000 + index)) for index, name in enumerate("ab")}
    (tmp_path / "clips").mkdir()
    for name, samples in clips.items():
        audio.save(tmp_path / "clips" / f"{name}.wav", samples.astype(np.float32), 16000)
    out = tmp_path / "tokens"
    command = ["tokens", str(tmp_path / "clips"), "--model", "nested", "--engine", "serial", "--format", "npz", "-q"]
    assert main([*command, "--out", str(out), "--kbps", "1.7"]) == 0
    dataset = TokenDataset(out)
    info = dataset.info
    assert (info.bits, info.codebook_size, info.levels, info.dtype) == (10, 1024, (4, 16, 16), np.uint16)
    card = (out / "README.md").read_text()
    assert "| bits of a token | 10 |" in card and "4 x 16 x 16" in card and "the last one the coarsest" in card
    for index in range(2):
        name = dataset[index].id
        samples = audio.load(tmp_path / "clips" / f"{name}.wav")[0]
        tokens = nested.encode(samples, bits=10)[0].numpy()
        assert np.array_equal(dataset.tokens(index), tokens)
        expected = nested.decode(tokens, samples.shape[1], bits=10)[0].numpy()
        assert np.array_equal(dataset.decode(index, nested), expected)
    # The digits are groups of bits: the last one is the token at 4 bits.
    digits = split_tokens(tokens, info.levels)
    assert np.array_equal(digits[:, 2], tokens >> 6) and np.array_equal(join_digits(digits, info.levels), tokens)
    vocabulary = SpeechVocabulary(info.codebook_size, info.levels, factorised=True)
    assert len(vocabulary.entries) == 36
    assert np.array_equal(vocabulary.from_text(vocabulary.to_text(tokens)), tokens)

    assert main([*command, "--out", str(out), "--bits", "11"]) == 1  # another rate in the same folder
    assert main([*command[:3], "tiny", *command[4:], "--out", str(tmp_path / "other"), "--bits", "9"]) == 1


def test_transformers_take_a_bandwidth(nested: Codec, tiny: Codec, speech: np.ndarray, tmp_path) -> None:
    pytest.importorskip("transformers")
    from sqcodec.hf import SQCodecModel

    SQCodecModel.from_codec(nested).save_pretrained(tmp_path)
    model = SQCodecModel.from_pretrained(tmp_path)
    assert model.config.target_bandwidths == pytest.approx([bits / 6 for bits in range(6, 17)])
    values = torch.from_numpy(np.stack([speech[:9000], speech[9000:18000]]))[:, None]
    for bandwidth, bits in ((None, 12), (1.5, 9), (2.6, 15)):
        encoded = model.encode(values, bandwidth=bandwidth)
        assert torch.equal(encoded.audio_codes[:, 0], nested.encode(values[:, 0], bits=bits))
        audio = model.decode(encoded.audio_codes, bandwidth=bandwidth).audio_values
        assert torch.equal(audio[:, 0], nested.decode(encoded.audio_codes[:, 0], bits=bits))
        both = model(values, bandwidth=bandwidth)
        assert torch.equal(both.audio_values[:, 0], audio[:, 0, :9000])
    with pytest.raises(ValueError, match="A rate of 0.5 kbit/s"):
        model.encode(values, bandwidth=0.5)
    plain = SQCodecModel.from_codec(tiny)
    assert plain.config.target_bandwidths == pytest.approx([2.807], abs=1e-3)
    with pytest.raises(ValueError, match="it has one rate"):
        plain.encode(values, bandwidth=2)


def test_onnx_takes_the_bits_of_a_token(nested: Codec, speech: np.ndarray, tmp_path) -> None:
    pytest.importorskip("onnxruntime")
    import json
    import runpy
    from pathlib import Path

    from sqcodec import audio
    from sqcodec.export.onnx import check_onnx, export_onnx

    export_onnx(nested, tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["bits"] == [LOWEST, DEFAULT, HIGHEST]
    equal, difference = check_onnx(nested, tmp_path, seconds=1.0)
    assert equal > 0.99 and difference < 1e-4
    example = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "onnx_file.py"))
    audio.save(tmp_path / "in.wav", speech[None, :16000], 16000)
    samples = audio.load(tmp_path / "in.wav")[0]
    for arguments, bits in (((), DEFAULT), (("8",), 8)):
        example["main"](str(tmp_path), str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), *arguments)
        expected = nested.decode(nested.encode(samples, bits=bits), 16000, bits=bits).numpy()
        found = audio.load(tmp_path / "out.wav")[0]
        # Tokens differ where a latent lies within round-off of a boundary.
        assert np.corrcoef(found[0], np.clip(expected[0], -1, 1))[0, 1] > 0.99

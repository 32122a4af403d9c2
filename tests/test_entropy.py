"""Entropy coding: the fast path equals the specification, coding is lossless, damage is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from entropy_helpers import random_predictor

from sqcodec.entropy import BlockReader, BlockWriter, Predictor, PredictorError
from sqcodec.entropy.predictor import Reference, Runner
from sqcodec.entropy.range_coder import RangeDecoder, RangeEncoder
from sqcodec.entropy.symbols import join, split, symbol_count

LEVELS = (7, 5, 3)
VECTORS = Path(__file__).parent / "vectors" / "compact"
BITS = (2,) * 9


def tokens_of(size: int, channels: int, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, size, (channels, count))


def coded(predictor: Predictor, tokens: np.ndarray, size: int, levels=None, block: int = 50) -> bytes:
    writer = BlockWriter(predictor, len(tokens), size, levels, block)
    for piece in np.array_split(tokens, 3, axis=1):
        writer.push(piece)
    return writer.flush()


def decoded(predictor: Predictor, data: bytes, tokens: np.ndarray, size: int, levels=None) -> np.ndarray:
    reader = BlockReader(data, *tokens.shape)
    return np.concatenate(list(reader.tokens(predictor, size, levels, piece=17)), axis=1)


def reference_decoded(predictor: Predictor, data: bytes, count: int, symbols: int) -> np.ndarray:
    """One channel and one block, by the specification alone."""
    reference, decoder, found = Reference(predictor, symbols), RangeDecoder(data), []
    for _ in range(count * symbols):
        sizes = reference.frequencies()
        ends = np.cumsum(sizes)
        symbol = int(np.searchsorted(ends, decoder.target(int(ends[-1])), side="right"))
        decoder.remove(int(ends[symbol]) - sizes[symbol], sizes[symbol])
        reference.push(symbol)
        found.append(symbol)
    return join(np.array(found).reshape(count, symbols), predictor.alphabet_sizes)


@pytest.mark.parametrize("seed", range(5))
def test_the_range_coder_gives_back_what_it_was_given(seed) -> None:
    rng = np.random.default_rng(seed)
    symbols = []
    for _ in range(3000):
        total = int(rng.choice([2, 100, 2**14 + 1, 2**24]))
        start = int(rng.choice([0, total - 1, int(rng.integers(total))]))
        symbols.append((start, int(rng.integers(1, total - start + 1)), total))
    encoder = RangeEncoder()
    for symbol in symbols:
        encoder.encode(*symbol)
    data = encoder.finish()
    decoder = RangeDecoder(data)
    for start, size, total in symbols:
        assert start <= decoder.target(total) < start + size
        decoder.remove(start, size)
    bits = sum(np.log2(total / size) for _, size, total in symbols)
    assert len(data) * 8 < bits * 1.01 + 32 and decoder.unread == 0


@pytest.mark.parametrize(("alphabets", "counts"), [(LEVELS, [3]), (BITS, [1, 4, 9])])
def test_the_fast_path_equals_the_specification(alphabets, counts) -> None:
    predictor = random_predictor(alphabets)
    for count in counts:
        size = int(np.prod(alphabets[:count]))
        symbols = split(tokens_of(size, 3, 40), alphabets, count)
        fast = Runner(predictor, count, 3)
        halves = [fast.frequencies(symbols[:, :13]), fast.frequencies(symbols[:, 13:])]
        whole = [np.concatenate(parts, axis=1).tolist() for parts in zip(*halves, strict=True)]
        steps = Runner(predictor, count, 3)
        for lane in range(3):
            reference = Reference(predictor, count)
            for index in range(40):
                for place in range(count):
                    assert reference.frequencies() == whole[place][lane][index]
                    reference.push(int(symbols[lane, index, place]))
        for index in range(40):
            seen, given = [], iter(symbols[:, index].ravel().tolist())

            def read(found, seen=seen, given=given):
                seen.append(found)
                return next(given)

            assert steps.decode(read) == symbols[:, index].tolist()
            assert seen == [whole[place][lane][index] for lane in range(3) for place in range(count)]


@pytest.mark.parametrize(
    ("alphabets", "size", "levels"), [(LEVELS, 105, LEVELS), (BITS, 2**9, None), (BITS, 2**4, None), (BITS, 2, None)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_coding_is_lossless_at_every_rate(alphabets, size, levels, channels) -> None:
    predictor = random_predictor(alphabets)
    tokens = tokens_of(size, channels, 170)
    data = coded(predictor, tokens, size, levels)
    assert np.array_equal(decoded(predictor, data, tokens, size, levels), tokens)
    assert data == coded(predictor, tokens, size, levels)


def test_the_specification_reads_what_the_fast_path_wrote() -> None:
    for alphabets, size, count, levels in ((LEVELS, 105, 3, LEVELS), (BITS, 2**5, 5, None)):
        predictor, tokens = random_predictor(alphabets), tokens_of(size, 1, 60)
        data = coded(predictor, tokens, size, levels, block=60)
        start = 8 + 2  # the predictor's hash, and two numbers below 128
        assert data[8] == 60 and data[9] == len(data) - start
        assert np.array_equal(reference_decoded(predictor, data[start:], 60, count), tokens[0])


def test_blocks_are_sent_as_soon_as_they_are_flushed() -> None:
    predictor, tokens = random_predictor(LEVELS), tokens_of(105, 2, 30)
    writer, sent = BlockWriter(predictor, 2, 105, LEVELS), b""
    for first in range(0, 30, 10):
        writer.push(tokens[:, first : first + 10])
        sent += writer.flush()
        part = tokens[:, : first + 10]
        assert np.array_equal(decoded(predictor, sent, part, 105, LEVELS), part)


def test_what_is_certain_costs_no_more_than_its_share_of_a_byte() -> None:
    predictor = random_predictor(BITS)
    predictor.output_bias[:] = np.array([20000, -20000])
    tokens = np.zeros((1, 3000), np.int64)
    data = coded(predictor, tokens, 2**9, block=3000)
    assert len(data) == 8 + 3 + -(-3000 // 32)
    assert np.array_equal(decoded(predictor, data, tokens, 2**9), tokens)
    with pytest.raises(ValueError, match="cannot hold"):
        BlockReader(data[:8] + bytes([0xB8, 0x17, 10]) + bytes(10), 1, 3000)


def test_damaged_payloads_end_in_one_error_or_in_other_tokens() -> None:
    predictor, tokens = random_predictor(LEVELS), tokens_of(105, 2, 60)
    data, rng = coded(predictor, tokens, 105, LEVELS), np.random.default_rng(1)
    noticed = 0
    for trial in range(400):
        bad = bytearray(data)
        if trial % 4 == 0:
            del bad[int(rng.integers(len(bad))) :]
        for _ in range(int(rng.integers(1, 4))):
            if bad:
                bad[int(rng.integers(len(bad)))] = int(rng.integers(256))
        try:
            found = decoded(predictor, bytes(bad), tokens, 105, LEVELS)
        except ValueError as error:
            noticed += 1
            assert "\n" not in str(error)
        else:
            assert found.shape == tokens.shape and found.min() >= 0 and found.max() < 105
    assert noticed > 100


def test_a_predictor_is_the_same_after_saving(tmp_path) -> None:
    predictor = random_predictor(LEVELS)
    predictor.save(tmp_path / "entropy.safetensors")
    again = Predictor.load(tmp_path / "entropy.safetensors")
    assert again.hash == predictor.hash != random_predictor(LEVELS, seed=1).hash
    assert all(np.array_equal(value, again.tensors()[name]) for name, value in predictor.tensors().items())


def test_predictors_that_would_not_be_exact_are_refused(tmp_path) -> None:
    good = random_predictor(LEVELS).tensors()
    for name, value, match in (
        ("recurrent", np.full_like(good["recurrent"], 32767), "2\\^24"),
        ("odds", np.zeros_like(good["odds"]), "table"),
        ("tanh", good["tanh"][:-1], "tanh"),
        ("alphabets", good["alphabets"] * 100, "alphabets"),
        ("output", good["output"].astype(np.float32), "float32"),
    ):
        with pytest.raises(PredictorError, match=match):
            Predictor(**(good | {name: value}))
    path = tmp_path / "entropy.safetensors"
    random_predictor(LEVELS).save(path)
    data = path.read_bytes()
    for bad in (b"", data[:100], data[:-1], b"x" * 50):
        path.write_bytes(bad)
        with pytest.raises(PredictorError, match="entropy.safetensors"):
            Predictor.load(path)


def test_which_tokens_a_predictor_is_for() -> None:
    assert symbol_count(LEVELS, 105, LEVELS) == 3
    assert symbol_count(LEVELS, 105, (3, 5, 7)) is None
    assert symbol_count(BITS, 2**6, None) == 6
    assert symbol_count(BITS, 2**10, None) is None and symbol_count(BITS, 100, None) is None
    with pytest.raises(ValueError, match="117649"):
        BlockWriter(random_predictor(BITS), 1, 7**6, (7,) * 6)
    assert join(split(np.array([0b1011]), BITS, 4), BITS) == [0b1011]
    assert split(np.array([0b1011]), BITS, 4).tolist() == [[1, 0, 1, 1]]
    assert split(np.array([1 + 7 * 2 + 35 * 2]), LEVELS, 3).tolist() == [[1, 2, 2]]


@pytest.mark.parametrize("name", ["levels", "bits"])
def test_payloads_of_the_vectors_stay_as_they_are(name) -> None:
    vector = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    predictor, tokens = Predictor.load(VECTORS / f"{name}.safetensors"), np.array(vector["tokens"])
    assert predictor.hash == vector["predictor_hash"]
    levels = tuple(vector["levels"]) if vector["levels"] else None
    data = bytes.fromhex(vector["payload"])
    assert coded(predictor, tokens, vector["codebook_size"], levels) == data
    assert np.array_equal(decoded(predictor, data, tokens, vector["codebook_size"], levels), tokens)

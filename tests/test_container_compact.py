"""Code files of payload kind 1: lossless, never larger, and damage ends in one error."""

from __future__ import annotations

import os
import resource
import time
import zlib

import numpy as np
import pytest
from entropy_helpers import random_predictor

from sqcodec import container
from sqcodec.container import CodeHeader, ContainerError
from sqcodec.entropy import BlockWriter

LEVELS = (7, 5, 3)


def header_of(tokens: np.ndarray, **changes) -> CodeHeader:
    fields = {"codebook_size": 105, "levels": LEVELS} | changes
    channels, count = tokens.shape
    return CodeHeader("m", "0123456789abcdef", 16000, 16000, count * 96, channels, count, **fields)


@pytest.fixture(scope="module")
def predictor():
    return random_predictor(LEVELS)


@pytest.fixture(scope="module")
def likely(predictor) -> np.ndarray:
    """Tokens [2, 300] that the predictor expects."""
    from sqcodec.entropy.predictor import Runner
    from sqcodec.entropy.symbols import join

    runner = Runner(predictor, 3, 2)
    rows = [runner.decode(lambda found: found.index(max(found))) for _ in range(300)]
    return join(np.array(rows).swapaxes(0, 1), LEVELS)


@pytest.fixture(scope="module")
def data(predictor, likely) -> bytes:
    return container.dumps(header_of(likely), likely, predictor)


def test_what_the_predictor_expects_takes_less(predictor, likely, data) -> None:
    fixed = container.dumps(header_of(likely), likely)
    assert len(data) < 0.7 * len(fixed) and data[5] == 1
    header, tokens = container.loads(data, lambda header: predictor)
    assert header.payload_kind == container.PAYLOAD_ENTROPY and np.array_equal(tokens, likely)
    assert container.loads_header(data) == header
    pieces = list(container.open_tokens(data, find_predictor=lambda header: predictor)[1])
    assert np.array_equal(np.concatenate(pieces, axis=1), likely)


def test_a_compact_file_is_never_the_larger_one(predictor) -> None:
    for count in (1, 30, 400):
        tokens = np.random.default_rng(count).integers(0, 105, (1, count))
        fixed = container.dumps(header_of(tokens), tokens)
        assert len(container.dumps(header_of(tokens), tokens, predictor)) <= len(fixed)


def test_the_predictor_has_to_be_the_right_one(data) -> None:
    with pytest.raises(ContainerError, match="predictor .* of the model 'm'"):
        container.loads(data)
    with pytest.raises(ContainerError, match="the one here is"):
        container.loads(data, lambda header: random_predictor(LEVELS, seed=1))


def test_a_compact_file_can_be_cut() -> None:
    bits = random_predictor((2,) * 9)
    tokens = np.zeros((1, 200), np.int64)
    bits.output_bias[:] = np.array([20000, -20000])
    nested = {"levels": None, "bits_range": (3, 9), "hop_length": 96}
    fine = container.dumps(header_of(tokens, codebook_size=512, **nested), tokens, bits)
    coarse = container.dumps(header_of(tokens, codebook_size=16, **nested), tokens, bits)
    assert fine[5] == coarse[5] == 1
    assert container.cut(fine, bits=4, find_predictor=lambda header: bits) == coarse


def test_damage_ends_in_one_error_in_bounded_time_and_memory(predictor, likely, data) -> None:
    """SQCODEC_FUZZ_FILES=10000 in the environment takes more of them, minutes."""
    rng, count = np.random.default_rng(0), int(os.environ.get("SQCODEC_FUZZ_FILES", "400"))
    bits, finest = random_predictor((2,) * 9), likely[:, :60] * 4 % 2**9
    nested = {"codebook_size": 2**9, "levels": None, "bits_range": (3, 9), "hop_length": 96}
    header = header_of(finest, payload_kind=container.PAYLOAD_ENTROPY, **nested)
    writer = BlockWriter(bits, len(finest), 2**9, block_tokens=25)
    writer.push(finest)
    files = [(data, predictor, likely.shape), (container.join(header, writer.flush()), bits, finest.shape)]
    memory, wrong, longest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0, 0.0
    for trial in range(count):
        good, used, shape = files[trial // 4 % 2]
        bad, start = bytearray(good), int.from_bytes(good[6:8], "little")
        if trial % 4 == 0:
            del bad[int(rng.integers(len(bad))) :]
        else:
            for _ in range(int(rng.integers(1, 4))):
                bad[int(rng.integers(start if trial % 4 < 3 else 0, len(bad)))] = int(rng.integers(256))
        if trial % 2 and len(bad) > start + 4:  # a forger mends the checksums
            bad[start - 4 : start] = zlib.crc32(bytes(bad[: start - 4])).to_bytes(4, "little")
            bad[-4:] = zlib.crc32(bytes(bad[:-4])).to_bytes(4, "little")
        began = time.process_time()
        try:
            header, tokens = container.loads(bytes(bad), lambda header, used=used: used)
        except ContainerError as error:
            wrong += 1
            assert "\n" not in str(error)
        else:
            assert tokens.shape == (header.num_channels, header.num_tokens) and tokens.size <= 32 * len(bad)
            assert tokens.min() >= 0 and tokens.max() < header.codebook_size
            assert bytes(bad) == good or trial % 2
        longest = max(longest, time.process_time() - began)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    print(f"{count} files, {wrong} refused, at most {longest:.3f} s for one, {grown} KiB more memory")
    assert wrong > count // 2 and longest < 2 and grown < 64 * 1024


def test_a_small_file_cannot_ask_for_much(predictor) -> None:
    tokens = np.zeros((1, 100), np.int64)
    many = header_of(np.broadcast_to(tokens[:, :1], (1, 2**40)), payload_kind=container.PAYLOAD_ENTROPY)
    for block in (bytes([1, 1, 0]), bytes([0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 100]) + bytes(100)):
        with pytest.raises(ContainerError, match="does not hold"):
            container.join(many, bytes.fromhex(predictor.hash[:16]) + block)

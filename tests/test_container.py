"""The code file: round trips, the size of the payload, and thousands of damaged files."""

from __future__ import annotations

import math
import random
import re
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqcodec import container
from sqcodec.container import CodeHeader, ContainerError

CODEBOOKS = [2, 3, 5, 7, 256, 1000, 7**6, 2**31 + 11, 2**32 + 1, 2**62 + 1, 2**63 - 1, 2**63]


def random_tokens(shape: tuple[int, ...], codebook_size: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, codebook_size, shape, dtype=np.uint64).astype(np.int64)


def make_header(tokens: np.ndarray, codebook_size: int, **changes) -> CodeHeader:
    header = CodeHeader(
        model="speech-3k",
        weights_hash="0123456789abcdef" * 4,
        sample_rate=16000,
        original_sample_rate=44100,
        num_samples=tokens.shape[1] * 250,
        num_channels=tokens.shape[0],
        num_tokens=tokens.shape[1],
        codebook_size=codebook_size,
    )
    return replace(header, **changes)


@pytest.mark.parametrize("codebook_size", CODEBOOKS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 2047), (3, 2049)])
def test_round_trip(codebook_size, shape):
    tokens = random_tokens(shape, codebook_size)
    tokens[0, 0], tokens[-1, -1] = 0, codebook_size - 1
    header = make_header(tokens, codebook_size)
    again, tokens_again = container.loads(container.dumps(header, tokens))
    assert again == replace(header, weights_hash="0123456789abcdef")
    assert tokens_again.dtype == np.int64 and np.array_equal(tokens_again, tokens)
    assert again.matches(header.weights_hash) and not again.matches("f" * 64)


@pytest.mark.parametrize("bits", [1, 9, 18, 24, 62])
def test_nested_tokens_are_cut_to_what_coding_at_fewer_bits_gives(bits):
    shape, nested = (2, 1001), {"bits_range": (1, 62), "hop_length": 96}
    tokens = random_tokens(shape, 2**bits)
    tokens[0, 0], tokens[-1, -1] = 0, 2**bits - 1
    header = make_header(tokens, 2**bits, **nested)
    data = container.dumps(header, tokens)
    assert data[4] == 2 and header.bits == bits
    again, tokens_again = container.loads(data)
    assert again == replace(header, weights_hash="0123456789abcdef") and np.array_equal(tokens_again, tokens)
    for fewer in {1, max(1, bits // 2), bits}:
        expected = container.dumps(replace(header, codebook_size=2**fewer), tokens >> (bits - fewer))
        assert container.cut(data, fewer) == expected
        assert container.cut(data, kbps=fewer / 6) == expected
    if bits < 62:
        with pytest.raises(ContainerError, match=f"it has {bits} bits a token .* fewer than 62"):
            container.cut(data, 62)


def test_files_of_models_with_one_rate_are_of_version_1(tmp_path):
    tokens = random_tokens((1, 50), 512)
    data = container.dumps(make_header(tokens, 512), tokens)
    assert data[4] == 1 and container.loads(data)[0].rates is None
    with pytest.raises(ContainerError, match="cannot be cut: the model has one rate"):
        container.cut(data, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits_range": (10, 18)}, "codebook size 512; nested tokens have 2"),
        ({"bits_range": (9, 63)}, "nested tokens of 9 to 63 bits"),
        ({"bits_range": (0, 18)}, "nested tokens of 0 to 18 bits"),
        ({"bits_range": (12, 9)}, "nested tokens of 12 to 9 bits"),
        ({"hop_length": 0}, "hop_length is 0"),
        ({"levels": (8, 8, 8)}, "levels"),
    ],
)
def test_nested_headers_that_cannot_be(changes, message):
    tokens = random_tokens((1, 50), 512)
    header = make_header(tokens, 512, **({"bits_range": (6, 18), "hop_length": 96} | changes))
    with pytest.raises(ContainerError, match=message):
        container.dumps(header, tokens)


@pytest.mark.parametrize("codebook_size", CODEBOOKS)
def test_extreme_tokens(codebook_size):
    for value in (0, codebook_size - 1):
        tokens = np.full(5000, value, np.int64)
        packed = container.pack_tokens(tokens, codebook_size)
        assert np.array_equal(container.unpack_tokens(packed, tokens.size, codebook_size), tokens)


@given(
    codebook_size=st.one_of(st.integers(2, 300), st.integers(2, 2**63)),
    count=st.integers(1, 3000),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=300, deadline=None)
def test_any_codebook_packs_within_one_percent(codebook_size, count, seed):
    tokens = random_tokens((count,), codebook_size, seed)
    packed = container.pack_tokens(tokens, codebook_size)
    assert np.array_equal(container.unpack_tokens(packed, count, codebook_size), tokens)
    assert len(packed) == container.packed_size(count, codebook_size)
    assert len(packed) * 8 <= 1.003 * count * math.log2(codebook_size) + 8


def test_levels_and_overhead():
    tokens = random_tokens((1, 1667), 7**6)
    header = make_header(tokens, 7**6, levels=(7,) * 6, num_samples=441000)
    data = container.dumps(header, tokens)
    assert container.loads(data)[0].levels == (7,) * 6
    assert len(data) - 1667 * math.log2(7**6) / 8 < 60
    assert container.loads_header(data[:60]) == container.loads(data)[0]


def test_coded_length_is_rounded_up():
    header = make_header(np.zeros((1, 1), np.int64), 8)
    assert replace(header, num_samples=1, original_sample_rate=96000).coded_length == 1
    assert replace(header, num_samples=441, original_sample_rate=44100).coded_length == 160
    assert replace(header, num_samples=442, original_sample_rate=44100).coded_length == 161


def test_example_of_the_specification():
    page = (Path(__file__).parent.parent / "docs" / "code-file.md").read_text()
    lines = page.split("## Example")[1].splitlines()
    digits = [re.match(r"    ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:   |$)", line) for line in lines]
    data = bytes.fromhex(" ".join(match.group(1) for match in digits if match))
    header, tokens = container.loads(data)
    assert tokens.tolist() == [[5, 0, 2]]
    assert header == CodeHeader("m", "0123456789abcdef", 16000, 16000, 3, 1, 3, 7, (7,))
    assert container.dumps(header, tokens) == data


def test_hours_pack_in_seconds():
    tokens = random_tokens((640_000,), 7**6)  # one hour at 178 tokens/s
    packed = container.pack_tokens(tokens, 7**6)
    assert np.array_equal(container.unpack_tokens(packed, tokens.size, 7**6), tokens)


def test_file_round_trip_leaves_nothing_else(tmp_path):
    tokens = random_tokens((2, 100), 1024)
    size = container.write(tmp_path / "a.sqc", make_header(tokens, 1024), tokens)
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("a.sqc", size)]
    assert np.array_equal(container.read(tmp_path / "a.sqc")[1], tokens)
    (tmp_path / "a.sqc").write_bytes(b"")
    with pytest.raises(ContainerError, match=r"a\.sqc: empty"):
        container.read(tmp_path / "a.sqc")
    with pytest.raises(FileNotFoundError, match=r"missing"):
        container.write(tmp_path / "missing" / "a.sqc", make_header(tokens, 1024), tokens)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        container.write(tmp_path / "folder", make_header(tokens, 1024), tokens)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.sqc", "folder"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_samples": 0}, "num_samples is 0"),
        ({"num_channels": 2}, "the header says"),
        ({"sample_rate": 2**31}, "sample_rate"),
        ({"codebook_size": 1}, "codebook size 1"),
        ({"codebook_size": 2**63 + 1}, "codebook size"),
        ({"levels": (7, 6)}, "product"),
        ({"levels": (1000, 1)}, "2 or more"),
        ({"codebook_size": 5}, "must lie in 0..4"),
        ({"model": ""}, "model name"),
        ({"model": "a\nb"}, "model name"),
        ({"model": "\udc80"}, "model name"),
        ({"model": "é" * 128}, "model name"),
        ({"weights_hash": "abc"}, "weights hash"),
        ({"weights_hash": "xy" * 32}, "weights hash"),
    ],
)
def test_values_that_cannot_be_stored(changes, message):
    tokens = random_tokens((1, 10), 1000)
    with pytest.raises(ContainerError, match=message):
        container.dumps(replace(make_header(tokens, 1000), **changes), tokens)


def test_tokens_that_cannot_be_stored():
    with pytest.raises(ContainerError, match="integers"):
        container.pack_tokens(np.zeros(3), 10)
    with pytest.raises(ContainerError, match="-1"):
        container.pack_tokens(np.array([-1, 3]), 10)


# ---- damage


def sample_files() -> list[bytes]:
    files = []
    shapes = [((1, 1), 2, None), ((2, 40), 7**6, (7,) * 6), ((1, 300), 2**63, None)]
    for shape, codebook_size, levels in shapes:
        tokens = random_tokens(shape, codebook_size)
        files.append(container.dumps(make_header(tokens, codebook_size, levels=levels), tokens))
    return files


def with_crc(data: bytes) -> bytes:
    """Make both checksums of a forged file right, so that the checks behind them are reached."""
    if len(data) < 8:
        return data
    length = int.from_bytes(data[6:8], "little")
    if 12 <= length <= len(data) - 4:
        data = data[: length - 4] + zlib.crc32(data[: length - 4]).to_bytes(4, "little") + data[length:]
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def mutate(data: bytes, generator: random.Random) -> bytes:
    kind = generator.randrange(6)
    changed = bytearray(data)
    if kind == 0:
        return data[: generator.randrange(len(data))]
    if kind == 1:
        return data + generator.randbytes(generator.randint(1, 20))
    if kind == 2:
        for _ in range(generator.randint(1, 8)):
            changed[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    elif kind == 3:
        for _ in range(generator.randint(1, 4)):
            changed[generator.randrange(min(len(data), 64))] = generator.choice([0, 0x7F, 0x80, 0xFF])
    elif kind == 4:
        start = generator.randrange(len(data))
        del changed[start : start + generator.randint(1, 16)]
    else:
        start = generator.randrange(len(data))
        changed[start:start] = generator.randbytes(generator.randint(1, 16))
    return bytes(changed)


def test_every_truncation_and_every_flipped_bit_is_refused():
    for data in sample_files():
        for length in range(len(data)):
            with pytest.raises(ContainerError):
                container.loads(data[:length])
        for bit in range(0, 8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(ContainerError):
                container.loads(bytes(flipped))


def test_thousands_of_mutations_are_refused():
    generator = random.Random(0)
    files = sample_files()
    for _ in range(6000):
        data = generator.choice(files)
        damaged = mutate(data, generator)
        if damaged != data:
            with pytest.raises(ContainerError):
                container.loads(damaged)


def test_thousands_of_forgeries_are_refused_or_read_within_bounds():
    """With both checksums made right again: an error, or tokens that agree with the header and the bytes."""
    generator = random.Random(1)
    files = sample_files()
    tracemalloc.start()
    for _ in range(6000):
        forged = with_crc(mutate(generator.choice(files), generator))
        try:
            header, tokens = container.loads(forged)
        except ContainerError:
            continue
        assert tokens.shape == (header.num_channels, header.num_tokens)
        assert tokens.min() >= 0 and int(tokens.max()) < header.codebook_size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**21  # bytes; the files are of 3 kB at most


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=1000, deadline=None)
def test_any_bytes_are_refused(data, add_prefix):
    with pytest.raises(ContainerError):
        container.loads(container.MAGIC + b"\x01\x00" + data if add_prefix else data)


def forged_header(*numbers: int, name: bytes = b"m", tail: bytes = b"") -> bytes:
    """A header with these numbers, right lengths and checksums, and `tail` behind it."""

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    body = b"".join(map(varint, numbers)) + bytes(8) + varint(len(name)) + name
    length = (8 + len(body) + 4).to_bytes(2, "little")
    return with_crc(container.MAGIC + b"\x01\x00" + length + body + bytes(4) + tail + bytes(4))


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "empty"),
        (b"RIFF" + bytes(60), "not a code file"),
        (b"\x89SQ", "truncated in the header"),
        (b"\x89SQC\x03" + bytes(60), "version 3"),
        (b"\x89SQC\x01\x00\x01\x00" + bytes(60), "too short"),
        (with_crc(b"\x89SQC\x01\x07\x0c\x00" + bytes(60)), "payload kind 7"),
        (forged_header(16000, 16000, 1, 2**61, 2**61, 0, 2), "truncated in the payload"),
        (forged_header(16000, 16000, 1024, 10, 2**61, 0, 2**63), "truncated in the payload"),
        (forged_header(16000, 16000, 1, 10, 2**63, 0, 2), "num_tokens is"),
        (forged_header(16000, 16000, 1025, 10, 1, 0, 2), "num_channels is 1025"),
        (forged_header(0, 16000, 1, 10, 1, 0, 2), "sample_rate is 0"),
        (forged_header(16000, 16000, 1, 10, 0, 0, 2), "num_tokens is 0"),
        (forged_header(16000, 16000, 1, 10, 1, 0, 1), "codebook size 1"),
        (forged_header(16000, 16000, 1, 10, 1, 64, *[2] * 64), "64 levels"),
        (forged_header(16000, 16000, 1, 10, 1, 63, *[3] * 63), "codebook size"),
        (forged_header(16000, 16000, 1, 10, 1, 1, 1), "2 or more"),
        (forged_header(16000, 16000, 1, 10, 1, 0, 2, name=b""), "model name"),
        (forged_header(16000, 16000, 1, 10, 1, 0, 2, name=b"\xff"), "not UTF-8"),
        (forged_header(16000, 16000, 1, 10, 3, 1, 7, tail=b"\xff\xff"), "out of range"),
        (forged_header(16000, 16000, 1, 10, 3, 1, 7, tail=b"\x00\x00\x00"), "1 bytes too many"),
    ],
)
def test_what_a_bad_file_is_told(data, message):
    with pytest.raises(ContainerError, match=message):
        container.loads(data)


@pytest.mark.parametrize("channels", [1, 3])
def test_pieces_equal_the_whole(channels: int) -> None:
    """Tokens packed and read piece by piece, of all sizes, give the bytes and tokens of the whole."""
    random = np.random.default_rng(channels)
    tokens = random.integers(0, 117649, (channels, 5003))
    header = CodeHeader("m", "0" * 16, 16000, 16000, 5003 * 96, channels, 5003, 117649, (7,) * 6)
    packer, start = container.Packer(117649), 0
    while start < 5003:
        count = int(random.integers(0, 700))
        packer.push(tokens[:, start : start + count])
        start += count
    data = container.join(header, packer.finish())
    assert packer.num_tokens == 5003 and data == container.dumps(header, tokens)
    for per_step in (1, 7, 100):
        found, pieces = container.open_tokens(data, per_step)
        assert found == header and np.array_equal(np.concatenate(list(pieces), axis=1), tokens)
    with pytest.raises(ContainerError, match="does not hold"):
        container.join(header, packer.finish()[:-1])

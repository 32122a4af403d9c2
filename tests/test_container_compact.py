"""Code files of payload kind 1: lossless, never larger, and damage ends in one error."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import time
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from entropy_helpers import random_predictor

import sqcodec
from sqcodec import container
from sqcodec.container import CodeHeader, ContainerError
from sqcodec.entropy import PREDICTOR_NAME, Predictor
from sqcodec.entropy.blocks import varint

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


def damaged(good: bytes, rng: np.random.Generator, trial: int) -> bytes:
    """A compact file with something wrong. Mostly with checksums that fit again, as a forger makes them: without, there
    is little that a reader gets to see."""
    header, bad = container.loads_header(good), bytearray(good)
    start, kind = int.from_bytes(good[6:8], "little"), FORGERIES[trial % len(FORGERIES)]
    if kind == "truncated":
        del bad[int(rng.integers(len(bad))) :]
    elif kind == "bits":
        for place in rng.integers(8 if trial % 2 else 0, len(bad), rng.integers(1, 5)):
            bad[place] ^= 1 << rng.integers(8)
    elif kind == "payload":
        for place in rng.integers(start, len(bad), rng.integers(1, 20)):
            bad[place] = rng.integers(256)
    elif kind == "stretch":  # lost, or noise in its place, longer or shorter
        first, length = rng.integers(start, len(bad)), rng.integers(1, 40)
        bad[first : first + length] = rng.bytes(rng.integers(40))
    elif kind == "header":
        for place in rng.integers(8, start - 4, rng.integers(1, 4)):
            bad[place] = rng.integers(256)
    elif kind == "field":
        value = (1, 2, 3, 255, 256, 1023, 2**20, 2**31 - 1, 2**62)[rng.integers(9)]
        name = ("num_samples", "num_tokens", "num_channels", "sample_rate", "original_sample_rate")[rng.integers(5)]
        more = {"codebook_size": 2 ** int(rng.integers(1, 63)), "levels": None} if trial % 2 else {}
        with contextlib.suppress(ContainerError):  # no writer writes such a header
            head = container.dump_header(replace(header, **{name: value}, **more))
            bad[:start], start = head, len(head)
    else:  # one block of noise or of nothing that claims to hold many tokens
        noise = rng.bytes(rng.integers(1, 300)) if trial % 2 else rng.bytes(2) + bytes(rng.integers(300))
        count = int(2 ** rng.uniform(0, np.log2(40 * len(noise))))
        block = varint(count) + varint(len(noise)) + noise
        head = container.dump_header(replace(header, num_tokens=count))
        bad, start = bytearray(head + good[start : start + 8] + block + bytes(4)), len(head)
    if trial % 5 and len(bad) > start + 4:
        bad[start - 4 : start] = zlib.crc32(bytes(bad[: start - 4])).to_bytes(4, "little")
        bad[-4:] = zlib.crc32(bytes(bad[:-4])).to_bytes(4, "little")
    return bytes(bad)


FORGERIES = ("truncated", "bits", "payload", "stretch", "header", "field", "payload", "bits", "header", "field", "many")
COMPACT_FILES = sorted((Path(__file__).parent / "vectors" / "files").glob("*-compact.sqc"))
ONE_LINE = re.compile(r"[^\n]{1,400}")


def predictor_of(path: Path) -> Predictor:
    if path.name.startswith("format-"):
        name = "levels" if "levels" in path.name else "bits"
        return Predictor.load(path.parents[1] / "compact" / f"{name}.safetensors")
    model = container.loads_header(path.read_bytes()).model
    return Predictor.load(Path(sqcodec.__file__).parent / "models" / model / PREDICTOR_NAME)


def test_damage_ends_in_one_error_in_bounded_time_and_memory() -> None:
    """SQCODEC_FUZZ_FILES=10000 in the environment takes more of them, minutes (egs/mini/codec1/RESULTS.md)."""
    rng, count = np.random.default_rng(0), int(os.environ.get("SQCODEC_FUZZ_FILES", "400"))
    files = [(path.read_bytes(), predictor_of(path)) for path in COMPACT_FILES]
    assert {good[4] for good, _ in files} == {1, 2}
    memory, wrong, longest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0, 0.0
    refusals: Counter[str] = Counter()
    for trial in range(count):
        good, predictor = files[trial % len(files)]
        bad = damaged(good, rng, trial)
        began = time.process_time()
        try:
            header, tokens = container.loads(bad, lambda header, used=predictor: used)
        except ContainerError as error:
            wrong += 1
            assert ONE_LINE.fullmatch(str(error))
            refusals[re.sub(r"[\d'\"].*", "", str(error))[:50]] += 1
        else:
            assert tokens.shape == (header.num_channels, header.num_tokens) and tokens.size <= 32 * len(bad)
            assert tokens.min() >= 0 and tokens.max() < header.codebook_size
            forged = trial % 5 or FORGERIES[trial % len(FORGERIES)] in ("field", "many")  # its checksums fit
            assert forged or bad == good
        longest = max(longest, time.process_time() - began)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    print(f"{count} files, {wrong} refused, at most {longest:.3f} s for one, {grown} KiB more memory")
    print(*(f"{number:6} {message}" for message, number in refusals.most_common()), sep="\n")
    assert wrong > count // 2 and longest < 2 and grown < 64 * 1024


def test_a_small_file_cannot_ask_for_much(predictor) -> None:
    tokens = np.zeros((1, 100), np.int64)
    many = header_of(np.broadcast_to(tokens[:, :1], (1, 2**40)), payload_kind=container.PAYLOAD_ENTROPY)
    for block in (bytes([1, 1, 0]), bytes([0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 100]) + bytes(100)):
        with pytest.raises(ContainerError, match="does not hold"):
            container.join(many, bytes.fromhex(predictor.hash[:16]) + block)

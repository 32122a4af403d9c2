"""The `.sqc` code file: tokens of one recording as bytes. Specified in docs/code-file.md.

Bytes only: imports no model. A file is a header with its own CRC-32, a payload (mixed radix, or entropy coded with the
model's predictor), and a CRC-32 over all before it. Reading checks each length against the bytes that are there before
it allocates anything, so the memory used is bounded by the size of the file.

Letters: C channels, N tokens per channel, K codebook size.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sqcodec.entropy import BlockReader, BlockWriter, Predictor
from sqcodec.entropy.blocks import varint
from sqcodec.files import write_atomically
from sqcodec.rates import BitRates

MAGIC = b"\x89SQC"
VERSION = 1
VERSION_NESTED = 2
"""Of files of nested tokens; all others stay readable by programs that know version 1."""
PAYLOAD_MIXED_RADIX = 0
PAYLOAD_ENTROPY = 1
HASH_BYTES = 8
MAX_CODEBOOK_SIZE = 2**63
MAX_CHANNELS = 1024
MAX_SAMPLE_RATE = 2**31 - 1
MAX_COUNT = 2**62
MAX_NAME_BYTES = 255
MAX_BITS = 62
MAX_HOP_LENGTH = 2**31 - 1
BLOCK_BITS = 4096

_PREFIX_BYTES = 8  # magic 4, version 1, payload kind 1, header length 2
_CRC_BYTES = 4


class ContainerError(ValueError):
    """The bytes are not a whole, undamaged code file, or the values cannot be stored in one."""


@dataclass(frozen=True)
class CodeHeader:
    """What a code file says about its tokens.

    model: name of the model that made the tokens, 1 to 255 bytes of UTF-8, printable.
    weights_hash: the model's hash (docs/code-file.md), hex; only the first 16 digits are kept in the file.
    sample_rate: rate of the coded audio, Hz. original_sample_rate: rate of the audio that went in, Hz.
    num_samples: samples per channel at `original_sample_rate`.
    num_channels, num_tokens: C and N. levels: scalar quantizer levels whose product is K, or None.
    codebook_size: K, 2 to 2**63.
    bits_range: fewest and most bits of a token of the model where tokens are nested, that is K is 2**b, and the first
        bits of a token are the token at fewer bits; else None. hop_length: then samples of coded audio a token, else 0.
    payload_kind: PAYLOAD_MIXED_RADIX, or PAYLOAD_ENTROPY, which needs the model's predictor.
    """

    model: str
    weights_hash: str
    sample_rate: int
    original_sample_rate: int
    num_samples: int
    num_channels: int
    num_tokens: int
    codebook_size: int
    levels: tuple[int, ...] | None = None
    bits_range: tuple[int, int] | None = None
    hop_length: int = 0
    payload_kind: int = PAYLOAD_MIXED_RADIX

    @property
    def bits(self) -> int | None:
        """Of a nested token, b; None where tokens are not nested."""
        return self.codebook_size.bit_length() - 1 if self.bits_range else None

    @property
    def rates(self) -> BitRates | None:
        """Of the model, where tokens are nested."""
        return BitRates(*self.bits_range, self.sample_rate / self.hop_length) if self.bits_range else None

    @property
    def coded_length(self) -> int:
        """Samples per channel at `sample_rate`: ceil(num_samples * sample_rate / original_sample_rate)."""
        return -(-self.num_samples * self.sample_rate // self.original_sample_rate)

    @property
    def seconds(self) -> float:
        """Duration of the recording, seconds."""
        return self.num_samples / self.original_sample_rate

    def matches(self, weights_hash: str) -> bool:
        """Whether `weights_hash` (hex, 16 digits or more) is that of the model of this file."""
        return weights_hash.lower()[: 2 * HASH_BYTES] == self.weights_hash.lower()[: 2 * HASH_BYTES]


def dumps(header: CodeHeader, tokens: np.ndarray, predictor: Predictor | None = None) -> bytes:
    """The code file of `tokens`, int [C, N] in 0..K-1; entropy coded with a ``predictor`` where that is smaller.

    Raises ContainerError on values out of range, ValueError where the predictor is for other tokens.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or tokens.shape != (header.num_channels, header.num_tokens):
        raise ContainerError(
            f"tokens have shape {list(tokens.shape)}, the header says "
            f"[{header.num_channels}, {header.num_tokens}] (channels, tokens)"
        )
    if predictor is None:
        return join(header, pack_tokens(tokens.T, header.codebook_size))
    packer = Packer(header.codebook_size, BlockWriter(predictor, len(tokens), header.codebook_size, header.levels))
    packer.push(tokens)
    payload = packer.finish()
    return join(replace(header, payload_kind=packer.payload_kind), payload)


class Packer:
    """Packs tokens as they come, so that hours of them never lie in memory as integers.

    Args:
        writer: codes the same tokens with a predictor; the smaller payload of the two is taken.
    """

    def __init__(self, codebook_size: int, writer: BlockWriter | None = None) -> None:
        self._writer, self.payload_kind = writer, PAYLOAD_MIXED_RADIX
        self._codebook_size, self._block = codebook_size, block_tokens(codebook_size)
        self._rest, self._payload = np.zeros(0, np.int64), bytearray()
        self.num_tokens = 0
        """Per channel, so far."""

    def push(self, tokens: np.ndarray) -> None:
        """Integers [C, n], any n. Raises ContainerError as ``pack_tokens``."""
        flat = np.concatenate([self._rest, np.asarray(tokens).T.reshape(-1)])
        whole = flat.size // self._block * self._block
        self._payload += pack_tokens(flat[:whole], self._codebook_size)
        self._rest = flat[whole:].copy()
        self.num_tokens += tokens.shape[1]
        if self._writer is not None:
            self._writer.push(tokens)

    def finish(self) -> bytes | bytearray:
        """The payload; ``payload_kind`` says of which kind it is."""
        self._payload += pack_tokens(self._rest, self._codebook_size)
        if self._writer is not None and len(compact := self._writer.flush()) < len(self._payload):
            self.payload_kind = PAYLOAD_ENTROPY
            return compact
        return self._payload


def join(header: CodeHeader, payload: bytes | bytearray) -> bytes:
    """The code file of a payload. Raises ContainerError where the header does not fit it."""
    head = _dump_header(header)
    count = header.num_channels * header.num_tokens
    if header.payload_kind == PAYLOAD_ENTROPY:
        _open_blocks(bytes(payload), header)
    elif len(payload) != packed_size(count, header.codebook_size):
        raise ContainerError(f"a payload of {len(payload)} bytes does not hold the {count} tokens of the header")
    return b"".join((head, payload, zlib.crc32(payload, zlib.crc32(head)).to_bytes(_CRC_BYTES, "little")))


def fixed_rate_size(header: CodeHeader) -> int:
    """Bytes of the code file of these tokens that is not entropy coded."""
    size = packed_size(header.num_channels * header.num_tokens, header.codebook_size)
    return len(_dump_header(header)) + size + _CRC_BYTES


FindPredictor = Callable[[CodeHeader], Predictor]


def loads(data: bytes, find_predictor: FindPredictor | None = None) -> tuple[CodeHeader, np.ndarray]:
    """Header and tokens (int64 [C, N]) of a code file. Raises ContainerError on anything but a whole one."""
    header, blocks = open_tokens(data, per_step=2**62, find_predictor=find_predictor)
    return header, np.ascontiguousarray(np.concatenate(list(blocks), axis=1))


def open_tokens(
    data: bytes, per_step: int = 64, find_predictor: FindPredictor | None = None
) -> tuple[CodeHeader, Iterator[np.ndarray]]:
    """Header and tokens of a code file, in pieces int64 [C, n] of about ``per_step`` payload blocks each.

    Args:
        find_predictor: the predictor for a file that is entropy coded; asked when the first piece is.
    Raises:
        ContainerError: not a whole file; of a damaged block, or where the predictor is missing or another one, only
            when a piece is asked for.
    """
    header, start = _load_header(data)
    if header.payload_kind == PAYLOAD_ENTROPY:
        blocks = _open_blocks(data[start : max(start, len(data) - _CRC_BYTES)], header)
        _check_crc(data)
        return header, _predicted(blocks, header, find_predictor)
    count = header.num_channels * header.num_tokens
    size = packed_size(count, header.codebook_size)
    expected = start + size + _CRC_BYTES
    if len(data) < expected:
        raise ContainerError(
            f"truncated in the payload: {len(data)} bytes, where {header.num_channels} x {header.num_tokens} "
            f"tokens of {header.codebook_size} codes need {expected}"
        )
    if len(data) > expected:
        raise ContainerError(f"{len(data) - expected} bytes too many after the end of the code file")
    _check_crc(data)
    return header, _pieces(data[start : start + size], header, per_step)


def _check_crc(data: bytes) -> None:
    if _crc(memoryview(data)[:-_CRC_BYTES]) != data[-_CRC_BYTES:]:
        raise ContainerError("the payload is damaged: its CRC-32 does not match")


def _open_blocks(payload: bytes, header: CodeHeader) -> BlockReader:
    try:
        return BlockReader(payload, header.num_channels, header.num_tokens)
    except ValueError as error:
        raise ContainerError(f"the payload does not hold the tokens of the header: {error}") from None


def _predicted(
    blocks: BlockReader, header: CodeHeader, find_predictor: FindPredictor | None
) -> Iterator[np.ndarray]:
    if find_predictor is None:
        raise ContainerError(
            f"entropy coded: its tokens need the predictor {blocks.predictor_hash} of the model {header.model!r}"
        )
    predictor = find_predictor(header)
    try:
        yield from blocks.tokens(predictor, header.codebook_size, header.levels)
    except ValueError as error:
        raise ContainerError(str(error)) from None


def _pieces(payload: bytes, header: CodeHeader, per_step: int) -> Iterator[np.ndarray]:
    channels, left = header.num_channels, header.num_channels * header.num_tokens
    block = block_tokens(header.codebook_size)
    size, first = _block_bytes(block, header.codebook_size), 0
    rest = np.zeros(0, np.int64)
    while left:
        count = min(left, per_step * block)
        last = first + (per_step * size if count < left else len(payload))
        flat = np.concatenate([rest, unpack_tokens(payload[first:last], count, header.codebook_size)])
        first, left = last, left - count
        whole = flat.size // channels * channels
        rest = flat[whole:].copy()
        yield flat[:whole].reshape(-1, channels).T


def cut(
    data: bytes,
    bits: int | None = None,
    kbps: float | None = None,
    find_predictor: FindPredictor | None = None,
) -> bytes:
    """A code file of nested tokens with fewer bits a token: the file that coding at that rate gives, bit for bit. What
    is entropy coded stays so.

    Args:
        bits: of a token. kbps: kbit/s instead, as of ``Codec.encode``.
    Raises:
        ContainerError: not a whole file, its tokens are not nested, or they have fewer bits.
        ValueError: the model has no such rate.
    """
    predictor: list[Predictor] = []

    def found(header: CodeHeader) -> Predictor:
        assert find_predictor is not None
        predictor.append(find_predictor(header))
        return predictor[0]

    header, pieces = open_tokens(data, find_predictor=found if find_predictor else None)
    if header.rates is None or header.bits is None:
        raise ContainerError(f"tokens of {header.model!r} cannot be cut: the model has one rate")
    wanted = header.rates.pick(bits, kbps)
    if wanted is None:
        raise ValueError("How far is it to be cut? Give bits or kbps.")
    if wanted > header.bits:
        raise ContainerError(
            f"it has {header.bits} bits a token ({header.rates.kbps(header.bits):.4g} kbit/s), fewer than {wanted}"
        )
    packer: Packer | None = None
    for tokens in pieces:
        if packer is None:
            writer = BlockWriter(predictor[0], header.num_channels, 2**wanted) if predictor else None
            packer = Packer(2**wanted, writer)
        packer.push(tokens >> (header.bits - wanted))
    assert packer is not None
    payload = packer.finish()
    return join(replace(header, codebook_size=2**wanted, payload_kind=packer.payload_kind), payload)


def loads_header(data: bytes) -> CodeHeader:
    """The header alone; the payload is not looked at. Raises ContainerError."""
    return _load_header(data)[0]


def write(
    path: str | os.PathLike[str], header: CodeHeader, tokens: np.ndarray, predictor: Predictor | None = None
) -> int:
    """Write a code file (``dumps``) and return its size in bytes. The file appears whole or not at all.

    Raises ContainerError on values that do not fit, OSError (naming the file) where it cannot be written.
    """
    data = dumps(header, tokens, predictor)
    write_atomically(path, data)
    return len(data)


def read(
    path: str | os.PathLike[str], find_predictor: FindPredictor | None = None
) -> tuple[CodeHeader, np.ndarray]:
    """Header and tokens (int64 [C, N]) of a code file. Raises ContainerError (naming the file) or OSError."""
    try:
        return loads(Path(path).read_bytes(), find_predictor)
    except ContainerError as error:
        raise ContainerError(f"{path}: {error}") from None


# ---- header


def _dump_header(header: CodeHeader) -> bytes:
    _check(header)
    name = header.model.encode()
    numbers = (
        *(header.sample_rate, header.original_sample_rate, header.num_channels),
        *(header.num_samples, header.num_tokens),
        *(len(header.levels or ()), *(header.levels or (header.codebook_size,))),
    )
    weights_hash = bytes.fromhex(header.weights_hash[: 2 * HASH_BYTES])
    body = b"".join(map(varint, numbers)) + weights_hash + varint(len(name)) + name
    version = VERSION
    if header.bits_range:
        version = VERSION_NESTED
        body += b"".join(map(varint, (*header.bits_range, header.hop_length)))
    length = _PREFIX_BYTES + len(body) + _CRC_BYTES
    head = MAGIC + bytes([version, header.payload_kind]) + length.to_bytes(2, "little") + body
    return head + _crc(head)


def _load_header(data: bytes) -> tuple[CodeHeader, int]:
    """Header and the offset of the payload."""
    if not data:
        raise ContainerError("empty: 0 bytes where a code file should be")
    if data[:4] != MAGIC[: len(data[:4])]:
        raise ContainerError(f"not a code file: it starts with {data[:4]!r}, not {MAGIC!r}")
    if len(data) < _PREFIX_BYTES:
        raise ContainerError(f"truncated in the header: {len(data)} bytes")
    version, payload_kind, length = data[4], data[5], int.from_bytes(data[6:8], "little")
    if version not in (VERSION, VERSION_NESTED):
        raise ContainerError(f"version {version} of the code file; this program reads up to {VERSION_NESTED}")
    if len(data) < length:
        raise ContainerError(f"truncated in the header: {len(data)} bytes of {length}")
    if length < _PREFIX_BYTES + _CRC_BYTES:
        raise ContainerError(f"the header is damaged: a length of {length} bytes is too short")
    end = length - _CRC_BYTES
    if _crc(data[:end]) != data[end:length]:
        raise ContainerError("the header is damaged: its CRC-32 does not match")
    if payload_kind not in (PAYLOAD_MIXED_RADIX, PAYLOAD_ENTROPY):
        raise ContainerError(
            f"unknown payload kind {payload_kind}; known are {PAYLOAD_MIXED_RADIX} and {PAYLOAD_ENTROPY}"
        )
    fields = _Fields(data[_PREFIX_BYTES:end])
    sample_rate, original_rate, channels, samples, tokens = (fields.varint() for _ in range(5))
    num_levels = fields.varint()
    if num_levels > 63:
        raise ContainerError(f"{num_levels} levels; at most 63 fit a codebook of 2**63")
    levels = tuple(fields.varint() for _ in range(num_levels)) or None
    codebook_size = math.prod(levels) if levels else fields.varint()
    weights_hash = fields.take(HASH_BYTES).hex()
    try:
        model = fields.take(fields.varint()).decode()
    except UnicodeDecodeError:
        raise ContainerError("the model name in the header is not UTF-8") from None
    bits_range, hop_length = None, 0
    if version == VERSION_NESTED:
        bits_range, hop_length = (fields.varint(), fields.varint()), fields.varint()
    if fields.remaining:
        raise ContainerError(f"{fields.remaining} unknown bytes at the end of the header")
    header = CodeHeader(
        model, weights_hash, sample_rate, original_rate, samples, channels, tokens, codebook_size, levels,
        bits_range, hop_length, payload_kind,
    )  # fmt: skip
    _check(header)
    return header, length


def _check(header: CodeHeader) -> None:
    """Every value in its range, in both directions."""
    ranges = {
        "sample_rate": (header.sample_rate, MAX_SAMPLE_RATE),
        "original_sample_rate": (header.original_sample_rate, MAX_SAMPLE_RATE),
        "num_channels": (header.num_channels, MAX_CHANNELS),
        "num_samples": (header.num_samples, MAX_COUNT),
        "num_tokens": (header.num_tokens, MAX_COUNT),
    }
    for name, (value, maximum) in ranges.items():
        if not 1 <= value <= maximum:
            raise ContainerError(f"{name} is {value}; allowed are 1 to {maximum}")
    if header.levels is not None:
        if not header.levels or min(header.levels) < 2 or math.prod(map(int, header.levels)) != header.codebook_size:
            raise ContainerError(
                f"levels {list(header.levels)} must each be 2 or more, with the codebook size "
                f"{header.codebook_size} as their product"
            )
    _check_codebook_size(header.codebook_size)
    if header.bits_range is not None:
        low, high = header.bits_range
        if header.levels is not None or not 1 <= low <= high <= MAX_BITS:
            raise ContainerError(f"nested tokens of {low} to {high} bits, levels {header.levels}; 1 to 62, and none")
        if header.codebook_size not in [2**bits for bits in range(low, high + 1)]:
            raise ContainerError(f"codebook size {header.codebook_size}; nested tokens have 2**{low} to 2**{high}")
        if not 1 <= header.hop_length <= MAX_HOP_LENGTH:
            raise ContainerError(f"hop_length is {header.hop_length}; allowed are 1 to {MAX_HOP_LENGTH}")
    if not header.model.isprintable() or not 1 <= len(header.model.encode()) <= MAX_NAME_BYTES:
        raise ContainerError(f"model name {header.model!r}; allowed: 1 to {MAX_NAME_BYTES} printable bytes")
    digits = header.weights_hash[: 2 * HASH_BYTES]
    if len(digits) != 2 * HASH_BYTES or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
        raise ContainerError(f"weights hash {header.weights_hash!r}; needed are 16 hex digits or more")


class _Fields:
    """A cursor over the header's fields that never reads past their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def remaining(self) -> int:
        return len(self._data) - self._position

    def take(self, count: int) -> bytes:
        if count > self.remaining:
            raise ContainerError(f"the header ends early: {count} bytes needed, {self.remaining} left")
        self._position += count
        return self._data[self._position - count : self._position]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift > 0 or value >= 2**64:
                    break
                return value
        raise ContainerError("a number in the header is not a canonical LEB128 of at most 64 bits")


def _crc(data: bytes | memoryview) -> bytes:
    return zlib.crc32(data).to_bytes(_CRC_BYTES, "little")


# ---- payload


def block_tokens(codebook_size: int) -> int:
    """Tokens in one full block of the payload: as many as surely fit 4096 bits."""
    return BLOCK_BITS // (codebook_size - 1).bit_length()


def packed_size(count: int, codebook_size: int) -> int:
    """Bytes that `count` tokens of K codes take: log2(K) bits each, within 0.3 %, and less than a byte."""
    block = block_tokens(codebook_size)
    full, rest = divmod(count, block)
    return full * _block_bytes(block, codebook_size) + _block_bytes(rest, codebook_size)


def pack_tokens(tokens: np.ndarray, codebook_size: int) -> bytes:
    """Mixed-radix payload of integer tokens in 0..K-1, any shape, in C order. Raises ContainerError."""
    _check_codebook_size(codebook_size)
    flat = np.asarray(tokens).reshape(-1)
    if flat.dtype.kind not in "iu":
        raise ContainerError(f"tokens must be integers, not {flat.dtype}")
    if flat.size and not (0 <= int(flat.min()) and int(flat.max()) < codebook_size):
        raise ContainerError(
            f"tokens lie in {int(flat.min())}..{int(flat.max())}; with {codebook_size} codes they must lie "
            f"in 0..{codebook_size - 1}"
        )
    flat = flat.astype(np.int64, copy=False)
    block = block_tokens(codebook_size)
    size = _block_bytes(block, codebook_size)
    per_digit, base = _digit(codebook_size)
    full = flat.size // block
    parts = []
    if full:
        digits = _to_digits(flat[: full * block].reshape(full, block), codebook_size, per_digit)
        parts += [_horner(row.tolist(), base).to_bytes(size, "little") for row in digits]
    if rest := flat.size - full * block:
        digits = _to_digits(flat[full * block :].reshape(1, rest), codebook_size, per_digit)
        parts.append(_horner(digits[0].tolist(), base).to_bytes(_block_bytes(rest, codebook_size), "little"))
    return b"".join(parts)


def unpack_tokens(data: bytes, count: int, codebook_size: int) -> np.ndarray:
    """The `count` tokens (int64 [count]) of a payload. Raises ContainerError where it does not hold them."""
    _check_codebook_size(codebook_size)
    if count < 0 or len(data) != packed_size(count, codebook_size):
        raise ContainerError(
            f"{len(data)} bytes of payload; {count} tokens of {codebook_size} codes take "
            f"{packed_size(max(count, 0), codebook_size)}"
        )
    tokens = np.empty(count, np.int64)
    block = block_tokens(codebook_size)
    size = _block_bytes(block, codebook_size)
    full = count // block
    if full:
        _unpack_blocks(data, size, tokens[: full * block].reshape(full, block), codebook_size)
    if rest := count - full * block:
        tail = data[full * size :]
        _unpack_blocks(tail, len(tail), tokens[-rest:].reshape(1, rest), codebook_size)
    return tokens


def _unpack_blocks(data: bytes, size: int, out: np.ndarray, codebook_size: int) -> None:
    """Fill `out` [blocks, tokens] from blocks of `size` bytes."""
    per_digit, base = _digit(codebook_size)
    num_blocks, block = out.shape
    num_digits = -(-block // per_digit)
    limit = codebook_size**block
    digits = np.empty((num_blocks, num_digits), np.int64)
    for index in range(num_blocks):
        value = int.from_bytes(data[index * size : (index + 1) * size], "little")
        if value >= limit:
            raise ContainerError(f"the payload is damaged: block {index} holds a value out of range")
        row = []
        for _ in range(num_digits):
            value, digit = divmod(value, base)
            row.append(digit)
        digits[index] = row
    for offset in range(per_digit):
        columns = out[:, offset::per_digit]
        digits, remainder = np.divmod(digits, codebook_size) if per_digit > 1 else (digits, digits)
        columns[:] = remainder[:, : columns.shape[1]]


def _to_digits(blocks: np.ndarray, codebook_size: int, per_digit: int) -> np.ndarray:
    """Join tokens to digits below 2**63: [blocks, tokens] -> [blocks, ceil(tokens / per_digit)]."""
    digits = np.zeros((blocks.shape[0], -(-blocks.shape[1] // per_digit)), np.int64)
    for offset in reversed(range(per_digit)):
        columns = blocks[:, offset::per_digit]
        if per_digit > 1:
            digits *= codebook_size
        digits[:, : columns.shape[1]] += columns
    return digits


def _digit(codebook_size: int) -> tuple[int, int]:
    """How many tokens fit one digit of at most 63 bits, and the digit's base."""
    per_digit = 1
    while codebook_size ** (per_digit + 1) <= 2**63:
        per_digit += 1
    return per_digit, codebook_size**per_digit


def _horner(digits: list[int], base: int) -> int:
    value = 0
    for digit in reversed(digits):
        value = value * base + digit
    return value


def _block_bytes(count: int, codebook_size: int) -> int:
    """Bytes of one block: the least m with K**count <= 256**m."""
    return -(-(codebook_size**count - 1).bit_length() // 8)


def _check_codebook_size(codebook_size: int) -> None:
    if not 2 <= codebook_size <= MAX_CODEBOOK_SIZE:
        raise ContainerError(f"codebook size {codebook_size}; allowed are 2 to 2**63")

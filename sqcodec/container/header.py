"""The header of a code file: what it says about its tokens, its bytes, and what is allowed (docs/code-file.md)."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

from sqcodec.entropy.blocks import varint
from sqcodec.rates import BitRates

from .payload import ContainerError, check_codebook_size

MAGIC = b"\x89SQC"
VERSION = 1
VERSION_NESTED = 2
"""Of files of nested tokens; all others stay readable by programs that know version 1."""
PAYLOAD_MIXED_RADIX = 0
PAYLOAD_ENTROPY = 1
HASH_BYTES = 8
MAX_CHANNELS = 1024
MAX_SAMPLE_RATE = 2**31 - 1
MAX_COUNT = 2**62
MAX_NAME_BYTES = 255
MAX_BITS = 62
MAX_HOP_LENGTH = 2**31 - 1

PREFIX_BYTES = 8  # magic 4, version 1, payload kind 1, header length 2
CRC_BYTES = 4


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


def dump_header(header: CodeHeader) -> bytes:
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
    length = PREFIX_BYTES + len(body) + CRC_BYTES
    head = MAGIC + bytes([version, header.payload_kind]) + length.to_bytes(2, "little") + body
    return head + crc(head)


def load_header(data: bytes) -> tuple[CodeHeader, int]:
    """Header and the offset of the payload."""
    if not data:
        raise ContainerError("empty: 0 bytes where a code file should be")
    if data[:4] != MAGIC[: len(data[:4])]:
        raise ContainerError(f"not a code file: it starts with {data[:4]!r}, not {MAGIC!r}")
    if len(data) < PREFIX_BYTES:
        raise ContainerError(f"truncated in the header: {len(data)} bytes")
    version, payload_kind, length = data[4], data[5], int.from_bytes(data[6:8], "little")
    if version not in (VERSION, VERSION_NESTED):
        raise ContainerError(f"version {version} of the code file; this program reads up to {VERSION_NESTED}")
    if len(data) < length:
        raise ContainerError(f"truncated in the header: {len(data)} bytes of {length}")
    if length < PREFIX_BYTES + CRC_BYTES:
        raise ContainerError(f"the header is damaged: a length of {length} bytes is too short")
    end = length - CRC_BYTES
    if crc(data[:end]) != data[end:length]:
        raise ContainerError("the header is damaged: its CRC-32 does not match")
    if payload_kind not in (PAYLOAD_MIXED_RADIX, PAYLOAD_ENTROPY):
        raise ContainerError(
            f"unknown payload kind {payload_kind}; known are {PAYLOAD_MIXED_RADIX} and {PAYLOAD_ENTROPY}"
        )
    fields = _Fields(data[PREFIX_BYTES:end])
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
    check_codebook_size(header.codebook_size)
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


def crc(data: bytes | memoryview) -> bytes:
    """CRC-32, four bytes, the lowest first."""
    return zlib.crc32(data).to_bytes(CRC_BYTES, "little")

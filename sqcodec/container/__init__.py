"""The `.sqc` code file: tokens of one recording as bytes. Specified in docs/code-file.md.

Bytes only: imports no model. A file is a header with its own CRC-32, a payload (mixed radix, or entropy coded with the
model's predictor), and a CRC-32 over all before it. Reading checks each length against the bytes that are there before
it allocates anything, so the memory used is bounded by the size of the file.

Letters: C channels, N tokens per channel, K codebook size.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from sqcodec.entropy import BlockReader, BlockWriter, Predictor
from sqcodec.files import write_atomically

from .header import (
    CRC_BYTES,
    MAGIC,
    PAYLOAD_ENTROPY,
    PAYLOAD_MIXED_RADIX,
    CodeHeader,
    crc,
    dump_header,
    load_header,
)
from .payload import ContainerError, block_bytes, block_tokens, pack_tokens, packed_size, unpack_tokens

__all__ = [
    "MAGIC", "PAYLOAD_ENTROPY", "PAYLOAD_MIXED_RADIX", "CodeHeader", "ContainerError", "Packer", "cut", "dump_header",
    "dumps", "fixed_rate_size", "join", "loads", "loads_header", "open_tokens", "pack_tokens", "packed_size", "read",
    "unpack_tokens", "write",
]  # fmt: skip

FindPredictor = Callable[[CodeHeader], Predictor]


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
    head = dump_header(header)
    count = header.num_channels * header.num_tokens
    if header.payload_kind == PAYLOAD_ENTROPY:
        _open_blocks(bytes(payload), header)
    elif len(payload) != packed_size(count, header.codebook_size):
        raise ContainerError(f"a payload of {len(payload)} bytes does not hold the {count} tokens of the header")
    return b"".join((head, payload, zlib.crc32(payload, zlib.crc32(head)).to_bytes(CRC_BYTES, "little")))


def fixed_rate_size(header: CodeHeader) -> int:
    """Bytes of the code file of these tokens that is not entropy coded."""
    size = packed_size(header.num_channels * header.num_tokens, header.codebook_size)
    return len(dump_header(header)) + size + CRC_BYTES


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
    header, start = load_header(data)
    if header.payload_kind == PAYLOAD_ENTROPY:
        blocks = _open_blocks(data[start : max(start, len(data) - CRC_BYTES)], header)
        _check_crc(data)
        return header, _predicted(blocks, header, find_predictor)
    count = header.num_channels * header.num_tokens
    size = packed_size(count, header.codebook_size)
    expected = start + size + CRC_BYTES
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
    if crc(memoryview(data)[:-CRC_BYTES]) != data[-CRC_BYTES:]:
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
    size, first = block_bytes(block, header.codebook_size), 0
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
    return load_header(data)[0]


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



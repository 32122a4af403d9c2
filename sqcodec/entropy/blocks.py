"""Tokens to the bytes of payload kind 1 and back, block by block. Specified in docs/code-file.md.

Letters: C channels, S symbols of a token.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .predictor import HASH_BYTES, Predictor, Runner
from .range_coder import RangeDecoder, RangeEncoder
from .symbols import join, split, symbol_count

BLOCK_TOKENS = 2048
"""Per channel, in a block as it is written; a reader takes any number."""
TOKENS_PER_BYTE = 32
"""Most tokens that one byte may stand for: it bounds what a small file can ask for."""
PIECE = 256
"""Tokens that the predictor is asked for at once."""


class BlockWriter:
    """Codes tokens as they come; a block is written whenever it is full.

    Args:
        codebook_size, levels: of the tokens. Raises ValueError where they are not the predictor's.
        block_tokens: per channel. Smaller blocks cost 4 to 5 bytes each, and can be sent sooner.
    """

    def __init__(
        self,
        predictor: Predictor,
        channels: int,
        codebook_size: int,
        levels: tuple[int, ...] | None = None,
        block_tokens: int = BLOCK_TOKENS,
    ) -> None:
        self._alphabets, self._block = predictor.alphabet_sizes, block_tokens
        self._symbols = needed_symbols(predictor, codebook_size, levels)
        self._runner, self._channels = Runner(predictor, self._symbols, channels), channels
        self._held = np.zeros((channels, 0), np.int64)
        self._coder = RangeEncoder()
        self._data = bytearray(bytes.fromhex(predictor.hash[: 2 * HASH_BYTES]))

    def push(self, tokens: np.ndarray) -> None:
        """Integers [C, n], any n, in range."""
        self._held = np.concatenate([self._held, tokens], axis=1)
        while self._held.shape[1] >= self._block:
            self._write(self._held[:, : self._block])
            self._held = self._held[:, self._block :]

    def take(self) -> bytes:
        """The bytes that are done; the first ones begin with the predictor's hash."""
        data, self._data = bytes(self._data), bytearray()
        return data

    def flush(self) -> bytes:
        """Ends the block that has begun, so that a reader can have all tokens; ``take`` with it."""
        if self._held.shape[1]:
            self._write(self._held)
            self._held = self._held[:, :0]
        return self.take()

    def _write(self, tokens: np.ndarray) -> None:
        encode = self._coder.encode
        for first in range(0, tokens.shape[1], PIECE):
            symbols = split(tokens[:, first : first + PIECE], self._alphabets, self._symbols)
            starts, sizes, totals = [], [], []
            for place, found in enumerate(self._runner.frequencies(symbols)):
                ends = found.cumsum(axis=-1)
                chosen = symbols[:, :, place, None]
                size, end = (np.take_along_axis(array, chosen, axis=-1)[:, :, 0].T for array in (found, ends))
                starts.append(end - size)
                sizes.append(size)
                totals.append(ends[:, :, -1].T)
            columns = [np.stack(column, axis=-1).ravel().tolist() for column in (starts, sizes, totals)]
            for start, size, total in zip(*columns, strict=True):
                encode(start, size, total)
        data = self._coder.finish().ljust(_fewest_bytes(tokens.size), b"\0")
        self._data += varint(tokens.shape[1]) + varint(len(data)) + data


class BlockReader:
    """Reads a payload. All lengths are checked at once; tokens are decoded as they are asked for.

    Raises ValueError, saying what is wrong, where the blocks do not hold ``num_tokens`` tokens for each channel.
    """

    def __init__(self, payload: bytes, channels: int, num_tokens: int) -> None:
        if len(payload) < HASH_BYTES:
            raise ValueError(f"the payload ends early: {len(payload)} bytes")
        self.predictor_hash = payload[:HASH_BYTES].hex()
        """First 16 digits."""
        self._payload, self._channels = payload, channels
        self._blocks, position, left = [], HASH_BYTES, num_tokens
        while left:
            count, position = _read_varint(payload, position)
            size, position = _read_varint(payload, position)
            if not 1 <= count <= left:
                raise ValueError(f"a block of {count} tokens, where {left} are left")
            if size > len(payload) - position:
                raise ValueError(f"truncated: a block of {size} bytes, where {len(payload) - position} are left")
            if size < _fewest_bytes(count * channels):
                raise ValueError(f"a block of {size} bytes cannot hold {count} x {channels} tokens")
            self._blocks.append((count, position, position + size))
            position, left = position + size, left - count
        if position != len(payload):
            raise ValueError(f"{len(payload) - position} bytes too many after the last block")

    def tokens(
        self, predictor: Predictor, codebook_size: int, levels: tuple[int, ...] | None = None, piece: int = 4096
    ) -> Iterator[np.ndarray]:
        """Pieces int64 [C, n], n at most ``piece``. Raises ValueError: another predictor, or a damaged block."""
        if predictor.hash[: 2 * HASH_BYTES] != self.predictor_hash:
            raise ValueError(
                f"coded with the predictor {self.predictor_hash}; the one here is {predictor.hash[: 2 * HASH_BYTES]}"
            )
        runner = Runner(predictor, needed_symbols(predictor, codebook_size, levels), self._channels)
        for count, first, last in self._blocks:
            decoder = RangeDecoder(self._payload[first:last])

            def read(found: list[int], decoder: RangeDecoder = decoder) -> int:
                target, start, symbol = decoder.target(sum(found)), 0, 0
                while target >= start + found[symbol]:
                    start, symbol = start + found[symbol], symbol + 1
                decoder.remove(start, found[symbol])
                return symbol

            for start in range(0, count, piece):
                rows = [runner.decode(read) for _ in range(min(piece, count - start))]
                yield join(np.array(rows, np.int64).swapaxes(0, 1), predictor.alphabet_sizes)
            if decoder.unread and last - first > _fewest_bytes(count * self._channels):
                raise ValueError(f"the payload is damaged: {decoder.unread} bytes of a block were not needed")


def needed_symbols(predictor: Predictor, codebook_size: int, levels: tuple[int, ...] | None) -> int:
    """Symbols that are coded of a token. Raises ValueError where the predictor is for other tokens."""
    count = symbol_count(predictor.alphabet_sizes, codebook_size, levels)
    if count is None:
        raise ValueError(
            f"the predictor is for symbols of {list(predictor.alphabet_sizes)}, not for tokens of "
            f"{codebook_size} codes" + (f", levels {list(levels)}" if levels else "")
        )
    return count


def _fewest_bytes(tokens: int) -> int:
    return -(-tokens // TOKENS_PER_BYTE)


def varint(value: int) -> bytes:
    """Unsigned LEB128: 7 bits a byte, least significant first, the high bit set on all but the last."""
    value = int(value)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 63, 7):
        if position >= len(data):
            raise ValueError("truncated: the payload ends before its last block")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            if byte == 0 and shift:
                break
            return value, position
    raise ValueError("a number in the payload is not a canonical LEB128")

"""Tokens as a byte stream: a short header, then one record of fixed size per frame.

Header, 16 bytes: ``SQCS``, version 1, channels, record size, 0, and the first 8 bytes of the model's hash. A record
holds the tokens of all channels of a frame as digits to base K, first token lowest, in as few whole bytes as fit:
5 bytes for two tokens of 7^6 (3.3 kbit/s at 83 frames a second). For files, ``.sqc`` is smaller and checked.

Version 2 is for nested tokens, whose bits may change between frames. Its header has the bits of the first tokens in the
place of the record size; K is 2^bits. A record of bytes 255 alone is followed by one byte: the bits of the tokens from
here on, or 0 where those bytes are a frame themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from sqcodec.rates import BitRates

MAGIC, VERSION, VERSION_NESTED = b"SQCS", 1, 2


class TokenFormat:
    """How frames of a model become records.

    Args:
        codebook_size: K, in the beginning where tokens are nested.
        tokens_per_frame: of each channel.
        weights_hash: the model's hash (hex).
        rates: of a model with nested tokens.
    """

    def __init__(
        self,
        codebook_size: int,
        tokens_per_frame: int,
        num_channels: int,
        weights_hash: str,
        rates: BitRates | None = None,
    ) -> None:
        if num_channels > 255:
            raise ValueError(f"{num_channels} channels: a token stream carries 255 at most")
        self.tokens_per_frame, self.num_channels, self.rates = tokens_per_frame, num_channels, rates
        self.digits = tokens_per_frame * num_channels
        self._hash = bytes.fromhex(weights_hash)[:8].ljust(8, b"\0")
        self._set_size(codebook_size)

    def _set_size(self, codebook_size: int) -> None:
        self.codebook_size = codebook_size
        self.record_size = -(-(codebook_size**self.digits - 1).bit_length() // 8)
        self._mark = b"\xff" * self.record_size

    @property
    def bits(self) -> int | None:
        """Of the tokens now, where they are nested."""
        return self.codebook_size.bit_length() - 1 if self.rates else None

    def change(self, bits: int) -> bytes:
        """From here on tokens have so many bits; what tells the reader so."""
        mark = self._mark
        self._set_bits(bits)
        return mark + bytes([bits])

    def _set_bits(self, bits: int) -> None:
        if self.rates is None or not self.rates.lowest <= bits <= self.rates.highest:
            raise ValueError(f"stdin: damaged token stream: tokens of {bits} bits, where the model has {self.rates}")
        self._set_size(2**bits)

    @property
    def header(self) -> bytes:
        if self.bits is not None:
            return MAGIC + bytes([VERSION_NESTED, self.num_channels, self.bits, 0]) + self._hash
        return MAGIC + bytes([VERSION, self.num_channels, min(self.record_size, 255), 0]) + self._hash

    def check(self, header: bytes, matches: Callable[[str], bool]) -> None:
        """ValueError unless a stream with this header was made by the model; ``matches`` judges its hash. The bits of
        nested tokens are taken from it."""
        if header[:4] != MAGIC or header[4] not in (VERSION, VERSION_NESTED):
            raise ValueError("stdin: not a token stream of this version; 'sqcodec stream encode' makes them")
        same = header[8:] == self._hash or matches(header[8:].hex())
        if same and header[4] == VERSION_NESTED:
            self._set_bits(header[6])
        if not same or header[4:8] != self.header[4:8]:
            raise ValueError("stdin: this token stream was made by other weights; name the model with --model")

    def dumps(self, tokens: np.ndarray) -> bytes:
        """Tokens [C, N Q] to records."""
        frames = tokens.reshape(self.num_channels, -1, self.tokens_per_frame).transpose(1, 0, 2)
        records = [self._join(frame) for frame in frames.reshape(-1, self.digits).tolist()]
        if self.rates is not None:
            records = [record + b"\0" if record == self._mark else record for record in records]
        return b"".join(records)

    def read(self, stream: Any) -> Iterator[np.ndarray]:
        """Tokens [C, N Q] of ``bits`` as they arrive. Raises ValueError at the end if a record is incomplete."""
        read, rest = getattr(stream, "read1", stream.read), b""
        while data := read(2**16):
            rest += data
            used = -1
            while used:
                records, used, bits = self._take(rest)
                rest = rest[used:]
                if records:
                    yield self.loads(records)
                if bits:
                    self._set_bits(bits)
        if rest:
            raise ValueError("stdin: the token stream is cut off in a record")

    def _take(self, data: bytes) -> tuple[bytes, int, int]:
        """Records of one size at the beginning, how many bytes are done with, and the bits after them, if they
        change."""
        size = self.record_size
        if self.rates is None:
            whole = len(data) // size * size
            return data[:whole], whole, 0
        records: list[bytes] = []
        position = 0
        while position + size <= len(data):
            record = data[position : position + size]
            if record == self._mark:
                if position + size == len(data):
                    break
                bits = data[position + size]
                position += 1
                if bits:
                    return b"".join(records), position + size, bits
            records.append(record)
            position += size
        return b"".join(records), position, 0

    def loads(self, data: bytes) -> np.ndarray:
        """Whole records to tokens [C, N Q]."""
        import numpy as np

        size = self.record_size
        frames = [self._split(data[start : start + size]) for start in range(0, len(data), size)]
        array = np.array(frames, np.int64).reshape(-1, self.num_channels, self.tokens_per_frame)
        return array.transpose(1, 0, 2).reshape(self.num_channels, -1)

    def _join(self, frame: list[int]) -> bytes:
        value = 0
        for token in reversed(frame):
            value = value * self.codebook_size + token
        return value.to_bytes(self.record_size, "little")

    def _split(self, record: bytes) -> list[int]:
        value, frame = int.from_bytes(record, "little"), []
        for _ in range(self.digits):
            value, token = divmod(value, self.codebook_size)
            frame.append(token)
        if value:
            raise ValueError("stdin: damaged token stream: a record is larger than any tokens make it")
        return frame


def read_header(stream: Any) -> bytes:
    """The 16 bytes in front; ValueError where there are fewer."""
    header = stream.read(16)
    if len(header) < 16:
        raise ValueError("stdin: the token stream is cut off in its header")
    return header

"""Tokens as a byte stream: a short header, then one record of fixed size per frame.

Header, 16 bytes: ``SQCS``, version 1, channels, record size, 0, and the first 8 bytes of the model's hash. A record
holds the tokens of all channels of a frame as digits to base K, first token lowest, in as few whole bytes as fit:
5 bytes for two tokens of 7^6 (3.3 kbit/s at 83 frames a second). For files, ``.sqc`` is smaller and checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MAGIC, VERSION = b"SQCS", 1


class TokenFormat:
    """How frames of a model become records.

    Args:
        codebook_size: K.
        tokens_per_frame: of each channel.
        weights_hash: the model's hash (hex).
    """

    def __init__(self, codebook_size: int, tokens_per_frame: int, num_channels: int, weights_hash: str) -> None:
        if num_channels > 255:
            raise ValueError(f"{num_channels} channels: a token stream carries 255 at most")
        self.codebook_size, self.tokens_per_frame, self.num_channels = codebook_size, tokens_per_frame, num_channels
        self.digits = tokens_per_frame * num_channels
        self.record_size = -(-(codebook_size**self.digits - 1).bit_length() // 8)
        self._hash = bytes.fromhex(weights_hash)[:8].ljust(8, b"\0")

    @property
    def header(self) -> bytes:
        return MAGIC + bytes([VERSION, self.num_channels, min(self.record_size, 255), 0]) + self._hash

    def check(self, header: bytes, matches: Callable[[str], bool]) -> None:
        """ValueError unless a stream with this header was made by the model; ``matches`` judges its hash."""
        if header[:5] != self.header[:5]:
            raise ValueError("stdin: not a token stream of this version; 'sqcodec stream encode' makes them")
        if header[5:8] != self.header[5:8] or not (header[8:] == self._hash or matches(header[8:].hex())):
            raise ValueError("stdin: this token stream was made by other weights; name the model with --model")

    def dumps(self, tokens: np.ndarray) -> bytes:
        """Tokens [C, N Q] to records."""
        frames = tokens.reshape(self.num_channels, -1, self.tokens_per_frame).transpose(1, 0, 2)
        return b"".join(self._join(frame) for frame in frames.reshape(-1, self.digits).tolist())

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


def read_records(stream: Any, record_size: int) -> Iterator[bytes]:
    """Whole records, as they arrive. Raises ValueError at the end if one is incomplete."""
    read, rest = getattr(stream, "read1", stream.read), b""
    while data := read(2**16):
        data = rest + data
        whole = len(data) // record_size * record_size
        rest = data[whole:]
        yield data[:whole]
    if rest:
        raise ValueError("stdin: the token stream is cut off in a record")

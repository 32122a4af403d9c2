"""Audio as a byte stream: raw PCM, or wav whose length nobody knows yet. Blocks arrive and leave at once."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

READ_BYTES = 2**16
ENCODINGS = {"s16": ("<i2", 2), "f32": ("<f4", 4)}
UNKNOWN_LENGTH = 2**32 - 1


class PCMReader:
    """Samples from a binary stream, as they come.

    Args:
        stream: readable; ``read1`` is used where it exists, so that a block is what has arrived.
        encoding: "s16" or "f32" (little-endian), or "wav": then the header says all three.
    """

    def __init__(self, stream: Any, encoding: str, sample_rate: int, num_channels: int) -> None:
        self._read = getattr(stream, "read1", stream.read)
        self.sample_rate, self.num_channels = sample_rate, num_channels
        self._left: int | None = None
        self._encoding = self._read_header() if encoding == "wav" else encoding

    def blocks(self) -> Iterator[np.ndarray]:
        """float32 [C, t] each; an incomplete sample at the very end is dropped."""
        import numpy as np

        kind, size = ENCODINGS[self._encoding]
        frame, rest = size * self.num_channels, b""
        while self._left != 0:
            data = self._read(READ_BYTES if self._left is None else min(READ_BYTES, self._left))
            if not data:
                return
            self._left = None if self._left is None else self._left - len(data)
            data = rest + data
            whole = len(data) // frame * frame
            rest = data[whole:]
            values = np.frombuffer(data[:whole], kind).reshape(-1, self.num_channels).T
            yield values.astype(np.float32) / (32768.0 if kind == "<i2" else 1.0)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._read(count - len(data))
            if not part:
                raise ValueError("stdin: the wav header is cut off; for raw samples use --input s16 or f32")
            data += part
        return data

    def _read_header(self) -> str:
        riff, _, wave = struct.unpack("<4sI4s", self._exactly(12))
        if riff not in (b"RIFF", b"RF64") or wave != b"WAVE":
            raise ValueError("stdin: no wav header; for raw samples use --input s16 or f32 and --rate")
        encoding = ""
        while True:
            name, size = struct.unpack("<4sI", self._exactly(8))
            if name == b"data":
                break
            chunk = self._exactly(size + size % 2)
            if name == b"fmt ":
                kind, self.num_channels, self.sample_rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
                kind = struct.unpack("<H", chunk[24:26])[0] if kind == 0xFFFE and size >= 26 else kind
                encoding = {(1, 16): "s16", (3, 32): "f32"}.get((kind, bits), "")
                if not encoding or not self.num_channels or not self.sample_rate:
                    found = f"format {kind} with {bits} bits"
                    raise ValueError(f"stdin: a wav of {found}; 16-bit PCM or 32-bit float is needed")
        if not encoding:
            raise ValueError("stdin: a wav without a format chunk")
        self._left = size if 0 < size < UNKNOWN_LENGTH - 2**16 else None
        return encoding


class PCMWriter:
    """Samples to a binary stream, at once. Encodings as in ``PCMReader``; "wav" is 16-bit, of unknown length."""

    def __init__(self, stream: Any, encoding: str, sample_rate: int, num_channels: int) -> None:
        self._stream, self._encoding = stream, "s16" if encoding == "wav" else encoding
        if encoding == "wav":
            frame, size = 2 * num_channels, UNKNOWN_LENGTH
            layout = struct.pack("<HHIIHH", 1, num_channels, sample_rate, sample_rate * frame, frame, 16)
            stream.write(b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + struct.pack("<I", 16) + layout)
            stream.write(b"data" + struct.pack("<I", size))
            stream.flush()

    def write(self, block: np.ndarray) -> None:
        """float [C, t]; 16-bit output is clipped."""
        import numpy as np

        if self._encoding == "s16":
            block = np.clip(np.rint(block * 32768.0), -32768, 32767)
        self._stream.write(np.ascontiguousarray(block.T).astype(ENCODINGS[self._encoding][0]).tobytes())
        self._stream.flush()

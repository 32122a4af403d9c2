"""Audio as a byte stream: raw PCM, or wav whose length nobody knows yet. Blocks arrive and leave at once."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

READ_BYTES = 2**16
MOST_HEADER_BYTES = 2**26
MOST_RATE, MOST_CHANNELS = 384_000, 64
ENCODINGS = {"s16": ("<i2", 2), "f32": ("<f4", 4)}
UNKNOWN_LENGTH = 2**32 - 1


class PCMReader:
    """Samples from a binary stream, as they come.

    Args:
        stream: readable; ``read1`` is used where it exists, so that a block is what has arrived.
        encoding: "s16" or "f32" (little-endian), or "wav": then the header says all three.
    Raises:
        ValueError: no such wav, a file of audio where raw samples are expected, an absurd rate or number of channels.
    """

    def __init__(self, stream: Any, encoding: str, sample_rate: int, num_channels: int) -> None:
        self._read = getattr(stream, "read1", stream.read)
        self.sample_rate, self.num_channels = sample_rate, num_channels
        self._left: int | None = None
        self._start = b""
        self._encoding = self._read_header() if encoding == "wav" else encoding
        check_format(self.sample_rate, self.num_channels)
        if encoding != "wav":
            self._refuse_files()

    def blocks(self) -> Iterator[np.ndarray]:
        """float32 [C, t] each; an incomplete sample at the very end is dropped."""
        import numpy as np

        kind, size = ENCODINGS[self._encoding]
        frame, rest = size * self.num_channels, b""
        for part in self._parts():
            data = rest + part
            whole = len(data) // frame * frame
            rest = data[whole:]
            values = np.frombuffer(data[:whole], kind).reshape(-1, self.num_channels).T
            yield values.astype(np.float32) / (32768.0 if kind == "<i2" else 1.0)

    def _parts(self) -> Iterator[bytes]:
        if self._start:
            yield self._start
        while self._left != 0:
            part = self._read(READ_BYTES if self._left is None else min(READ_BYTES, self._left))
            if not part:
                break
            self._left = None if self._left is None else self._left - len(part)
            yield part
        if self._left:
            log.warning("stdin: cut off: the wav promised %d more bytes of samples", self._left)

    def _refuse_files(self) -> None:
        """A file of audio is no raw audio: its header would be heard."""
        while len(self._start) < 12 and (part := self._read(12 - len(self._start))):
            self._start += part
        if self._start[:4] in (b"RIFF", b"RF64") and self._start[8:] == b"WAVE":
            raise ValueError("stdin: this is a wav file, not raw samples: add --input wav")
        if self._start[:4] in (b"fLaC", b"OggS", b"FORM", b".snd", b"caff") or self._start[:3] == b"ID3":
            raise ValueError("stdin: this is an audio file, not raw samples: use 'sqcodec encode', or ffmpeg -f s16le")

    def _exactly(self, count: int) -> bytes:
        parts, left = [], count
        while left:
            part = self._read(min(left, READ_BYTES))
            if not part:
                raise ValueError("stdin: the wav header is cut off; for raw samples use --input s16 or f32")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _read_header(self) -> str:
        riff, _, wave = struct.unpack("<4sI4s", self._exactly(12))
        if riff not in (b"RIFF", b"RF64") or wave != b"WAVE":
            raise ValueError("stdin: no wav header; for raw samples use --input s16 or f32 and --rate")
        encoding, skipped = "", 0
        while True:
            name, size = struct.unpack("<4sI", self._exactly(8))
            if name == b"data":
                break
            skipped += size
            if skipped > MOST_HEADER_BYTES:
                raise ValueError(f"stdin: a wav with more than {MOST_HEADER_BYTES} bytes before its samples")
            chunk = self._exactly(size + size % 2)
            if name == b"fmt ":
                encoding = self._read_format(chunk)
        if not encoding:
            raise ValueError("stdin: a wav without a format chunk")
        from sqcodec.audio import is_unknown

        self._left = None if is_unknown(size) else size
        return encoding

    def _read_format(self, chunk: bytes) -> str:
        if len(chunk) < 16:
            raise ValueError(f"stdin: a wav with a format chunk of {len(chunk)} bytes; 16 or more are needed")
        kind, self.num_channels, self.sample_rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
        kind = struct.unpack("<H", chunk[24:26])[0] if kind == 0xFFFE and len(chunk) >= 26 else kind
        encoding = {(1, 16): "s16", (3, 32): "f32"}.get((kind, bits), "")
        if not encoding:
            found = f"format {kind} with {bits} bits"
            raise ValueError(f"stdin: a wav of {found}; 16-bit PCM or 32-bit float is needed")
        return encoding


def check_format(sample_rate: int, num_channels: int) -> None:
    """ValueError for what no microphone gives: memory is taken by both."""
    if not 1000 <= sample_rate <= MOST_RATE or not 1 <= num_channels <= MOST_CHANNELS:
        raise ValueError(
            f"{num_channels} channels at {sample_rate} Hz; a stream has 1 to {MOST_CHANNELS} at 1000 to {MOST_RATE} Hz"
        )


class PCMWriter:
    """Samples to a binary stream, at once. Encodings as in ``PCMReader``; "wav" is 16-bit, of unknown length."""

    def __init__(self, stream: Any, encoding: str, sample_rate: int, num_channels: int) -> None:
        check_format(sample_rate, num_channels)
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

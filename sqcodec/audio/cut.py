"""Whether an audio file holds all that it promises: libsndfile reads what is left of a cut one without a word.

Looked at are the sizes in the headers, the pages of Ogg (sequence numbers, the mark of the end) and the frames of mp3.
A size of 0 or near 2^31 or 2^32 means that whoever wrote the header to a pipe did not know it. Formats that do not
say how long they are (IRCAM, PVF, PAF, XI) cannot be told.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import IO

_MOST_STEPS = 2**21  # chunks, pages or frames; 15 hours of mp3, and a few seconds for a file that is made to waste time


def find_cut(file: IO[bytes], format: str, num_samples: int) -> str:
    """What is missing, as half a sentence; "" for a whole file, and where it cannot be known.

    Args:
        file: seekable; its position is kept.
        format: as libsndfile calls it. num_samples: per channel, as libsndfile counts them.
    """
    check = _CHECKS.get(format)
    if check is None:
        return ""
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    try:
        return check(_Bytes(file, size), num_samples)
    except (struct.error, ValueError):  # an odd header; libsndfile has read it, so that nothing is known to be missing
        return ""
    finally:
        file.seek(position)


def is_unknown(size: int) -> bool:
    """Whether a size of 32 bits stands for "not known yet", as recorders write it to a pipe."""
    return size == 0 or size >= 2**32 - 2**16 or 2**31 - 2**16 <= size <= 2**31


class _Bytes:
    """A file as a table of bytes."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size

    def at(self, offset: int, count: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(count)

    def unpack(self, layout: str, offset: int) -> tuple:
        return struct.unpack(layout, self.at(offset, struct.calcsize(layout)))

    def missing(self, start: int, length: int) -> str:
        """About samples that take ``length`` bytes from ``start``."""
        there = max(self.size - start, 0)
        return f"{there} of {length} bytes of samples are there" if there < length else ""


def _chunks(data: _Bytes, offset: int, layout: str, align: int = 2, own: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content starts, length) of each chunk; ``own``: bytes of its header that a length counts."""
    header = struct.calcsize(layout)
    for _ in range(_MOST_STEPS):
        if offset + header > data.size:
            return
        name, length = data.unpack(layout, offset)
        yield name, offset + header, length - own
        offset += max(-(-(header + length - own) // align) * align, header)


def _riff(data: _Bytes, _: int) -> str:
    order = ">" if data.at(0, 4) == b"RIFX" else "<"
    long = None
    for name, start, length in _chunks(data, 12, f"{order}4sI"):
        if name == b"ds64":
            (long,) = data.unpack("<Q", start + 8)
        if name == b"data":
            length = long if long is not None and length >= 2**32 - 1 else length
            return "" if long is None and is_unknown(length) else data.missing(start, length)
    return ""


def _iff(data: _Bytes, _: int) -> str:
    for name, start, length in _chunks(data, 12, ">4sI"):
        if name in (b"SSND", b"BODY"):
            return "" if is_unknown(length) else data.missing(start, length)
    return ""


def _au(data: _Bytes, _: int) -> str:
    start, length = data.unpack("<II" if data.at(0, 4) == b"dns." else ">II", 4)
    return "" if is_unknown(length) else data.missing(start, length)


def _w64(data: _Bytes, _: int) -> str:
    for name, start, length in _chunks(data, 40, "<16sQ", align=8, own=24):
        if name[:4] == b"data":
            return data.missing(start, length)
    return ""


def _caf(data: _Bytes, _: int) -> str:
    for name, start, length in _chunks(data, 8, ">4sq", align=1):
        if name == b"data":
            return "" if length < 0 else data.missing(start, length)
    return ""


def _voc(data: _Bytes, _: int) -> str:
    (offset,) = data.unpack("<H", 20)
    for _step in range(_MOST_STEPS):
        kind = data.at(offset, 1)
        if kind in (b"", b"\0"):
            return ""
        length = int.from_bytes(data.at(offset + 1, 3), "little")
        if offset + 4 + length > data.size:
            return data.missing(offset + 4, length)
        offset += 4 + length
    return ""


def _nist(data: _Bytes, _: int) -> str:
    header = data.at(0, 1024).decode("latin-1").split("\n")
    fields = {words[0]: words[2] for words in (line.split() for line in header) if len(words) == 3}
    names = ("sample_count", "channel_count", "sample_n_bytes")
    if not all(name in fields for name in names):
        return ""
    count, channels, width = (int(fields[name]) for name in names)
    return data.missing(int(header[1]), count * channels * width)


def _mat5(data: _Bytes, _: int) -> str:
    order = "<" if data.at(126, 2) == b"IM" else ">"
    for _name, start, length in _chunks(data, 128, f"{order}4sI", align=1):
        if missing := data.missing(start, length - 8):  # libsndfile counts a header too many
            return missing
    return ""


def _counted(layout: str, offset: int) -> Callable[[_Bytes, int], str]:
    """For headers with the number of samples in a fixed place."""

    def check(data: _Bytes, num_samples: int) -> str:
        (promised,) = data.unpack(layout, offset)
        return f"{num_samples} of {promised} samples are there" if num_samples < promised else ""

    return check


def _mat4(data: _Bytes, num_samples: int) -> str:
    order = "<" if data.at(0, 4) == b"\0\0\0\0" else ">"
    (name,) = data.unpack(f"{order}I", 16)  # the first matrix is one double, the sample rate
    rows, columns = data.unpack(f"{order}II", 20 + name + 8 + 4)
    return f"{num_samples} of {columns} samples are there" if num_samples < columns else ""


def _ogg(data: _Bytes, _: int) -> str:
    """Every page carries the serial number of its stream and counts on from the one before."""
    offset, pages, open_streams = 0, dict[int, int](), set[int]()
    for _step in range(_MOST_STEPS):
        if offset == data.size:
            return "the end of the stream is not there" if open_streams else ""
        header = data.at(offset, 27)
        if header[:4] != b"OggS"[: len(header)]:
            return f"the bytes at {offset} are not a page of Ogg" if open_streams else ""
        if len(header) < 27:
            return "the last page is cut"
        flags, serial, number, segments = struct.unpack("<xxxxxB8xII4xB", header)
        if pages.get(serial, number - 1) != number - 1:
            return f"pages before byte {offset} are missing"
        pages[serial] = number
        (open_streams.discard if flags & 4 else open_streams.add)(serial)
        table = data.at(offset + 27, segments)
        offset += 27 + segments + sum(table)
        if len(table) < segments or offset > data.size:
            return "the last page is cut"
    return ""


_BIT_RATES = (  # kbit/s of layer 3: MPEG 1, then 2 and 2.5
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _mp3(data: _Bytes, _: int) -> str:
    """Frame after frame; the first may be a Xing header, which says how many there are."""
    offset, count, promised = 0, 0, None
    while (tag := data.at(offset, 10))[:3] == b"ID3":
        offset += 10 + sum((byte & 127) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
    for _step in range(_MOST_STEPS):
        length = _frame_length(data.at(offset, 4))
        if not length:  # the end, or tags behind it, or something that a decoder has to find its way through
            break
        if offset + length > data.size:
            return "the last frame is cut"
        if not count and promised is None:
            start = data.at(offset, 200)
            place = max(start.find(b"Xing"), start.find(b"Info"))
            flags = int.from_bytes(start[place + 4 : place + 8], "big")
            promised = int.from_bytes(start[place + 8 : place + 12], "big") if place > 0 and flags & 1 else 0
            count -= place > 0
        count, offset = count + 1, offset + length
    else:
        return ""
    if promised and count < promised - 1 and offset >= data.size - 4:  # some count the header itself
        return f"{count} of {promised} frames are there"
    return ""


def _frame_length(header: bytes) -> int:
    """Bytes of a frame of layer 3; 0 where there is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, bit_rate, rate, padding = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or bit_rate in (0, 15) or rate == 3:
        return 0
    kilobits = _BIT_RATES[version != 3][bit_rate - 1]
    return (144 if version == 3 else 72) * kilobits * 1000 // _RATES[version][rate] + padding


_CHECKS: dict[str, Callable[[_Bytes, int], str]] = {
    "WAV": _riff, "WAVEX": _riff, "RF64": _riff, "AIFF": _iff, "SVX": _iff, "AU": _au, "W64": _w64, "CAF": _caf,
    "VOC": _voc, "NIST": _nist, "MAT4": _mat4, "MAT5": _mat5, "AVR": _counted(">I", 26), "MPC2K": _counted("<I", 30),
    "WVE": _counted(">I", 18), "OGG": _ogg, "MP3": _mp3,
}  # fmt: skip

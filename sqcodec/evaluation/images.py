"""Spectrograms as PNG bytes, written with zlib alone."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from scipy import signal

_ANCHORS = ("000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4")
_RANGE_DB = 75.0


def spectrogram_png(samples: np.ndarray, sample_rate: int, reference_level: float, width: int = 480) -> bytes:
    """Samples [T] -> PNG, time from left to right, 0 Hz to half the rate from bottom to top.

    Args:
        reference_level: magnitude that is the brightest; 75 dB below it is black. The same for all pictures that
            are to be compared (`peak_level` of the original).
        width: pixels.
    """
    magnitude = _magnitude(samples, sample_rate, width)
    level = 20 * np.log10(np.maximum(magnitude, 1e-9) / max(reference_level, 1e-9))
    shade = np.clip(255 * (1 + level / _RANGE_DB), 0, 255).astype(np.uint8)
    return _encode(np.ascontiguousarray(shade[::-1]))


def peak_level(samples: np.ndarray, sample_rate: int) -> float:
    """The largest magnitude of the spectrogram."""
    return float(_magnitude(samples, sample_rate, 480).max())


def _magnitude(samples: np.ndarray, sample_rate: int, width: int) -> np.ndarray:
    """[bins, width], about one column a pixel."""
    window = 512 if sample_rate >= 16000 else 256
    samples = np.pad(np.float64(samples), (0, max(0, 2 * window - len(samples))))
    hop = max(1, len(samples) // width)
    _, _, spectrum = signal.stft(samples, sample_rate, nperseg=window, noverlap=max(0, window - min(hop, window)))
    columns = np.linspace(0, spectrum.shape[1] - 1, width).round().astype(int)
    return np.abs(spectrum)[1:, columns]


def _encode(pixels: np.ndarray) -> bytes:
    """uint8 [H, W] -> PNG with a palette (PNG specification, sections 5 and 11)."""
    height, width = pixels.shape
    colors = np.array([[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in _ANCHORS], np.float64)
    positions = np.linspace(0, len(colors) - 1, 256)
    palette = np.stack([np.interp(positions, np.arange(len(colors)), channel) for channel in colors.T], axis=1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette.round().astype(np.uint8).tobytes()),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

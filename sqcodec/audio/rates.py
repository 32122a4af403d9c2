"""Sample rates with soxr, whole or in blocks: T samples at rate a become ceil(T * b / a) at rate b."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real

import numpy as np
import soxr

LOWEST_RATE, HIGHEST_RATE = 1000, 768_000
"""Hz, of audio that can be resampled."""

OUTPUT_VALUES = 2**20
"""About as much as one step of ``StreamResampler.pieces`` gives out: 4 MiB."""


def check_rate(rate: object) -> int:
    """A sample rate as an int. Raises ValueError unless it is a whole number of Hz in the range of audio."""
    whole = isinstance(rate, Integral) or (isinstance(rate, Real) and float(rate).is_integer())
    if isinstance(rate, (bool, np.bool_)) or not whole or not LOWEST_RATE <= rate <= HIGHEST_RATE:  # type: ignore[operator]
        raise ValueError(f"A sample rate of {rate!r} Hz: a whole number from {LOWEST_RATE} to {HIGHEST_RATE} is needed")
    return int(rate)  # type: ignore[call-overload]


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """[C, T] at `from_rate` -> float32 [C, ceil(T * to_rate / from_rate)]. Equals the streaming one."""
    resampler = StreamResampler(from_rate, to_rate, samples.shape[0])
    return np.concatenate([resampler.process(samples), resampler.flush()], axis=1)


class StreamResampler:
    """soxr (HQ, linear phase, no delay) over blocks: T samples in, ceil(T * to_rate / from_rate) out.

    Raises ValueError where the rates differ and one is not that of audio (``check_rate``).
    """

    def __init__(self, from_rate: int, to_rate: int, num_channels: int) -> None:
        self._from_rate, self._to_rate = int(from_rate), int(to_rate)
        self._num_channels = num_channels
        self._taken = self._given = 0
        self._stream = None
        if from_rate != to_rate:
            rates = check_rate(from_rate), check_rate(to_rate)
            self._stream = soxr.ResampleStream(*rates, num_channels, dtype="float32")

    def process(self, block: np.ndarray) -> np.ndarray:
        """[C, t] -> [C, u]: what can be given out so far."""
        block = np.asarray(block, np.float32)
        self._taken += block.shape[1]
        return block if self._stream is None else self._run(block, last=False)

    def pieces(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """``process`` in steps of bounded memory, also where the ratio of the rates is large."""
        step = max(1, OUTPUT_VALUES * self._from_rate // (self._to_rate * self._num_channels))
        for start in range(0, block.shape[1], step):
            yield self.process(block[:, start : start + step])

    def flush(self) -> np.ndarray:
        """The rest, [C, u], after the last block."""
        if self._stream is None:
            return np.zeros((self._num_channels, 0), np.float32)
        # soxr rounds the length to the nearest; one more output sample's worth of silence rounds it up
        silence = np.zeros((self._num_channels, -(-self._from_rate // self._to_rate) + 1), np.float32)
        return self._run(silence, last=True)

    def _run(self, block: np.ndarray, last: bool) -> np.ndarray:
        assert self._stream is not None
        out = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last).T
        out = out[:, : -(-self._taken * self._to_rate // self._from_rate) - self._given]
        self._given += out.shape[1]
        return np.ascontiguousarray(out)

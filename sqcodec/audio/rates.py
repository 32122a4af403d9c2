"""Sample rates with soxr, whole or in blocks: T samples at rate a become ceil(T * b / a) at rate b."""

from __future__ import annotations

import numpy as np
import soxr


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """[C, T] at `from_rate` -> float32 [C, ceil(T * to_rate / from_rate)]. Equals the streaming one."""
    resampler = StreamResampler(from_rate, to_rate, samples.shape[0])
    return np.concatenate([resampler.process(samples), resampler.flush()], axis=1)


class StreamResampler:
    """soxr (HQ, linear phase, no delay) over blocks: T samples in, ceil(T * to_rate / from_rate) out."""

    def __init__(self, from_rate: int, to_rate: int, num_channels: int) -> None:
        self._from_rate, self._to_rate = int(from_rate), int(to_rate)
        self._num_channels = num_channels
        self._taken = self._given = 0
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, num_channels, dtype="float32")

    def process(self, block: np.ndarray) -> np.ndarray:
        """[C, t] -> [C, u]: what can be given out so far."""
        block = np.asarray(block, np.float32)
        self._taken += block.shape[1]
        return block if self._stream is None else self._run(block, last=False)

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

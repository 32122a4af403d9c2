"""Random training segments, a pure function of (seed, step): a resumed run sees what an uninterrupted one sees."""

from __future__ import annotations

import numpy as np

from sqcodec.data.cache import AudioCache


class SegmentSampler:
    """Batches of random segments from a cache, drawn uniformly over time, so in proportion to clip length.

    Args:
        cache: decoded audio.
        batch_size: segments a batch.
        segment_length: samples a segment. A segment may run over the border of two clips.
        gain_db: each segment is scaled by a uniform random gain in this range (dB), then clipped to [-1, 1].
        seed: of the whole run.
    """

    def __init__(
        self,
        cache: AudioCache,
        batch_size: int,
        segment_length: int,
        gain_db: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
    ) -> None:
        if len(cache.samples) < segment_length:
            raise ValueError(
                f"The corpus has {len(cache.samples)} samples, less than one segment ({segment_length})."
            )
        self.cache, self.batch_size, self.segment_length = cache, batch_size, segment_length
        self.gain_db, self.seed = gain_db, seed

    def batch(self, step: int) -> np.ndarray:
        """float32 [batch_size, segment_length] for a step."""
        random = np.random.default_rng((self.seed, step))
        starts = random.integers(0, len(self.cache.samples) - self.segment_length + 1, self.batch_size)
        batch = np.stack([self.cache.samples[start : start + self.segment_length] for start in starts])
        gains = 10.0 ** (random.uniform(*self.gain_db, size=(self.batch_size, 1)) / 20.0)
        return np.clip(batch.astype(np.float32) / 32768.0 * gains.astype(np.float32), -1.0, 1.0)

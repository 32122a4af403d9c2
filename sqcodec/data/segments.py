"""Random training segments, a pure function of (seed, step): a resumed run sees what an uninterrupted one sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sqcodec.data.augment import Augmentation, augment
from sqcodec.data.cache import AudioCache


class SegmentSampler:
    """Batches of random segments, drawn uniformly over the time of a corpus, so in proportion to clip length.

    Args:
        caches: decoded audio of one corpus or several, at one sample rate.
        batch_size: segments a batch.
        segment_length: samples a segment. A segment may run over the border of two clips.
        gain_db: each segment is scaled by a uniform random gain in this range (dB), then clipped to [-1, 1].
        seed: of the whole run.
        weights: chance of each corpus, in proportion; empty: in proportion to its length.
        augmentation: what else happens to segments.
    """

    def __init__(
        self,
        caches: AudioCache | Sequence[AudioCache],
        batch_size: int,
        segment_length: int,
        gain_db: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
        weights: Sequence[float] = (),
        augmentation: Augmentation | None = None,
    ) -> None:
        self.caches = [caches] if isinstance(caches, AudioCache) else list(caches)
        self.augmentation = augmentation or Augmentation()
        self.drawn_length = int(np.ceil(segment_length * self.augmentation.longest))
        for cache in self.caches:
            if len(cache.samples) < self.drawn_length:
                raise ValueError(
                    f"The corpus has {len(cache.samples)} samples, less than one segment ({self.drawn_length})."
                )
        if weights and (len(weights) != len(self.caches) or min(weights) < 0 or not sum(weights)):
            raise ValueError(
                f"data.weights are {list(weights)}: give one of 0 or more for each of {len(self.caches)} corpora."
            )
        shares = np.asarray(weights or [cache.seconds for cache in self.caches], dtype=np.float64)
        self.shares = shares / shares.sum()
        self.batch_size, self.segment_length = batch_size, segment_length
        self.gain_db, self.seed = gain_db, seed

    @property
    def seconds(self) -> float:
        """Of audio to draw from."""
        return sum(cache.seconds for cache in self.caches)

    def batch(self, step: int) -> np.ndarray:
        """float32 [batch_size, segment_length] for a step."""
        random = np.random.default_rng((self.seed, step))
        length, chosen = self.drawn_length, [self.caches[0]] * self.batch_size
        if len(self.caches) == 1:
            starts = random.integers(0, len(chosen[0].samples) - length + 1, self.batch_size)
        else:
            chosen = [self.caches[i] for i in random.choice(len(self.caches), self.batch_size, p=self.shares)]
            starts = random.integers(0, [len(cache.samples) - length + 1 for cache in chosen])
        batch = np.stack(
            [cache.samples[start : start + length] for cache, start in zip(chosen, starts, strict=True)]
        )
        gains = 10.0 ** (random.uniform(*self.gain_db, size=(self.batch_size, 1)) / 20.0)
        segments = batch.astype(np.float32) / 32768.0 * gains.astype(np.float32)
        if self.augmentation.enabled:
            rate = self.caches[0].sample_rate
            segments = np.stack(
                [augment(segment, self.segment_length, rate, self.augmentation, random) for segment in segments]
            )
        return np.clip(segments, -1.0, 1.0)

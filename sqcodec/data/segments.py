"""Random training segments, a pure function of (seed, step): a resumed run sees what an uninterrupted one sees.

Processes that train together share a global batch; each reads its own rows of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from sqcodec.data.augment import Augmentation, augment
from sqcodec.data.cache import AudioCache
from sqcodec.data.files import AudioFiles

Corpus = AudioCache | AudioFiles


class SegmentSampler:
    """Batches of random segments, drawn uniformly over the time of a corpus, so in proportion to clip length.

    Args:
        corpora: audio of one corpus or several, at one sample rate.
        batch_size: segments a batch.
        segment_length: samples a segment. A segment may run over the border of two clips.
        gain_db: each segment is scaled by a uniform random gain in this range (dB), then clipped to [-1, 1].
        seed: of the whole run.
        weights: chance of each corpus, in proportion; empty: in proportion to its length.
        augmentation: what else happens to segments.
    """

    def __init__(
        self,
        corpora: Corpus | Sequence[Corpus],
        batch_size: int,
        segment_length: int,
        gain_db: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
        weights: Sequence[float] = (),
        augmentation: Augmentation | None = None,
    ) -> None:
        self.corpora = [corpora] if isinstance(corpora, Corpus) else list(corpora)
        self.augmentation = augmentation or Augmentation()
        self.drawn_length = int(np.ceil(segment_length * self.augmentation.longest))
        for corpus in self.corpora:
            if corpus.total < self.drawn_length:
                raise ValueError(f"The corpus has {corpus.total} samples, less than one segment ({self.drawn_length}).")
        if weights and (len(weights) != len(self.corpora) or min(weights) < 0 or not sum(weights)):
            raise ValueError(
                f"data.weights are {list(weights)}: give one of 0 or more for each of {len(self.corpora)} corpora."
            )
        shares = np.asarray(weights or [corpus.seconds for corpus in self.corpora], dtype=np.float64)
        self.shares = shares / shares.sum()
        self.batch_size, self.segment_length = batch_size, segment_length
        self.gain_db, self.seed = gain_db, seed

    @property
    def seconds(self) -> float:
        """Of audio to draw from."""
        return sum(corpus.seconds for corpus in self.corpora)

    @property
    def digest(self) -> str:
        """Of all corpora: the same where a batch is the same."""
        return hashlib.sha256(" ".join(corpus.digest for corpus in self.corpora).encode()).hexdigest()

    def batch(self, step: int, rank: int = 0, size: int = 1) -> np.ndarray:
        """float32 [batch_size / size, segment_length] for a step: the rows of process ``rank`` of ``size``."""
        random = np.random.default_rng((self.seed, step))
        length, chosen = self.drawn_length, [self.corpora[0]] * self.batch_size
        if len(self.corpora) == 1:
            starts = random.integers(0, chosen[0].total - length + 1, self.batch_size)
        else:
            chosen = [self.corpora[i] for i in random.choice(len(self.corpora), self.batch_size, p=self.shares)]
            starts = random.integers(0, [corpus.total - length + 1 for corpus in chosen])
        gains = 10.0 ** (random.uniform(*self.gain_db, size=(self.batch_size, 1)) / 20.0)
        count = self.batch_size // size
        rows = range(rank * count, (rank + 1) * count)
        segments = np.stack([chosen[row].read(int(starts[row]), length) for row in rows])
        segments *= gains[rows.start : rows.stop].astype(np.float32)
        if self.augmentation.enabled:
            rate = self.corpora[0].sample_rate
            sources = [np.random.default_rng((self.seed, step, 2, row)) for row in rows]
            segments = np.stack([
                augment(segment, self.segment_length, rate, self.augmentation, source, self._other(source))
                for segment, source in zip(segments, sources, strict=True)
            ])  # fmt: skip
        return np.clip(segments, -1.0, 1.0)

    def _other(self, random: np.random.Generator) -> np.ndarray | None:
        """A segment to mix with another, where segments are mixed."""
        if not self.augmentation.mix_rate:
            return None
        corpus = self.corpora[random.choice(len(self.corpora), p=self.shares)]
        return corpus.read(int(random.integers(0, corpus.total - self.segment_length + 1)), self.segment_length)

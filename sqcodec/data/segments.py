"""Random training segments, a pure function of (seed, step): a resumed run sees what an uninterrupted one sees.

Processes that train together share a global batch; each reads its own rows of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from sqcodec.data.augment import Augmentation, augment, draw_changes
from sqcodec.data.cache import AudioCache
from sqcodec.data.files import AudioFiles
from sqcodec.data.teacher import TokenTargets

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
        targets: features of a teacher for the tokens of segments.
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
        targets: TokenTargets | None = None,
    ) -> None:
        self.targets = targets
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
        rows = self._rows(rank, size)
        chosen, starts, gains = self._places(step)
        segments = np.stack([self.corpora[chosen[row]].read(int(starts[row]), self.drawn_length) for row in rows])
        segments *= gains[rows.start : rows.stop].astype(np.float32)
        if self.augmentation.enabled:
            rate = self.corpora[0].sample_rate
            sources = [self._source(step, row) for row in rows]
            segments = np.stack([
                augment(segment, self.segment_length, rate, self.augmentation, source, self._other(source))
                for segment, source in zip(segments, sources, strict=True)
            ])  # fmt: skip
        return np.clip(segments, -1.0, 1.0)

    def taught(self, step: int, rank: int = 0, size: int = 1) -> np.ndarray | None:
        """float16 [batch_size / size, N, D]: the teacher's features of the clips in ``batch``, in the time of its
        tokens, without noise and whatever else was added; NaN where there are none. None without a teacher."""
        if self.targets is None:
            return None
        chosen, starts, _ = self._places(step)
        found = []
        for row in self._rows(rank, size):
            speed, heard = 1.0, self.segment_length
            if self.augmentation.enabled:
                source = self._source(step, row)
                self._other(source, read=False)
                chances, speed = draw_changes(self.augmentation, source)
                heard = heard // 2 if chances[5] < self.augmentation.tone_rate else heard
            found.append(self.targets.of(int(chosen[row]), int(starts[row]), self.segment_length, speed, heard))
        return np.stack(found)

    def _rows(self, rank: int, size: int) -> range:
        count = self.batch_size // size
        return range(rank * count, (rank + 1) * count)

    def _places(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the whole batch: the corpus of each segment, its first sample there, its gain [batch_size, 1]."""
        random, chosen = np.random.default_rng((self.seed, step)), np.zeros(self.batch_size, np.int64)
        if len(self.corpora) > 1:
            chosen = random.choice(len(self.corpora), self.batch_size, p=self.shares)
        starts = random.integers(0, [self.corpora[i].total - self.drawn_length + 1 for i in chosen])
        return chosen, starts, 10.0 ** (random.uniform(*self.gain_db, size=(self.batch_size, 1)) / 20.0)

    def _source(self, step: int, row: int) -> np.random.Generator:
        """Of what is augmented in a row."""
        return np.random.default_rng((self.seed, step, 2, row))

    def _other(self, random: np.random.Generator, read: bool = True) -> np.ndarray | None:
        """A segment to mix with another, where segments are mixed; else, or if it is not to be read, None."""
        if not self.augmentation.mix_rate:
            return None
        corpus = self.corpora[random.choice(len(self.corpora), p=self.shares)]
        start = int(random.integers(0, corpus.total - self.segment_length + 1))
        return corpus.read(start, self.segment_length) if read else None

"""Batches of training steps, prepared ahead by worker processes where asked for.

A batch is a pure function of (seed, step, rank), whoever prepares it: the number of workers changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sqcodec.data.segments import SegmentSampler

AHEAD = 4
"""Batches that each worker prepares in advance."""


class Batches:
    """This process's rows of each step's global batch.

    Args:
        sampler: of the whole batch.
        workers: processes; 0 prepares a batch when it is asked for.
        device: where batches will go; for CUDA they are put into pinned memory.
        rank, size: this process among those that train together.
    """

    def __init__(
        self,
        sampler: SegmentSampler,
        workers: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        size: int = 1,
    ) -> None:
        self.sampler, self.workers, self.rank, self.size = sampler, workers, rank, size
        self.pin = torch.device(device).type == "cuda"
        self.next_step, self.iterator = -1, iter(())  # type: tuple[int, Iterator[Tensor]]

    def get(self, step: int) -> Tensor:
        """float32 [rows, T]. Steps are best asked for in their order: a leap starts the workers anew."""
        if not self.workers:
            return torch.from_numpy(self.sampler.batch(step, self.rank, self.size))
        if step != self.next_step:
            self.iterator = self._start(step)
        self.next_step = step + 1
        return next(self.iterator)

    def _start(self, step: int) -> Iterator[Tensor]:
        loader = DataLoader(
            _Steps(self.sampler, step, self.rank, self.size),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=AHEAD,
            pin_memory=self.pin,
            generator=torch.Generator(),  # the global one, which the loader would draw from, is the training step's
        )
        return iter(loader)


class _Steps(Dataset):
    """Item i is the batch of step ``first`` + i."""

    def __init__(self, sampler: SegmentSampler, first: int, rank: int, size: int) -> None:
        self.sampler, self.first, self.rank, self.size = sampler, first, rank, size

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self.sampler.batch(self.first + index, self.rank, self.size))

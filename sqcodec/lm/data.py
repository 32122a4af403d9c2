"""From a folder of tokens to batches of ids: which clips train, which validate, and in what order they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sqcodec.data.manifest import chosen_names, enough_speakers
from sqcodec.tokens.dataset import PackedTokens, TokenDataset


@dataclass(frozen=True)
class Clips:
    """Positions in the dataset, and the alphabet of the training texts."""

    train: np.ndarray
    validation: np.ndarray
    alphabet: str


def divide_clips(dataset: TokenDataset, split: str | None, validation: float, text: bool) -> Clips:
    """Holds out speakers, at least one, chosen by a hash: adding clips moves nobody. Clips instead of speakers, where
    those have no names or are fewer than ten.

    Args:
        split: use only clips of this split, if any clip is of it.
        validation: share of the speakers or clips, in (0, 1).
        text: use only clips with a transcript.
    Raises:
        ValueError: nothing is left to train on, or to validate on.
    """
    fields = [dataset.fields(index) for index in range(len(dataset))]
    if split and not any(row["split"] == split for row in fields):
        split = None
    if not 0 < validation < 1:
        raise ValueError(f"The share to validate on is {validation}: give one in (0, 1), as --set validation=0.03.")
    used = [
        index
        for index, row in enumerate(fields)
        if not (split and row["split"] != split) and not (text and not row["text"])
    ]
    by_speaker = enough_speakers(fields[index]["speaker"] for index in used)
    names = [(fields[index]["speaker"] if by_speaker else "") or fields[index]["id"] for index in used]
    train, held, characters = [], [], set()
    for index, is_held in zip(used, chosen_names(names, validation), strict=True):
        if is_held:
            held.append(index)
        else:
            train.append(index)
            characters.update(fields[index]["text"].lower())
    if not train or not held:
        raise ValueError(
            f"Of {len(fields)} clips, {len(train)} are to train on and {len(held)} to validate on: both need some. "
            "Set the share of validation speakers or the split otherwise."
        )
    alphabet = "".join(sorted(characters)) if text else ""
    return Clips(np.array(train), np.array(held), alphabet)


def text_prefixes(dataset: TokenDataset, clips: np.ndarray, alphabet: str) -> list[np.ndarray] | None:
    """The ids of each clip's characters; None without an alphabet."""
    if not alphabet:
        return None
    first = dataset.info.codebook_size + 1
    known = {character: first + index for index, character in enumerate(alphabet)}
    texts = [dataset.fields(int(index))["text"].lower() for index in clips]
    return [np.array([known[character] for character in text if character in known], np.int64) for text in texts]


class Batches:
    """Batch number n, for any n: epochs follow each other, each in its own order."""

    def __init__(
        self,
        dataset: TokenDataset,
        clips: np.ndarray,
        prefixes: Sequence[np.ndarray] | None,
        length: int,
        size: int,
        seed: int,
    ) -> None:
        self._make = lambda epoch: PackedTokens(dataset, length, clips, seed, epoch, None, prefixes)
        self._size, self._epoch, self._packed = size, 0, self._make(0)
        if len(self._packed) < size:
            raise ValueError(
                f"{len(self._packed)} sequences of {length} tokens are fewer than a batch of {size}: too little. "
                "Give more, or take less at a time, as with --set batch_size=2 --set length=256."
            )

    @property
    def per_epoch(self) -> int:
        return len(self._packed) // self._size

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Ids, and which clip each is of: int64 [B, L] both."""
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._packed = epoch, self._make(epoch)
        rows = range(place * self._size, (place + 1) * self._size)
        found = [self._packed[row] for row in rows]
        ids, clips = (torch.from_numpy(np.stack([row[name] for row in found])) for name in ("tokens", "clips"))
        return ids, clips


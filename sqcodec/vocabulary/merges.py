"""Byte-pair encoding over tokens or symbols: frequent neighbours become one unit, losslessly.

With K in the hundred thousands hardly a pair of tokens occurs twice; merge the symbols of factorised tokens
(``factors.to_symbols``), or the tokens of a small codebook. The engine is Hugging Face `tokenizers`; number n is
written as the code point 0x10000 + n.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from sqcodec.vocabulary.factors import check_range

_FIRST = 0x10000
_MOST = 0x110000 - _FIRST


class TokenMerges:
    """Streams of numbers 0 to ``alphabet`` - 1 to streams of units and back. Numbers keep their own ids."""

    def __init__(self, tokenizer: Tokenizer, alphabet: int) -> None:
        self._tokenizer, self.alphabet = tokenizer, alphabet

    @classmethod
    def train(
        cls, streams: Iterable[np.ndarray], alphabet: int, num_units: int, longest: int | None = None
    ) -> TokenMerges:
        """Learns merges.

        Args:
            streams: integers [N] each; merges do not cross from one to the next.
            alphabet: how many numbers there are; all are units, seen or not.
            num_units: units in all, alphabet included; fewer come out where no pair is left that occurs twice.
            longest: most numbers in a unit.
        """
        if not 2 <= alphabet <= _MOST or num_units < alphabet:
            raise ValueError(
                f"{num_units} units over an alphabet of {alphabet}: 2 to {_MOST} is allowed, and as many units."
            )
        tokenizer = Tokenizer(BPE())
        trainer = BpeTrainer(
            vocab_size=num_units,
            min_frequency=2,
            initial_alphabet=[chr(_FIRST + number) for number in range(alphabet)],
            limit_alphabet=alphabet,
            max_token_length=longest,
            show_progress=False,
        )
        tokenizer.train_from_iterator((_to_text(stream, alphabet) for stream in streams), trainer)
        return cls(tokenizer, alphabet)

    @classmethod
    def load(cls, path: str | Path) -> TokenMerges:
        """From the JSON that ``save`` wrote, in the format of `tokenizers`."""
        tokenizer = Tokenizer.from_file(str(path))
        return cls(tokenizer, sum(len(text) == 1 for text in tokenizer.get_vocab()))

    def save(self, path: str | Path) -> None:
        self._tokenizer.save(str(path))

    @property
    def num_units(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, numbers: np.ndarray) -> np.ndarray:
        """Integers [N] to units int64 [n], n at most N. ValueError for a number outside the alphabet."""
        return np.array(self._tokenizer.encode(_to_text(numbers, self.alphabet)).ids, np.int64)

    def decode(self, units: np.ndarray | Sequence[int]) -> np.ndarray:
        """Units back to the integers [N]."""
        units = np.asarray(units, np.int64)
        check_range(units, self.num_units, "unit")
        text = "".join(self._tokenizer.id_to_token(int(unit)) or "" for unit in units)
        return np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64) - _FIRST


def _to_text(numbers: np.ndarray, alphabet: int) -> str:
    numbers = np.asarray(numbers, np.int64).reshape(-1)
    check_range(numbers, alphabet, "number")
    return (numbers + _FIRST).astype("<u4").tobytes().decode("utf-32-le")

"""Tokens as text, between marks that say where speech begins and ends.

Whole tokens are ``<|sq_0|>`` to ``<|sq_117648|>``; factorised ones are written digit by digit, ``<|sq_d_v|>`` for
value v of dimension d, with a vocabulary of 42 in place of 117,649 and six times the length.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sqcodec.vocabulary.factors import check_range, from_symbols, symbol_offsets, to_symbols

START, END = "<|sq_start|>", "<|sq_end|>"

_WHOLE = re.compile(r"<\|sq_(\d+)\|>")
_FACTOR = re.compile(r"<\|sq_(\d+)_(\d+)\|>")
_ANY = re.compile(r"<\|sq_[^|]*\|>")


@dataclass(frozen=True)
class SpeechVocabulary:
    """The strings of a codec's tokens.

    Args:
        codebook_size: K.
        levels: of the quantizer; needed where ``factorised``.
        factorised: write digits instead of tokens.
    """

    codebook_size: int
    levels: tuple[int, ...] | None = None
    factorised: bool = False

    def __post_init__(self) -> None:
        if self.levels and math.prod(self.levels) != self.codebook_size:
            raise ValueError(f"Levels {self.levels} make {math.prod(self.levels)} codes, not {self.codebook_size}.")
        if self.factorised and not self.levels:
            raise ValueError("A codebook without levels cannot be factorised: use whole tokens.")

    @cached_property
    def entries(self) -> list[str]:
        """All strings of tokens or digits, in the order of their numbers, without the marks."""
        if not self.factorised:
            return [f"<|sq_{token}|>" for token in range(self.codebook_size)]
        counts = enumerate(self.levels or ())
        return [f"<|sq_{position}_{value}|>" for position, count in counts for value in range(count)]

    @property
    def marks(self) -> list[str]:
        """What stands around speech."""
        return [START, END]

    def numbers(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens [N] to positions in ``entries``, int64: [N], or [N D] where factorised."""
        tokens = np.asarray(tokens, np.int64).reshape(-1)
        if self.factorised:
            return to_symbols(tokens, self.levels or ())
        check_range(tokens, self.codebook_size, "token")
        return tokens

    def tokens(self, numbers: np.ndarray) -> np.ndarray:
        """Positions in ``entries`` back to tokens, int64 [N]."""
        if self.factorised:
            return from_symbols(numbers, self.levels or ())
        numbers = np.asarray(numbers, np.int64).reshape(-1)
        check_range(numbers, self.codebook_size, "token")
        return numbers

    def to_text(self, tokens: np.ndarray, marks: bool = True) -> str:
        """Tokens [N] as one string."""
        entries = self.entries
        body = "".join(entries[number] for number in self.numbers(tokens))
        return f"{START}{body}{END}" if marks else body

    def from_text(self, text: str) -> np.ndarray:
        """The tokens in a text, int64 [N]; words and marks around them are passed over.

        Raises:
            ValueError: a string that looks like a token and is none of this vocabulary, or digits out of order.
        """
        numbers = [self._number(found) for found in _ANY.findall(text) if found not in (START, END)]
        return self.tokens(np.array(numbers, np.int64))

    def _number(self, text: str) -> int:
        if self.factorised and (match := _FACTOR.fullmatch(text)):
            position, value = int(match[1]), int(match[2])
            levels: Sequence[int] = self.levels or ()
            if position < len(levels) and value < levels[position]:
                return int(symbol_offsets(levels)[position]) + value
        elif not self.factorised and (match := _WHOLE.fullmatch(text)) and int(match[1]) < self.codebook_size:
            return int(match[1])
        entries = self.entries
        raise ValueError(f"{text!r} is none of the {len(entries)} strings from {entries[0]} to {entries[-1]}.")

"""Speech in a text model: its tokenizer gets the strings of the tokens, its embedding the rows for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sqcodec.vocabulary.strings import END, START, SpeechVocabulary


@dataclass(frozen=True)
class SpeechIds:
    """Where speech lies among a tokenizer's ids: entry i of the vocabulary is ``first + i``."""

    vocabulary: SpeechVocabulary
    first: int
    start: int
    end: int

    def encode(self, tokens: np.ndarray, marks: bool = True) -> np.ndarray:
        """Tokens [N] to ids int64, between the ids of the marks. The same ids as the tokenizer gives, without text."""
        ids = self.first + self.vocabulary.numbers(tokens)
        return np.concatenate([[self.start], ids, [self.end]]) if marks else ids

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """The tokens among ids, int64 [N]; ids of text and marks are passed over."""
        ids = np.asarray(ids, np.int64).reshape(-1)
        inside = (ids >= self.first) & (ids < self.first + len(self.vocabulary.entries))
        return self.vocabulary.tokens(ids[inside] - self.first)


def extend_tokenizer(tokenizer: Any, vocabulary: SpeechVocabulary, model: Any = None) -> SpeechIds:
    """Adds a vocabulary's strings to a Hugging Face tokenizer, and rows to a model's embedding. Safe to repeat.

    Args:
        tokenizer: any `PreTrainedTokenizerBase`; changed in place, so save it with the model.
        model: a `PreTrainedModel` whose embeddings grow to the tokenizer's length (never shrink); the new rows are
            drawn around the mean of the old ones, as transformers does.
    Raises:
        ValueError: the tokenizer has some of the strings, not in this order: it was extended with something else.
    """
    from transformers import AddedToken

    known = tokenizer.get_vocab()
    missing = [text for text in (*vocabulary.marks, *vocabulary.entries) if text not in known]
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=text in (START, END)) for text in missing])
    entries = vocabulary.entries
    ids = np.array(tokenizer.convert_tokens_to_ids(entries), np.int64)
    if not np.array_equal(ids, ids[0] + np.arange(len(entries))):
        raise ValueError("The tokenizer holds some of these strings in another order: take the tokenizer as it was.")
    if model is not None and model.get_input_embeddings().num_embeddings < len(tokenizer):
        model.resize_token_embeddings(len(tokenizer))
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    return SpeechIds(vocabulary, int(ids[0]), start, end)

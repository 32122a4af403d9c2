"""Tokens as strings, tokenizer entries, digits and merged units: always back to the same tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sqcodec.quantizers.base import split_digits
from sqcodec.vocabulary.factors import from_symbols, join_digits, split_tokens, to_symbols
from sqcodec.vocabulary.strings import SpeechVocabulary

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

LEVELS = (7, 5, 3)


@pytest.fixture
def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 105, 60)


def test_digits_are_those_of_the_quantizer() -> None:
    levels = (7, 7, 7, 7, 7, 7)
    tokens = np.array([0, 1, 7, 117648, 12345])
    digits = split_tokens(tokens, levels)
    np.testing.assert_array_equal(digits, split_digits(torch.from_numpy(tokens), levels).numpy())
    np.testing.assert_array_equal(join_digits(digits, levels), tokens)
    symbols = to_symbols(tokens, levels)
    assert symbols[:6].tolist() == [0, 7, 14, 21, 28, 35] and symbols.max() == 41
    np.testing.assert_array_equal(from_symbols(symbols, levels), tokens)
    with pytest.raises(ValueError, match="outside 0 to 117648"):
        split_tokens(np.array([117649]), levels)
    with pytest.raises(ValueError, match="not whole tokens"):
        from_symbols(symbols[:-1], levels)
    with pytest.raises(ValueError, match="digit 0"):
        from_symbols(np.roll(symbols, 1), levels)


@pytest.mark.parametrize("factorised", [False, True])
def test_text_and_back(factorised, tokens) -> None:
    vocabulary = SpeechVocabulary(105, LEVELS, factorised)
    assert len(vocabulary.entries) == (15 if factorised else 105)
    text = vocabulary.to_text(tokens)
    first = "<|sq_start|>" + (f"<|sq_0_{tokens[0] % 7}|><|sq_1_" if factorised else f"<|sq_{tokens[0]}|><|sq_")
    assert text.startswith(first) and text.endswith("|><|sq_end|>")
    np.testing.assert_array_equal(vocabulary.from_text(f"He said: {text} and left."), tokens)
    bad = "<|sq_0_7|>" if factorised else "<|sq_105|>"
    with pytest.raises(ValueError, match="is none of the"):
        vocabulary.from_text(bad)


def test_a_vocabulary_says_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="make 105 codes, not 100"):
        SpeechVocabulary(100, LEVELS)
    with pytest.raises(ValueError, match="cannot be factorised"):
        SpeechVocabulary(100, None, factorised=True)


def text_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    texts = ["the quick brown fox <|jumps|> over the lazy dog"] * 3
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=300, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("factorised", [False, True])
def test_any_tokenizer_takes_speech(factorised, tokens, tmp_path) -> None:
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from sqcodec.vocabulary.tokenizer import extend_tokenizer

    tokenizer = text_tokenizer()
    size = len(tokenizer)
    config = LlamaConfig(vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=16)  # fmt: skip
    model = LlamaForCausalLM(config)
    old = model.get_input_embeddings().weight.detach().clone()
    vocabulary = SpeechVocabulary(105, LEVELS, factorised)
    ids = extend_tokenizer(tokenizer, vocabulary, model)
    assert len(tokenizer) == size + 2 + len(vocabulary.entries) == model.config.vocab_size
    assert torch.equal(model.get_input_embeddings().weight[:size], old)
    assert model.get_output_embeddings().weight.shape[0] == len(tokenizer)

    by_text = tokenizer("the fox" + vocabulary.to_text(tokens) + " dog").input_ids
    prompt, after = tokenizer("the fox").input_ids, tokenizer(" dog").input_ids
    assert by_text == [*prompt, *ids.encode(tokens), *after]
    np.testing.assert_array_equal(ids.decode(by_text), tokens)
    np.testing.assert_array_equal(vocabulary.from_text(tokenizer.decode(by_text)), tokens)
    out = model(torch.tensor([by_text])).logits
    assert out.shape[-1] == len(tokenizer)

    again = extend_tokenizer(tokenizer, vocabulary, model)
    assert (again.first, again.start, again.end) == (ids.first, ids.start, ids.end)
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("the fox" + vocabulary.to_text(tokens) + " dog").input_ids == by_text
    if not factorised:
        with pytest.raises(ValueError, match="another order"):
            spoiled = text_tokenizer()
            spoiled.add_tokens(["<|sq_50|>"])
            extend_tokenizer(spoiled, vocabulary)


def test_merges_shorten_and_lose_nothing(tmp_path) -> None:
    from sqcodec.vocabulary.merges import TokenMerges

    generator = np.random.default_rng(0)
    words = [generator.integers(0, 105, 4) for _ in range(5)]
    streams = [np.concatenate([words[i] for i in generator.integers(0, 5, 30)]) for _ in range(20)]
    symbols = [to_symbols(stream, LEVELS) for stream in streams]
    merges = TokenMerges.train(symbols, sum(LEVELS), 60, longest=12)
    assert merges.num_units == 60
    units = merges.encode(symbols[0])
    assert len(units) < len(symbols[0]) / 4
    np.testing.assert_array_equal(from_symbols(merges.decode(units), LEVELS), streams[0])
    unseen = np.arange(105)
    np.testing.assert_array_equal(merges.decode(merges.encode(to_symbols(unseen, LEVELS))), to_symbols(unseen, LEVELS))
    merges.save(tmp_path / "merges.json")
    loaded = TokenMerges.load(tmp_path / "merges.json")
    assert loaded.alphabet == 15
    np.testing.assert_array_equal(loaded.encode(symbols[1]), merges.encode(symbols[1]))
    with pytest.raises(ValueError, match="outside 0 to 14"):
        merges.encode(np.array([15]))
    with pytest.raises(ValueError, match="as many units"):
        TokenMerges.train(symbols, 15, 10)

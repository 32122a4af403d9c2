"""The language model: exact distributions, the same result through cache and resume, and it learns."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sqcodec import Codec
from sqcodec.cli import main
from sqcodec.nn import build_network
from sqcodec.tokens.records import TokenInfo, TokenRecord

pytest.importorskip("transformers")

LEVELS = (3, 2, 4)
K = 24


@pytest.fixture
def model():
    from sqcodec.lm.model import SpeechLM, SpeechLMConfig

    torch.manual_seed(0)
    config = SpeechLMConfig(list(LEVELS), hidden_size=16, num_layers=2, num_heads=2, intermediate_size=24, head_width=8,
                            alphabet="abc ")  # fmt: skip
    model = SpeechLM(config).eval()
    with torch.no_grad():  # far from uniform
        for parameter in model.head.parameters():
            parameter.mul_(20)
    return model


@torch.no_grad()
def test_the_head_is_a_distribution_over_all_tokens_and_the_end(model) -> None:
    hidden = torch.randn(5, 16)
    every = torch.arange(K + 1)
    nats = torch.stack([model.head.losses(row.expand(K + 1, 16), every).sum(1) for row in hidden])
    torch.testing.assert_close(nats.neg().exp().sum(1), torch.ones(5), rtol=0, atol=1e-5)
    assert (nats.std(dim=1) > 0.5).all()
    # digit by digit: the chain rule over the digits written out
    token, row = 17, hidden[:1]
    by_hand = 0.0
    pre = model.head.project(row).unflatten(-1, (3, 8))[0]
    digits = [17 % 3, 17 // 3 % 2, 17 // 6]
    earlier, offset = torch.zeros(3, 8), 0
    for position, digit in enumerate(digits):
        logits = model.head.outputs[position](torch.nn.functional.gelu(pre[position] + earlier[position]))
        by_hand -= float(logits.log_softmax(-1)[digit])
        earlier = earlier + model.head.earlier.weight[offset + digit].unflatten(-1, (3, 8))
        offset += LEVELS[position]
    assert model.head.losses(row, torch.tensor([token])).sum() == pytest.approx(by_hand, rel=1e-5)


def test_samples_follow_the_distribution(model) -> None:
    hidden = torch.randn(1, 16)
    chances = model.head.losses(hidden.expand(K + 1, 16), torch.arange(K + 1)).sum(1).neg().exp().detach()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        drawn = model.head.sample(hidden.expand(20000, 16), 1.0, 1.0, generator)
        never = model.head.sample(hidden.expand(2000, 16), 1.0, 1.0, generator, may_end=False)
        likely = model.head.sample(hidden.expand(50, 16), 1.0, 1e-6, generator)
    shares = torch.bincount(drawn, minlength=K + 1) / 20000
    assert (shares - chances).abs().max() < 4 * math.sqrt(0.25 / 20000)
    assert never.max() < K and len(likely.unique()) == 1


def test_embedding_is_the_sum_of_the_digits(model) -> None:
    table = model.embedding.digits.weight
    vectors = model.embedding(torch.tensor([[17, K, K + 2]]))[0]
    torch.testing.assert_close(vectors[0], table[2] + table[3 + 1] + table[5 + 2])
    torch.testing.assert_close(vectors[1:], model.embedding.others.weight[[0, 2]])


@torch.no_grad()
def test_what_is_predicted(model) -> None:
    ids = torch.tensor([[*model.encode_text("Ab?C").tolist(), K, 3, 9, K + 1, K, 5]])
    assert ids[0, :3].tolist() == [K + 1, K + 2, K + 3]
    out = model(ids)
    # texts are read only; the end of a clip (its last token 9 before a text) is predicted by the first digit
    assert out.predicted[0].tolist() == [False, False, False, True, True, True, False, True]
    assert (out.nats[0, 5] > 0).tolist() == [True, False, False] and (out.nats[0, 4] > 0).all()
    assert out.loss == pytest.approx(float(out.nats.sum()) / 4)


@torch.no_grad()
def test_cache_batch_and_files_change_nothing(model, tmp_path) -> None:
    from sqcodec.lm.model import SpeechLM

    ids = torch.tensor([[K, 3, 9, 17, 4], [K, 8, 1, 1, 0]])
    whole = model(ids, loss=False).hidden
    first = model(ids[:, :2], use_cache=True, loss=False)
    rest = model(ids[:, 2:], past_key_values=first.past_key_values, use_cache=True, loss=False).hidden
    torch.testing.assert_close(torch.cat([first.hidden, rest], 1), whole, rtol=0, atol=1e-5)
    model.save_pretrained(tmp_path)
    loaded = SpeechLM.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(ids).nats, model(ids).nats)
    sampled = model.continue_tokens(ids, 6, seed=3)
    assert sampled.shape == (2, 6) and torch.equal(loaded.continue_tokens(ids, 6, seed=3), sampled)
    assert not torch.equal(model.continue_tokens(ids, 6, seed=4), sampled)
    with pytest.raises(ValueError, match="temperature 0 must be above 0"):
        model.continue_tokens(ids, 1, temperature=0)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    """Clips that count upwards by ones or by fives: one bit a token for a bigram, none for who remembers the step."""
    from sqcodec.tokens.corpus import DATA, INDEX
    from sqcodec.tokens.formats import npz

    folder = tmp_path_factory.mktemp("counting")
    info = TokenInfo("none", "ee" * 32, 16000, 96, 166.7, K, LEVELS)
    generator = np.random.default_rng(0)
    records = []
    for number in range(60):
        step, start = generator.choice([1, 5]), generator.integers(K)
        counted = ((start + step * np.arange(24)) % K).astype(np.uint8)
        records.append(TokenRecord(f"c{number}", counted, 100, 1.0, 16000, f"s{number}", "train", "ab"))
    (folder / DATA).mkdir()
    npz.write(folder / DATA / "part-00000.npz", records, info, 0)
    index = info.to_dict() | {
        "complete": True, "format": "npz", "digest": "x", "shards": 1, "clips": 60, "tokens": 60 * 24,
        "shard_clips": [60], "files": [f"{DATA}/part-00000.npz"],
    }  # fmt: skip
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def test_it_learns_more_than_a_bigram_and_resumes_exactly(tokens, tmp_path) -> None:
    from sqcodec.lm import train as training
    from sqcodec.lm.train import LMRecipe, load_lm, train

    recipe = LMRecipe(hidden_size=48, num_layers=2, num_heads=4, intermediate_size=96, head_width=32, length=50,
                      batch_size=8, steps=160, learning_rate=6e-3, warmup=20, dropout=0.05, bfloat16=False, report=40,
                      score=80, validation=0.2, text=True)  # fmt: skip
    scores = train(tokens, tmp_path / "whole", recipe)
    assert scores.bigram == pytest.approx(1, abs=0.25) and scores.unigram == pytest.approx(math.log2(K), abs=0.3)
    assert scores.bits < 0.5

    real = training._save

    def stop_at_80(run, model, optimizer, step, seconds) -> None:
        real(run, model, optimizer, step, seconds)
        raise KeyboardInterrupt

    training._save = stop_at_80
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tokens, tmp_path / "parts", recipe)
    finally:
        training._save = real
    assert train(tokens, tmp_path / "parts", recipe) == scores
    one, two = load_lm(tmp_path / "whole"), load_lm(tmp_path / "parts")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    with pytest.raises(ValueError, match="other values of steps"):
        train(tokens, tmp_path / "parts", LMRecipe(**{**recipe.__dict__, "steps": 7}))


def test_speakers_are_held_out(tokens) -> None:
    from sqcodec.lm.data import Batches, divide_clips
    from sqcodec.tokens.dataset import TokenDataset

    dataset = TokenDataset(tokens)
    clips = divide_clips(dataset, "train", 0.2, False)
    assert 4 < len(clips.validation) < 24 and len(clips.train) + len(clips.validation) == 60
    assert not set(clips.train) & set(clips.validation) and clips.alphabet == ""
    more = divide_clips(dataset, "train", 0.4, True)
    assert set(clips.validation) < set(more.validation) and more.alphabet == "ab"
    batches = Batches(dataset, clips.train, None, 30, 4, seed=0)
    assert torch.equal(batches[1][0], batches[1][0])
    assert not torch.equal(batches[1][0], batches[1 + batches.per_epoch][0])
    with pytest.raises(ValueError, match="to validate on"):
        divide_clips(dataset, "train", 0.0, False)


def test_a_folder_of_one_speaker_has_clips_to_validate_on() -> None:
    """As a newcomer's folder of recordings is: one speaker, no splits."""
    from sqcodec.lm.data import divide_clips

    rows = [{"speaker": "me", "id": f"{number}.wav", "split": "", "text": ""} for number in range(6)]
    dataset = type("Dataset", (), {"fields": lambda self, index: rows[index], "__len__": lambda self: len(rows)})()
    clips = divide_clips(dataset, "train", 0.03, False)
    assert len(clips.validation) == 1 and len(clips.train) == 5


def test_from_wavs_to_a_decoded_continuation(tiny_config, speech, tmp_path, capsys) -> None:
    """The whole way by commands: a folder of wavs, tokens, a model, speech."""
    torch.manual_seed(0)
    codec = Codec(build_network(tiny_config))
    codec.save_pretrained(tmp_path / "codec")
    for number, speaker in product(range(3), "abcdefgh"):
        (tmp_path / "wavs" / speaker).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "wavs" / speaker / f"{number}.wav", speech[8000 * number :][:16000], 16000)
    assert main(["tokens", str(tmp_path / "wavs"), "--out", str(tmp_path / "tokens"), "--engine", "serial",
                 "--format", "npz", "--model", str(tmp_path / "codec")]) == 0  # fmt: skip
    settings = ["hidden_size=32", "num_layers=1", "length=120", "batch_size=4", "steps=4", "validation=0.4", "warmup=1"]
    options = [part for setting in settings for part in ("--set", setting)]
    assert main(["lm", "train", str(tmp_path / "tokens"), "--out", str(tmp_path / "lm"), *options]) == 0
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 10 < scores["bits"] < 18 and scores["tokens"] > 300
    prompt, out = tmp_path / "wavs/a/0.wav", tmp_path / "on.wav"
    command = ["lm", "continue", str(tmp_path / "lm"), str(prompt), str(out), "--model", str(tmp_path / "codec"),
               "--prompt-seconds", "0.5", "--seconds", "0.7"]  # fmt: skip
    assert main(command) == 0
    spoken, rate = soundfile.read(out)
    assert (len(spoken), rate) == (round(1.2 * 16000), 16000)
    known = codec.decode(codec.encode(speech[:8000])[0][: 8000 // 96])[0].numpy()
    np.testing.assert_allclose(spoken[: len(known)], known, atol=2e-4)
    assert main(command) == 1 and "--force overwrites it" in capsys.readouterr().err
    assert main([*command, "--force", "--text", "hello"]) == 1
    assert "trained without texts" in capsys.readouterr().err
    assert main(["lm", "train", str(tmp_path / "tokens"), "--out", str(tmp_path / "x"), "--set", "width=3"]) == 1

"""What the token report measures, on sources whose numbers are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import soundfile
import torch
from entropy_helpers import random_predictor

from sqcodec import Codec
from sqcodec.cli import main
from sqcodec.entropy import PREDICTOR_NAME
from sqcodec.nn import build_network
from sqcodec.tokens.ngrams import score_orders
from sqcodec.vocabulary.factors import join_digits

LEVELS = (3, 2, 4)
K = 24


def test_orders_of_known_sources() -> None:
    generator = np.random.default_rng(0)
    uniform = [generator.integers(0, K, 300) for _ in range(60)]
    found = score_orders(uniform[:40], uniform[40:], LEVELS)
    assert found.bits == pytest.approx([math.log2(K)] * 3, abs=0.03) and found.tokens == 20 * 298
    assert found.plug_in[2] < 4 < found.bits[2]  # 12,000 tokens are too few to count triples of 24

    steps = [np.cumsum(generator.integers(0, 2, 300)) % K for _ in range(60)]  # stays or goes on: 1 bit
    found = score_orders(steps[:40], steps[40:], LEVELS)
    assert found.bits[0] > 4.4 and found.bits[1:] == pytest.approx([1, 1], abs=0.03)
    assert found.plug_in == pytest.approx([math.log2(K), 1, 1], abs=0.05)

    # the third is the sum of the two before, but for one time in ten
    sums = []
    for _ in range(60):
        clip = list(generator.integers(0, K, 2))
        while len(clip) < 300:
            clip.append((clip[-1] + clip[-2]) % K if generator.random() < 0.9 else generator.integers(K))
        sums.append(np.array(clip))
    found = score_orders(sums[:40], sums[40:], LEVELS)
    assert found.bits[2] < 1.5 < 4 < found.bits[1]

    # independent digits, each with its own frequencies: few tokens suffice for their product
    chances = [np.array([0.8, 0.1, 0.1]), np.array([0.9, 0.1]), np.array([0.7, 0.1, 0.1, 0.1])]
    entropy = sum(float(-(p * np.log2(p)).sum()) for p in chances)
    few = [join_digits(np.stack([generator.choice(len(p), 20, p=p) for p in chances], 1), LEVELS) for _ in range(60)]
    assert score_orders(few[:20], few[20:], LEVELS).bits[0] == pytest.approx(entropy, abs=0.15)
    with pytest.raises(ValueError, match="2 and 1 are needed"):
        score_orders(few[:1], few[20:], LEVELS)


@pytest.fixture(scope="module")
def codec(tiny_config) -> Codec:
    torch.manual_seed(0)
    return Codec(build_network(tiny_config), "tiny", "ab" * 32)


def test_stability_of_shifts_gains_and_noise(codec, speech, monkeypatch) -> None:
    from sqcodec.tokens import stability

    clips = [speech[:16000], speech[30000:50000]]
    found = stability.measure_stability(codec, clips)
    assert list(found) == [
        "shift of 0.125 hop", "shift of 0.25 hop", "shift of 0.5 hop", "gain +1 dB", "gain -1 dB",
        "noise at -40 dB", "noise at -30 dB",
    ]  # fmt: skip
    assert found["noise at -40 dB"].digits > found["noise at -30 dB"].digits
    assert all(0 <= entry.tokens <= entry.digits <= 1 for entry in found.values())
    by_hand = np.mean(
        np.concatenate([
            (codec.encode(clip)[0] == codec.encode(np.float32(clip * 10 ** (1 / 20)))[0]).numpy() for clip in clips
        ])
    )  # fmt: skip
    assert found["gain +1 dB"].tokens == pytest.approx(by_hand)
    monkeypatch.setattr(stability, "GAINS", (0.0,))
    monkeypatch.setattr(stability, "SHIFTS", ())
    monkeypatch.setattr(stability, "NOISES", (300.0,))
    assert all(entry.tokens == 1 for entry in stability.measure_stability(codec, clips).values())


def test_the_speaker_probe_hears_what_is_there(codec) -> None:
    from sqcodec.tokens.probe import probe_speakers

    pytest.importorskip("sklearn")
    generator = np.random.default_rng(0)
    streams, speakers = [], []
    for _ in range(8):
        for speaker in range(3):  # each speaker likes other values of the third digit
            digits = generator.integers(0, 7, (1100, 6))
            digits[:, 2] = np.where(generator.random(1100) < 0.3, speaker * 2, digits[:, 2])
            streams.append(join_digits(digits, (7,) * 6))
            speakers.append(f"s{speaker}")
    told = probe_speakers(codec, streams, speakers)
    assert told is not None and told.accuracy > 0.8 and told.chance == pytest.approx(1 / 3)
    assert (told.speakers, told.stretches) == (3, 3 * 4 * 2)
    shuffled = probe_speakers(codec, streams, generator.permutation(speakers).tolist())
    assert shuffled is not None and shuffled.accuracy < 0.7
    assert probe_speakers(codec, streams[:2], ["a", "b"]) is None


def test_the_phone_probe_tells_phones_of_speakers_it_never_heard() -> None:
    from sqcodec.tokens.words import Frames, Phone, Spoken, probe_phones

    pytest.importorskip("sklearn")
    generator = np.random.default_rng(0)
    clips, said, noise = [], [], []
    for number in range(12):
        names = generator.choice(["AA", "S", "T"], 40)
        phones = [Phone(str(name), 0.05 * place, 0.05 * place + 0.05) for place, name in enumerate(names)]
        clips.append(Spoken(np.zeros(32000, np.float32), "", f"s{number % 6}", phones))
        values = np.repeat([{"AA": 0, "S": 1, "T": 2}[name] for name in names], 5)[:, None] == np.arange(3)
        # a token lies half a frame behind where its phone begins; another clock would mix neighbours
        said.append(Frames(values + generator.normal(0, 0.5, values.shape), 100.0, 0.005))
        noise.append(Frames(generator.normal(0, 1, values.shape), 100.0, 0.005))
    found, chance = probe_phones(said, clips), probe_phones(noise, clips)
    assert found is not None and chance is not None and found.speakers == 6 and found.count == 12
    assert found.mean > 0.95 > 0.45 > chance.mean and found.low <= found.mean <= found.high
    late = [Frames(one.values, one.rate, 0.06) for one in said]
    told = probe_phones(late, clips)
    assert told is not None and told.mean < 0.5
    assert probe_phones(said[:1], clips[:1]) is None and probe_phones([], clips) is None


def test_numbers_of_tokens_are_codes_and_digits(codec, nested) -> None:
    from sqcodec.tokens.probe import numbers

    for model, bits, levels in ((codec, None, (7,) * 6), (nested, 10, (8, 8, 4, 4)), (nested, None, (8,) * 4)):
        tokens = np.arange(50) * 7
        found = numbers(model, tokens, bits)
        hot = found[:, -sum(levels):]
        assert len(found) == 50 and set(np.unique(hot)) == {0.0, 1.0} and (hot.sum(1) == len(levels)).all()
        first = hot[:, : levels[0]].argmax(1)
        codes = found[:, 0]
        order = [codes[first == digit] for digit in np.unique(first)]
        assert all(np.ptp(one) == 0 for one in order) and len({one[0] for one in order}) == len(order)


def test_aligned_phones_lie_where_the_speech_is(speech) -> None:
    from sqcodec.tokens.words import align_phones

    pytest.importorskip("pocketsphinx")
    text = (
        "At this moment the whole soul of the old man seemed centered in his eyes, which became blood shot; the veins "
        "of the throat swelled, his cheeks and temples became purple as though he was struck with epilepsy. Nothing "
        "was wanting to complete this but the utterance of a cry."
    )
    found = align_phones(speech, text)
    assert [phone.name for phone in found][:8] == ["AE", "T", "DH", "IH", "S", "M", "OW", "M"] and len(found) == 176
    assert all(a.end <= b.start + 1e-9 for a, b in zip(found, found[1:], strict=False))
    loud = [np.abs(np.diff(speech[int(p.start * 16000) : int(p.end * 16000)])).mean() for p in found if p.name == "S"]
    assert np.median(loud) > 1.5 * np.abs(np.diff(speech)).mean()  # a hiss changes fast
    assert align_phones(speech, "Zxqv") == [] and align_phones(speech[:8000], text) == []


def test_the_report(codec, speech, tmp_path, capsys) -> None:
    pytest.importorskip("sklearn")
    codec.save_pretrained(tmp_path / "codec")
    for number in range(6):
        (tmp_path / "wavs" / f"s{number % 2}").mkdir(parents=True, exist_ok=True)
        clip = speech[20000 * number :][: 3 * 16000 + 2000]
        soundfile.write(tmp_path / "wavs" / f"s{number % 2}" / f"{number}.wav", clip, 16000)
    command = ["token-report", str(tmp_path / "wavs"), "--model", str(tmp_path / "codec")]
    assert main([*command, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["clips"], found["token_rate"], found["codebook_size"]) == (6, 16000 / 96, 117649)
    assert found["bits_per_second"][0] == pytest.approx(found["orders"]["bits"][0] * 16000 / 96)
    assert found["speaker"]["speakers"] == 2 and found["speaker"]["low"] <= found["speaker"]["accuracy"]
    assert found["words"] is None and found["stability"]["gain +1 dB"]["low"] <= 1.0
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "compact" not in table
    assert "| bits a second, coded at order 2 | " in table and "gain +1 dB" in table and "speaker recognised" in table


def test_the_report_at_a_rate_and_with_the_rate_of_compact_files(nested, speech, tmp_path, capsys) -> None:
    pytest.importorskip("sklearn")
    nested.save_pretrained(tmp_path / "nested")
    random_predictor((2,) * 16).save(tmp_path / "nested" / PREDICTOR_NAME)
    (tmp_path / "wavs").mkdir()
    for number in range(6):
        soundfile.write(tmp_path / "wavs" / f"{number}.wav", speech[20000 * number :][:20000], 16000)
    command = ["token-report", str(tmp_path / "wavs"), "--model", str(tmp_path / "nested"), "--bits", "9"]
    assert main([*command, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["codebook_size"] == 512 and found["nominal_bits"] == pytest.approx(9 * 1000 / 6)
    assert found["compact"] > 0.5 * found["nominal_bits"]
    assert main([*command, "--bits", "99"]) == 1
    assert "6 to 16 bits" in capsys.readouterr().err

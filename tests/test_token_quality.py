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
    assert found["speaker"]["speakers"] == 2
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

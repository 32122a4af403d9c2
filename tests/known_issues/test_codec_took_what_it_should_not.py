"""Stereo from soundfile became thousands of rows; too few tokens gave nonsense; a Codec said nothing of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sqcodec import audio, cli
from sqcodec.codec import Codec
from sqcodec.nn import build_network

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def codec(tiny_config) -> Codec:
    torch.manual_seed(0)
    return Codec(build_network(tiny_config), "tiny", "00")


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_channels_last_is_refused(codec, dtype):
    samples = np.zeros((8000, 2), dtype)
    for call in (codec.encode, lambda samples: codec.encode_batch([samples])):
        with pytest.raises(ValueError, match=r"\[8000, 2\], more rows than samples: channels first"):
            call(samples)
    assert codec.encode(samples.T).shape[0] == 2


def test_a_path_is_read_with_all_its_channels(codec, tmp_path, speech):
    stereo = np.stack([speech[:24000], speech[16000:40000]])
    audio.save(tmp_path / "a.wav", stereo, 24000)
    samples, rate = audio.load(tmp_path / "a.wav")
    assert torch.equal(codec.encode(str(tmp_path / "a.wav")), codec.encode(samples, rate))
    assert torch.equal(codec.encode(tmp_path / "a.wav"), codec.encode(samples, rate))
    with pytest.raises(ValueError, match="a file says its own"):
        codec.encode(tmp_path / "a.wav", 24000)
    with pytest.raises(FileNotFoundError, match=r"none\.wav"):
        codec.encode("none.wav")


def test_what_decode_returns_can_be_saved(codec, tmp_path, speech):
    decoded = codec.decode(codec.encode(speech[:16000]))
    audio.save(tmp_path / "a.wav", decoded, codec.sample_rate)
    soundfile.write(tmp_path / "b.wav", decoded.T, codec.sample_rate)
    assert audio.info(tmp_path / "a.wav").num_samples == audio.info(tmp_path / "b.wav").num_samples == decoded.shape[1]


def test_too_few_tokens(codec):
    for call in (codec.decode, lambda tokens: codec.decode_batch([tokens])):
        with pytest.raises(ValueError, match="3 tokens are too few to decode: 'tiny' needs 6 or more"):
            call([1, 2, 3])
    assert codec.decode([1] * 6).shape[1] > 0


def test_repr_and_to(codec, speech):
    assert repr(codec).startswith("Codec('tiny': 16000 Hz, 166.7 tokens a second of 117649, 2.81 kbit/s, 0.0")
    assert repr(codec).endswith("float32, cpu)") and "\n" not in repr(codec)
    tokens, steps = codec.encode(speech[:8000]), codec.encoder_steps
    assert codec.to("cpu") is codec and codec.encoder_steps is not steps
    assert torch.equal(codec.encode(speech[:8000]), tokens)


def test_device_auto(workplace, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    audio.save("in.wav", np.zeros(4000), 16000)
    assert cli.main(["encode", "in.wav", "--model", "tiny", "--device", "auto"]) == 0
    assert str(Codec.from_pretrained("tiny", "auto").device) == "cpu"


def test_tokens_are_of_the_model_for_language_models():
    arguments = cli.build_parser().parse_args(["tokens", "in", "--out", "out"])
    assert arguments.model == "speech-1k" and arguments.device == "cpu"

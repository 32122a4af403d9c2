"""ONNX: the graphs compute what PyTorch does, in pieces of any length, and without torch."""

from __future__ import annotations

import dataclasses
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import sqcodec
from sqcodec import cli
from sqcodec.codec import Codec
from sqcodec.config import published_config, quantizer_config
from sqcodec.evaluation.systems import make_system
from sqcodec.evaluation.utterances import Utterance
from sqcodec.export.onnx import check_onnx, export_onnx
from sqcodec.losses.spectral import MultiScaleSpectralLoss
from sqcodec.nn import build_network

EXAMPLE = Path(__file__).parent.parent / "examples" / "onnx_file.py"


@pytest.fixture(scope="module", params=["speech-3k", "speech-1k"])
def shipped(request) -> Codec:
    return sqcodec.load(request.param)


@pytest.fixture(scope="module")
def folder(shipped: Codec, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(shipped, folder)
    return folder


def test_pieces_in_onnx_runtime_equal_the_codec(shipped: Codec, folder: Path) -> None:
    equal, difference = check_onnx(shipped, folder, seconds=2.0)
    assert equal > 0.999 and difference < 1e-5  # round-off; a token may flip on a decision boundary


def test_the_example_codes_a_file(shipped: Codec, folder: Path, speech: np.ndarray, tmp_path, monkeypatch) -> None:
    stereo = np.stack([speech[:40001], speech[40001:80002]])
    soundfile.write(tmp_path / "in.wav", stereo.T, 16000, subtype="PCM_16")
    stereo = soundfile.read(tmp_path / "in.wav", dtype="float32")[0].T
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(folder), str(tmp_path / "in.wav"), str(tmp_path / "out.wav")])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    found = soundfile.read(tmp_path / "out.wav", dtype="float32")[0].T
    expected = shipped.decode(shipped.encode(stereo), 40001).numpy()
    assert found.shape == expected.shape and np.abs(found - expected).max() < 2**-15


def test_a_decoder_in_eight_bits(shipped: Codec, folder: Path, tmp_path: Path, speech: np.ndarray, capsys) -> None:
    command = ["export", "onnx", str(tmp_path / "small"), "--model", shipped.name, "--int8", "--json"]
    assert cli.main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert (tmp_path / "small" / "decoder.onnx").stat().st_size < 0.35 * (folder / "decoder.onnx").stat().st_size
    assert said["equal_tokens"] > 0.999 and 1e-5 < said["difference"] < 0.1
    soundfile.write(tmp_path / "a.wav", speech[:64000], 16000)
    utterance = Utterance("a", str(tmp_path / "a.wav"))
    exact, small = (make_system(f"onnx:{place}") for place in (folder, tmp_path / "small"))
    heard, rounded = exact.code(utterance), small.code(utterance)
    codec = make_system(f"sqcodec:{shipped.name}").code(utterance)
    assert heard.payload_bits == rounded.payload_bits == codec.payload_bits
    assert np.abs(heard.samples - codec.samples).max() < 1e-4
    assert np.array_equal(heard.tokens, codec.tokens) and np.array_equal(rounded.tokens, codec.tokens)
    distance = MultiScaleSpectralLoss(16000)
    real = torch.from_numpy(utterance.load(16000))[None]
    lost = [float(distance(torch.from_numpy(coded.samples)[None], real).mel) for coded in (heard, rounded)]
    assert lost[0] != lost[1] < 1.02 * lost[0]


def test_the_example_imports_no_torch() -> None:
    text = EXAMPLE.read_text()
    assert "import torch" not in text and "import sqcodec" not in text


def test_other_configurations(tiny_config, tmp_path) -> None:
    torch.manual_seed(1)
    codec = Codec(build_network(tiny_config), "tiny", "0" * 64)
    export_onnx(codec, tmp_path)
    equal, difference = check_onnx(codec, tmp_path, seconds=1.0)
    assert equal > 0.98 and difference < 1e-5
    vector = dataclasses.replace(tiny_config, quantizer=quantizer_config(kind="vp", levels=(), dim=3, size=100))
    codec = Codec(build_network(vector), "vector", "0" * 64)
    with pytest.raises(ValueError, match="sqcodec codebook"):
        export_onnx(codec, tmp_path)
    codec.network.quantizer.set_codebook(0.1 * torch.randn(100, 3))
    assert export_onnx(codec, tmp_path)["codebook_size"] == 100
    equal, difference = check_onnx(codec, tmp_path, seconds=1.0)
    assert equal > 0.98 and difference < 1e-5
    with pytest.raises(ValueError, match="'l3ac-3kbps' cannot be exported"):
        export_onnx(Codec(build_network(published_config("l3ac-3kbps")), "l3ac-3kbps"), tmp_path)


def test_the_verb_refuses_to_overwrite(folder: Path, capsys) -> None:
    assert cli.main(["export", "onnx", str(folder)]) == 1
    assert "--force overwrites it" in capsys.readouterr().err

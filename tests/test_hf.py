"""The codec in transformers: the same tokens and samples as from the codec, through saving and loading."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sqcodec import Codec
from sqcodec.nn import build_network

transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def codec(tiny_config) -> Codec:
    torch.manual_seed(0)
    return Codec(build_network(tiny_config), "tiny", "cd" * 32)


@pytest.fixture(scope="module")
def saved(codec, tmp_path_factory) -> Path:
    from sqcodec.hf import SQCodecFeatureExtractor, SQCodecModel

    folder = tmp_path_factory.mktemp("saved")
    SQCodecModel.from_codec(codec).save_pretrained(folder)
    SQCodecFeatureExtractor(codec.sample_rate).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clips(speech) -> list[np.ndarray]:
    return [speech[:16000], speech[20000:27001], speech[40000:40500]]


def test_a_padded_batch_is_coded_as_each_alone(codec, saved, clips) -> None:
    model = transformers.AutoModel.from_pretrained(saved, trust_remote_code=True)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(saved, trust_remote_code=True)
    inputs = extractor(clips, sampling_rate=16000, return_tensors="pt")
    assert inputs["input_values"].shape == (3, 1, 16000)
    assert inputs["padding_mask"].sum(1).tolist() == [16000, 7001, 500]
    encoded = model.encode(**inputs)
    decoded = model.decode(encoded.audio_codes, inputs["padding_mask"], encoded.codes_mask).audio_values
    assert decoded.shape == (3, 1, 16000)
    for row, clip in enumerate(clips):
        tokens = codec.encode(clip)[0]
        count = int(encoded.codes_mask[row].sum())
        assert count == len(tokens) == model.get_encoded_length(torch.tensor(len(clip)))
        assert torch.equal(encoded.audio_codes[row, 0, :count], tokens)
        assert not encoded.audio_codes[row, 0, count:].any()
        torch.testing.assert_close(decoded[row, 0, : len(clip)], codec.decode(tokens, len(clip))[0], rtol=0, atol=1e-6)
        assert not decoded[row, 0, len(clip) :].any()
    both = model(**inputs)
    assert torch.equal(both.audio_codes, encoded.audio_codes) and torch.equal(both.audio_values, decoded)
    assert len(model(**inputs, return_dict=False)) == 3


def test_it_says_what_it_is(codec, saved) -> None:
    config = transformers.AutoConfig.from_pretrained(saved, trust_remote_code=True)
    assert (config.sampling_rate, config.codebook_size, config.levels) == (16000, 117649, (7,) * 6)
    assert config.num_quantizers == 1 and config.hop_length == 96 and config.weights_hash == "cd" * 32
    assert config.model_config == codec.config
    from sqcodec.hf import SQCodecModel

    model = SQCodecModel.from_pretrained(saved)
    for name, tensor in codec.network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], tensor), name
    for (name, buffer), other in zip(codec.network.named_buffers(), model.network.buffers(), strict=True):
        assert torch.equal(buffer, other), f"buffer {name} is lost in loading"


def test_another_process_loads_it_by_remote_code_alone(saved, codec, clips) -> None:
    code = (
        "import sys, torch, transformers\n"
        "model = transformers.AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "audio = torch.arange(4000) / 4000 - 0.5\n"
        "print(model.encode(audio[None, None]).audio_codes.flatten().tolist())"
    )
    found = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True)
    expected = codec.encode(torch.arange(4000) / 4000 - 0.5)[0].tolist()
    assert found.stdout.strip() == str(expected)


def test_mistakes_are_named(saved, clips) -> None:
    from sqcodec.hf import SQCodecFeatureExtractor, SQCodecModel

    extractor, model = SQCodecFeatureExtractor(16000), SQCodecModel.from_pretrained(saved)
    with pytest.raises(ValueError, match="has 8000 Hz, the model wants 16000"):
        extractor(clips, sampling_rate=8000)
    with pytest.raises(ValueError, match="one channel"):
        extractor([np.zeros((2, 100), np.float32)], sampling_rate=16000)
    left = torch.ones(1, 500)
    left[0, :10] = 0
    with pytest.raises(ValueError, match="pad on the right"):
        model.encode(torch.zeros(1, 1, 500), left)
    with pytest.raises(ValueError, match="The mask has shape"):
        model.encode(torch.zeros(1, 1, 500), torch.ones(1, 400))


def test_datasets_map(saved, codec, clips) -> None:
    from sqcodec.hf import SQCodecFeatureExtractor, SQCodecModel

    model, extractor = SQCodecModel.from_pretrained(saved), SQCodecFeatureExtractor.from_pretrained(saved)

    def tokenize(rows: dict) -> dict:
        inputs = extractor([np.float32(row) for row in rows["audio"]], sampling_rate=16000, return_tensors="pt")
        encoded = model.encode(**inputs)
        counts = encoded.codes_mask.sum(1).tolist()
        return {"tokens": [row[0, :n].tolist() for row, n in zip(encoded.audio_codes, counts, strict=True)]}

    rows = datasets.Dataset.from_dict({"audio": [clip.tolist() for clip in clips]})
    mapped = rows.map(tokenize, batched=True, batch_size=2, remove_columns=["audio"])
    assert mapped["tokens"][:] == [codec.encode(clip)[0].tolist() for clip in clips]


def test_the_command_writes_the_same_folder(codec, clips, tmp_path, capsys) -> None:
    from sqcodec.cli import main

    codec.save_pretrained(tmp_path / "codec")
    command = ["export", "transformers", str(tmp_path / "hf"), "--model", str(tmp_path / "codec")]
    assert main(command) == 0
    assert "config.json, model.safetensors, preprocessor_config.json, sqcodec_hf.py" in capsys.readouterr().out
    model = transformers.AutoModel.from_pretrained(tmp_path / "hf", trust_remote_code=True)
    found = model.encode(torch.from_numpy(clips[0])[None, None]).audio_codes
    assert torch.equal(found[0], codec.encode(clips[0]))
    assert main(command) == 1 and "--force overwrites it" in capsys.readouterr().err

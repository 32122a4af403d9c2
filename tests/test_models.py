"""The models that ship: what is promised of each, on real speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import sqcodec
from sqcodec.audio import resample
from sqcodec.checkpoint import hash_folder
from sqcodec.codec import Codec
from sqcodec.identity import hash_file
from sqcodec.registry import list_models, read_index

DATA = Path(__file__).parent / "data"
SHIPPED = [info for info in list_models() if info.shipped]


@pytest.fixture(scope="module", params=SHIPPED, ids=lambda info: info.name)
def codec(request) -> Codec:
    return sqcodec.load(request.param.name)


def read(name: str) -> np.ndarray:
    samples, rate = soundfile.read(DATA / name, dtype="float32", always_2d=True)
    return resample(samples.T, rate, 16000)[0]


def test_the_default_model_ships() -> None:
    default = sqcodec.load()
    assert default.name == "speech-3k" and default.config.causal
    assert default.bit_rate <= 3000 and default.sample_rate == 16000
    assert sum(parameter.numel() for parameter in default.network.parameters()) <= 9e6


@pytest.mark.parametrize("info", SHIPPED, ids=lambda info: info.name)
def test_files_are_what_the_index_says(info) -> None:
    assert hash_file(info.path / "model.safetensors") == info.sha256
    assert hash_folder(info.path) == read_index()[info.name]["hash"]
    assert (info.path / "model.safetensors").stat().st_size <= 25 * 2**20
    assert "Attribution" in (info.path / "CARD.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("clip", sorted(path.name for path in DATA.glob("*.flac")))
def test_speech_stays_intelligible(codec: Codec, clip: str) -> None:
    from pystoi import stoi

    reference = read(clip)
    decoded = codec.decode(codec.encode(reference), len(reference))[0].numpy()
    assert stoi(reference, decoded, 16000) >= 0.80


def test_quiet_speech_stays_speech(codec: Codec) -> None:
    """At -30 dB the decoded speech is as quiet, and still intelligible."""
    from pystoi import stoi

    reference = read("84-121123-0002.flac") * 10 ** (-30 / 20)
    decoded = codec.decode(codec.encode(reference), len(reference))[0].numpy()
    assert stoi(reference, decoded, 16000) >= 0.70
    assert 0.5 < np.std(decoded) / np.std(reference) < 2.0


def test_silence_stays_silent(codec: Codec) -> None:
    """Below -60 dBFS everywhere, also just after speech has stopped and faded."""
    silence = np.zeros(32000, np.float32)
    decoded = codec.decode(codec.encode(silence), len(silence))[0].numpy()
    assert np.abs(decoded).max() < 1e-3
    after = np.concatenate([read("84-121123-0002.flac")[:32000], silence])
    decoded = codec.decode(codec.encode(after), len(after))[0].numpy()
    assert np.abs(decoded[48000:]).max() < 1e-3


def test_extremes_do_not_explode(codec: Codec) -> None:
    random = np.random.default_rng(0)
    for samples in (np.sign(random.standard_normal(16000)), random.uniform(-1, 1, 16000), np.ones(16000)):
        decoded = codec.decode(codec.encode(samples.astype(np.float32)))[0].numpy()
        assert np.isfinite(decoded).all() and np.abs(decoded).max() < 4.0


@pytest.mark.parametrize(
    "name, recipe_name",
    [("speech-3k", "speech_3k_gan"), ("speech-1k", "speech_1k_gan")],
)
def test_fine_tuning_starts_with_the_discriminators_that_ship(name: str, recipe_name: str) -> None:
    """Those of the recipe's kind, already able to tell the model's own output from the recording."""
    import torch

    from sqcodec.registry import find_model
    from sqcodec.training.adversary import Adversary
    from sqcodec.training.recipe import load_recipe

    recipe = load_recipe(Path(__file__).parents[1] / "recipes" / f"{recipe_name}.toml")
    adversary = Adversary(recipe.adversarial, recipe.train, 16000)
    assert adversary.initialise_from(Path(find_model(name)))
    samples, codec = read("84-121123-0002.flac"), sqcodec.load(name)
    decoded = codec.decode(codec.encode(samples))[0].numpy()
    both = torch.from_numpy(np.stack([samples[16000:32000], decoded[16000:32000]]))
    both = both / both[:1].square().mean().sqrt()
    with torch.no_grad():
        scores = torch.cat([score.flatten(1) for score in adversary.network(both).scores], dim=1)
    heard, refused = scores.mean(1).tolist()
    assert 0.4 < heard < 0.8 and 0.3 < refused < heard - 0.2  # both 0.5 where they cannot tell; fresh ones give about 0

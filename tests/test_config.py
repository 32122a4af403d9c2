"""ModelConfig: derived numbers, TOML round trip, published configurations, and what it refuses."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest

from sqcodec.config import (
    FrameConfig,
    FrameDecoder,
    FrameEncoder,
    FrameTransformer,
    ModelConfig,
    WaveformConfig,
    published_config,
    published_names,
    quantizer_config,
)

# name: sample rate, hop, K, tokens/s, bit/s, window, pad_to (METHODS of the papers and packages)
PUBLISHED = {
    "sqcodec-0k75bps": (16000, 360, 117649, 44.44, 749, 200, "window"),
    "sqcodec-1k5bps": (16000, 180, 117649, 88.89, 1497, 300, "window"),
    "sqcodec-3kbps": (16000, 90, 117649, 177.78, 2995, 400, "window"),
    "sqcodec-6kbps": (16000, 45, 117649, 355.56, 5989, 300, "window"),
    "sqcodec-12kbps": (16000, 24, 250047, 666.67, 11955, 400, "window"),
    "sqcodec-12kbps_24khz": (24000, 36, 250047, 666.67, 11955, 400, "window"),
    "sqcodec-24kbps_24khz": (24000, 18, 250047, 1333.33, 23909, 600, "window"),
    "l3ac-0k75bps": (16000, 360, 117649, 44.44, 749, 200, "hop"),
    "l3ac-1kbps": (16000, 270, 117649, 59.26, 998, 250, "hop"),
    "l3ac-1k5bps": (16000, 180, 117649, 88.89, 1497, 300, "hop"),
    "l3ac-3kbps": (16000, 96, 250047, 166.67, 2989, 400, "hop"),
}


def own_config() -> FrameConfig:
    """One of this project's own: causal, spectral front and head."""
    return FrameConfig(
        name="own",
        lookahead=288,
        frame_length=96,
        tokens_per_frame=1,
        encoder=FrameEncoder(n_fft=384, dim=256, depth=5),
        transformer=FrameTransformer(window=64),
        quantizer=quantizer_config(kind="fsp", levels=(7, 7, 7), activation="laplace"),
        decoder=FrameDecoder(n_fft=384, subframes=1, dim=256, depth=5, layer_scale=0.1),
    )


def test_published_configurations_have_the_published_numbers():
    assert published_names() == sorted(PUBLISHED)
    for name, (rate, hop, size, token_rate, bit_rate, window, pad_to) in PUBLISHED.items():
        config = published_config(name)
        assert config.name == name
        assert (config.sample_rate, config.hop_length, config.codebook_size) == (rate, hop, size)
        assert config.token_rate == pytest.approx(token_rate, abs=0.005)
        assert config.bit_rate == pytest.approx(bit_rate, abs=0.5)
        assert config.transformer.window == window
        assert config.pad_multiple == (hop * window if pad_to == "window" else hop)


@pytest.mark.parametrize("config", [WaveformConfig(), own_config(), published_config("l3ac-1kbps")])
def test_toml_and_dict_round_trip(config: ModelConfig, tmp_path: Path):
    assert ModelConfig.from_toml(config.to_toml()) == config
    assert ModelConfig.from_dict(config.to_dict()) == config
    config.to_toml(tmp_path / "model.toml")
    assert ModelConfig.from_toml(tmp_path / "model.toml") == config
    assert ModelConfig.from_toml(str(tmp_path / "model.toml")) == config
    assert hash(config) == hash(ModelConfig.from_dict(config.to_dict()))


def test_derived_numbers_of_an_own_configuration():
    config = own_config()
    assert config.hop_length == 96
    assert config.token_rate == pytest.approx(166.67, abs=0.01)
    assert config.bit_rate == pytest.approx(config.token_rate * 3 * math.log2(7))
    vp = quantizer_config(kind="vp", levels=(), dim=6, size=4096)
    assert dataclasses.replace(config, quantizer=vp).bit_rate == pytest.approx(config.token_rate * 12)


def test_unknown_keys_name_the_nearest():
    with pytest.raises(ValueError, match=r"'encoder.strids' in the configuration \(did you mean 'encoder.strides'\?"):
        ModelConfig.from_toml("[encoder]\nstrids = [2]\n")
    with pytest.raises(ValueError, match=r"'samplerate'.*did you mean 'sample_rate'\?"):
        ModelConfig.from_toml("samplerate = 8000\n")
    with pytest.raises(ValueError, match=r"'decoder.unit.weightnorm'.*'decoder.unit.weight_norm'"):
        ModelConfig.from_toml("[decoder.unit]\nweightnorm = true\n")
    with pytest.raises(ValueError, match="not valid TOML"):
        ModelConfig.from_toml("sample_rate = \n")
    with pytest.raises(ValueError, match="encoder is 3: it must be a table"):
        ModelConfig.from_toml("encoder = 3\n")
    with pytest.raises(ValueError, match="Unknown published model '2kbps'.*l3ac-3kbps"):
        published_config("2kbps")


@pytest.mark.parametrize(
    "toml,message",
    [
        ("sample_rate = 0", "sample_rate is 0"),
        ("sample_rate = 16000.0", "sample_rate is 16000.0: it must be a whole number"),
        ("sample_rate = true", "a whole number"),
        ("causal = 1", "causal is 1: it must be true or false"),
        ("name = 3", "name is 3"),
        ("pad_to = 'frame'", "one of: hop, window"),
        ("causal = false\nlookahead = 10", "lookahead is for causal"),
        ("lookahead = -1", "lookahead is -1"),
        ("[encoder]\nstrides = [6, 4]", "2 strides, 4 dims and 4 depths"),
        ("[encoder]\nstrides = [6, 4, 5]", "disagree on the samples per frame: 120.*96"),
        ("[encoder]\ndims = 3", "encoder.dims is 3: it must be a list"),
        ("[encoder]\ndims = [24, 48.5, 96, 192]", "each entry must be a whole number"),
        ("[encoder]\nfront = 'stft'", "set both, or neither"),
        ("[encoder]\nn_fft = 512", "encoder.n_fft is 512: it must be 0 .or left out. in a waveform network"),
        ("[encoder.unit]\nkernel_size = 4", "odd"),
        ("[encoder.unit]\nepsilon = nan", "epsilon is nan"),
        ("[decoder]\ngate_norm = true", "gate_norm = false|set it to false"),
        ("family = 'frame'\n[encoder]\nn_fft = 190", "encoder.n_fft is 190: it must be at least frame_length"),
        ("[decoder]\nstrides = []\ndims = [8]\ndepths = []", "decoder.depths is .*1 to 16 entries"),
        ("[transformer]\nposition = 'absolute'", "one of: dynamic_bias, rotary, alibi"),
        ("[transformer]\nposition = 'rotary'\nhead_dim = 33", "even for rotary"),
        ("[transformer]\nencoder_frame_depth = 1", "must be 0 when rate_reduction is 1"),
        ("[transformer]\nexact_window = false", "depend on where a recording starts"),
        ("[transformer]\nwindow = 0", "transformer.window is 0"),
        ("[quantizer]\nlevels = [7, 1]", "each entry must be between 2"),
        ("[quantizer]\nlevels = []", "quantizer.levels is ..: it must be a list of 1 to 64 entries"),
        (f"[quantizer]\nlevels = {[16] * 16}", "product below"),
        ("[quantizer]\nkind = 'vp'\nlevels = [7]", "Unknown key 'quantizer.levels'"),
        ("[quantizer]\nkind = 'vp'\nlevels = []", "quantizer.dim is 0"),
        ("[quantizer]\nsize = 4096", "Unknown key 'quantizer.size'"),
        ("family = 'wave'", "family is 'wave': it must be one of: frame, waveform"),
        ("version = 3", "version is 3"),
        ("[quantizer]\nnoise_rate = 1.5", "between 0 and 1"),
    ],
)
def test_what_does_not_fit_is_a_clear_error(toml: str, message: str):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_toml(toml + "\n")


def test_frozen_and_importing_it_loads_no_torch():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FrameConfig().sample_rate = 8000
    code = "import sys, sqcodec.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

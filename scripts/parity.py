"""Compare every published configuration with the authors' packages, carrying the same random weights.

For each configuration: build the authors' network, give every parameter a value that matters, save its five
.pt files, read them with `sqcodec.compat`, then code real speech with both. Tokens must be equal, except
where a latent lies within 1e-5 of a decision boundary (flips, which are counted); the waveforms decoded
from the same tokens must agree within 2e-4, and within 2e-5 where both sides compute in
float64 (but for their position biases, which stay float32).

Needs an environment of its own, since `l3ac` pins another `local-attention` (which agrees, but say which):

    pip install torch==2.13.0 sq-codec==0.0.1 vector-quantize-pytorch==1.22.15 local-attention==1.9.15 requests
    pip install --no-deps l3ac==1.0
    pip install -e .
    python scripts/parity.py SPEECH.flac [MORE ...]

The speech files are joined, repeated if short, and cut to each length. Prints a table; exit code 1 where a
configuration differs.
"""

from __future__ import annotations

import argparse
import importlib
import math
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor, nn

from sqcodec.compat import PARTS, load_published
from sqcodec.config import published_config, published_names
from sqcodec.nn.published.network import WaveformNetwork

BOUNDARY = 1e-5
WAVEFORM_TOLERANCE = {torch.float32: 2e-4, torch.float64: 2e-5}  # position biases stay float32
LENGTHS = (1.0, 5.3, 20.0)
PACKAGES = {"sqcodec": ("sq_codec", "SQCodec"), "l3ac": ("l3ac", "L3AC")}


def build_reference(name: str, seed: int, speech: Tensor):
    """The authors' codec of this configuration, with random weights that all matter on `speech` [1, T]."""
    family, model = name.split("-", 1)
    package_name, class_name = PACKAGES[family]
    package = importlib.import_module(package_name)
    config = getattr(package, f"{class_name}Config")(config_file=package.CONFIG_DIR / f"{model}.toml")
    codec = getattr(package, class_name)(config)
    randomise(codec.network, seed)
    codec.network.eval()
    follow_dtype(codec.network)
    calibrate(codec, speech)
    return codec, package.CONFIG_DIR / f"{model}.toml"


@torch.no_grad()
def randomise(network: nn.Module, seed: int) -> None:
    """Give each parameter a value by its role: scales near 1, offsets near 0, weights that keep the size of
    what they act on, and residual branches that are small enough for a deep stack to stay in range."""
    generator = torch.Generator().manual_seed(seed)

    def noise(parameter: Tensor, scale: float) -> Tensor:
        return scale * torch.randn(parameter.shape, generator=generator)

    for name, parameter in network.named_parameters():
        if parameter.numel() == 0:  # the cache tokens: of 0 tokens in all published configurations
            continue
        last = name.rsplit(".", 1)[-1]
        if name.endswith("original0"):  # the norm of each output channel's weights
            gain = 0.3 if re.search(r"pw_conv2|block\.3", name) else 1.0
            gain = 10.0 if name.startswith("encoder.blocks.0.blocks") else gain  # speech is quiet
            parameter.copy_(gain * (1 + noise(parameter, 0.1)))
        elif name.endswith("original1"):
            parameter.copy_(noise(parameter, 1.0))
        elif last == "alpha":
            parameter.copy_((0.3 * noise(parameter, 1.0)).exp())
        elif last in ("gamma", "beta", "bias"):
            parameter.copy_(noise(parameter, 0.2))
        elif parameter.dim() == 1:  # weights of norms
            parameter.copy_(1 + noise(parameter, 0.2))
        elif "dynamic_pos_bias" in name:
            parameter.copy_(noise(parameter, 0.5 / math.sqrt(parameter.shape[1])))
        else:
            parameter.copy_(noise(parameter, 1 / math.sqrt(parameter[0].numel())))


@torch.no_grad()
def calibrate(codec, speech: Tensor) -> None:
    """Shift and scale what is quantised and what leaves the decoder to ranges that a trained codec has:
    latents of mean 0 and deviation 0.8, output before its tanh of deviation 0.2."""
    network = codec.network
    captured: dict[str, Tensor] = {}

    def capture(name: str):
        return lambda module, inputs, output: captured.update({name: output})

    last = network.decoder.blocks[-1].block[2]
    hooks = [
        network.quantizer.project_in.register_forward_hook(capture("latents")),
        last.register_forward_hook(capture("output")),
    ]
    codec.encode_audio(speech)
    latents = captured["latents"].flatten(0, -2)
    factor = 0.8 / latents.std(dim=0)
    projection = network.quantizer.project_in
    projection.bias.copy_((projection.bias - latents.mean(dim=0)) * factor)
    projection.weight.mul_(factor[:, None])
    codec.decode_audio(indices=indices_of(codec, speech))
    output = captured["output"]
    factor = 0.2 / output.std()
    last.bias.copy_((last.bias - output.mean()) * factor)
    last.parametrizations.weight.original0.mul_(factor)
    for hook in hooks:
        hook.remove()


def indices_of(codec, samples: Tensor) -> Tensor:
    """The authors' tokens [1, N] of a clip [1, T]."""
    _, indices = codec.encode_audio(samples)
    return (indices["indices"] if isinstance(indices, dict) else indices).long()


def load_ours(codec, toml: Path, fold: bool) -> WaveformNetwork:
    """Save the authors' five files and read them as ours."""
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            torch.save(codec.network.trainable_modules[part].state_dict(), Path(folder) / f"{part}.pt")
        config, state = load_published(folder, toml, fold=fold)
    network = WaveformNetwork(config)
    network.load_state_dict(state)
    follow_dtype(network)
    return network.eval()


def follow_dtype(network: nn.Module) -> None:
    """Its linear layers take what comes in the dtype of their weights: position biases ask for float32 by name."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(lambda module, inputs: (inputs[0].to(module.weight.dtype),))


@torch.inference_mode()
def compare(codec, network: WaveformNetwork, samples: Tensor) -> dict:
    """Tokens and waveforms of one clip [1, T], run as the authors run them."""
    theirs = indices_of(codec, samples)
    features = network.encode_features(network.pad(samples.unsqueeze(1)))
    ours = network.quantizer.encode(features)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    different = ours != theirs
    margin = network.quantizer.boundary_distance(features)
    from_theirs, from_ours = codec.network.quantizer.to_features(theirs), network.quantizer.decode(theirs)
    assert (from_theirs - from_ours).abs().max() < 1e-5
    errors = {}
    for dtype in reversed(WAVEFORM_TOLERANCE):  # float32 last: what the next clip runs in
        codec.network.to(dtype), network.to(dtype)
        expected = codec.decode_audio(audio_feature=from_theirs.to(dtype))
        decoded = network.decode_features((from_ours if dtype == torch.float32 else from_theirs).to(dtype)).squeeze(1)
        assert expected.dtype == decoded.dtype == dtype, (expected.dtype, decoded.dtype)
        errors[dtype] = float((decoded - expected).abs().max())
    return {
        "tokens": ours.numel(),
        "distinct": ours.unique().numel(),
        "flips": int((different & (margin <= BOUNDARY)).sum()),
        "wrong": int((different & (margin > BOUNDARY)).sum()),
        "near": int((margin <= BOUNDARY).sum()),
        "errors": errors,
        "peak": float(expected.abs().max()),
    }


def read_speech(paths: list[str], sample_rate: int, seconds: float) -> Tensor:
    """The files joined, resampled, repeated if short, cut to `seconds`: [1, T]."""
    clips = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        clips.append(soxr.resample(samples.mean(axis=1), rate, sample_rate))
    speech, length = np.concatenate(clips), round(seconds * sample_rate)
    speech = np.tile(speech, -(-length // len(speech)))[:length]
    return torch.from_numpy(np.ascontiguousarray(speech, dtype=np.float32)).unsqueeze(0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("speech", nargs="+", help="audio files")
    parser.add_argument("--models", nargs="+", default=published_names(), choices=published_names())
    parser.add_argument("--seconds", nargs="+", type=float, default=list(LENGTHS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep-norms", action="store_true", help="do not fold weight norm and GRN")
    arguments = parser.parse_args()
    print("| model | seconds | tokens | distinct | flips | near | wrong | error, float32 | float64 | peak | |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    failures = 0
    for name in arguments.models:
        sample_rate = published_config(name).sample_rate
        codec, toml = build_reference(name, arguments.seed, read_speech(arguments.speech, sample_rate, 3.0))
        network = load_ours(codec, toml, fold=not arguments.keep_norms)
        for seconds in arguments.seconds:
            samples = read_speech(arguments.speech, sample_rate, seconds)
            row = compare(codec, network, samples)
            close = all(row["errors"][dtype] <= most for dtype, most in WAVEFORM_TOLERANCE.items())
            passed = row["wrong"] == 0 and close
            failures += not passed
            print(
                f"| {name} | {seconds:g} | {row['tokens']} | {row['distinct']} | {row['flips']} | "
                f"{row['near']} | {row['wrong']} | {row['errors'][torch.float32]:.1e} | "
                f"{row['errors'][torch.float64]:.1e} | {row['peak']:.2f} | "
                f"{'ok' if passed else 'FAILED'} |",
                flush=True,
            )
    print(f"{failures} failures" if failures else "All agree.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""Local encoders for the perceptual loss, and teachers to distil from: a codec of this package, a transformers folder,
a TorchScript file; as a teacher also Whisper of the extra 'wer'.

Letters: B batch, T samples, C channels, N frames, L layers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sqcodec.checkpoint import load_model, load_weights
from sqcodec.data.teacher import Teacher
from sqcodec.evaluation.recognition import encode_speech, whisper_files
from sqcodec.identity import hash_file
from sqcodec.nn import build_network
from sqcodec.nn.base import CodecNetwork
from sqcodec.registry import find_model
from sqcodec.training.whisper import WhisperStates, whisper_states


def load_encoder(source: str, script_rate: int, entry: str = "loss.perceptual_encoder") -> tuple[nn.Module, int]:
    """(module that maps samples [B, T] to features, the sample rate in Hz that it takes).

    Args:
        entry: of the recipe, for messages.
        source: "whisper" (Whisper base, of the extra 'wer'), name or folder of a codec, folder of a transformers model,
            or a file of ``torch.export`` (.pt2) or TorchScript.
        script_rate: the rate of such a file, which does not say.
    Raises:
        MissingExtra (an ImportError): "whisper" is not installed.
        ValueError: there is no such encoder, or it is of an unknown kind.
    """
    if source == "whisper":
        return whisper_states(), 16000
    path = Path(source)
    if path.suffix == ".pt2" and path.is_file():
        return torch.export.load(path).module(), script_rate
    if path.is_file():
        try:
            return torch.jit.load(str(path), map_location="cpu").eval(), script_rate
        except RuntimeError as error:
            raise ValueError(f"{entry} '{source}' is not a TorchScript file: {error}") from error
    if (path / "config.json").is_file():
        return _from_transformers(path, entry)
    config, tensors, _ = load_model(find_model(source))
    network = build_network(config)
    load_weights(network, tensors)
    return CodecFeatures(network).eval(), config.sample_rate


def load_teacher(source: str, layer: int, script_rate: int) -> Teacher:
    """A teacher of the kinds of ``load_encoder``, or "whisper": Whisper base, as the word error rate uses it.

    Of a file the rate is found by trying, and frames are taken to lie in the middle of what they are computed from.
    ``layer``: of several the one that teaches.

    Raises:
        MissingExtra (an ImportError): "whisper" is not installed.
        ValueError: there is no such teacher or layer, or its features are not frames.
    """
    if source == "whisper":
        if layer != -1:
            raise ValueError(f"loss.semantic_layer is {layer}: of 'whisper' there is only the last layer, -1.")
        return Teacher(encode_speech, 16000, 50.0, 0.0)
    encoder, rate = load_encoder(source, script_rate, "loss.semantic_teacher")

    @torch.no_grad()
    def features(samples: np.ndarray) -> np.ndarray:
        found = encoder(torch.from_numpy(np.ascontiguousarray(samples))[None])
        layers = list(found) if isinstance(found, (list, tuple)) else [found]
        if not -1 <= layer < len(layers):
            raise ValueError(f"loss.semantic_layer is {layer}: '{source}' has layers 0 to {len(layers) - 1}, or -1.")
        if layers[layer].dim() != 3:
            raise ValueError(f"'{source}' gives features {list(layers[layer].shape)}: a teacher gives [B, M, D].")
        return layers[layer][0].float().numpy()

    one, more = (len(features(np.zeros(seconds * rate, np.float32))) for seconds in (1, 11))
    if more <= one:
        raise ValueError(f"'{source}' gives {one} frames for 1 s and {more} for 11 s: it cannot teach.")
    frames = (more - one) / 10
    return Teacher(features, rate, *getattr(encoder, "frames", (frames, (1.0 - (one - 1) / frames) / 2)))


def teacher_identity(source: str, layer: int, script_rate: int) -> str:
    """The same where ``load_teacher`` gives the same features: made of the contents of its files."""
    if source == "whisper":
        source, files = "Whisper base, CTranslate2, int8", whisper_files()
    else:
        path = Path(source) if Path(source).exists() else find_model(source)
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        source = "encoder"
    kinds = (".json", ".toml", ".safetensors", ".bin", ".pt", ".pt2")
    hashes = [hash_file(file) for file in files if file.suffix in kinds]
    return json.dumps([source, layer, script_rate, hashes])


class CodecFeatures(nn.Module):
    """What the encoder of a codec gives to its quantizer."""

    def __init__(self, network: CodecNetwork) -> None:
        super().__init__()
        self.network = network
        self.frames = (network.config.token_rate, network.config.first_moment)
        """Their rate (Hz), and what moment (s) the first is about."""

    def forward(self, samples: Tensor) -> Tensor:
        """[B, T] -> [B, N, C]."""
        return self.network.encode_features(self.network.pad(samples[:, None]))


class HiddenStates(nn.Module):
    """Hidden states of a transformers model that takes samples (wav2vec 2.0, HuBERT, WavLM, ...)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        field, step = 1, 1
        for kernel, stride in zip(model.config.conv_kernel, model.config.conv_stride, strict=True):
            field, step = field + (kernel - 1) * step, step * stride
        self.frames = (16000 / step, (field - 1) / 2 / 16000)

    def forward(self, samples: Tensor) -> list[Tensor]:
        """[B, T] -> L + 1 times [B, N, C]."""
        mean, deviation = samples.mean(-1, keepdim=True), samples.std(-1, keepdim=True)
        states = self.model((samples - mean) / (deviation + 1e-5), output_hidden_states=True).hidden_states
        return list(states)


def _from_transformers(folder: Path, entry: str) -> tuple[nn.Module, int]:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(f"A transformers folder as {entry} needs: pip install transformers") from error
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    model: Any = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    if kind == "whisper":
        return WhisperStates(model.encoder, model.config.num_mel_bins), 16000
    if model.main_input_name != "input_values":
        raise ValueError(
            f"{entry} '{folder}' is a '{kind}', which does not take samples. Use Whisper, wav2vec 2.0, "
            "HuBERT or WavLM, or a TorchScript file."
        )
    return HiddenStates(model), 16000

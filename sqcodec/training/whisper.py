"""Whisper's encoder with gradients, for the perceptual loss: of a transformers folder, or of the extra 'wer'.

Letters: B batch, T samples, C channels, N frames, L layers.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from sqcodec.evaluation.recognition import whisper_folder
from sqcodec.extras import require

FFT, HOP = 400, 160
STORED = {0: np.float32, 4: np.float16}
"""Types of the numbers in a CTranslate2 file that are read here."""


class WhisperStates(nn.Module):
    """Hidden states of Whisper's encoder, on as many frames as there are (it was trained on 30 s).

    Args:
        encoder: that of transformers.
        num_mels: bands that it takes.
    """

    frames = (50.0, 0.0)

    def __init__(self, encoder: Any, num_mels: int) -> None:
        super().__init__()
        import librosa

        self.encoder = encoder
        mel = librosa.filters.mel(sr=16000, n_fft=FFT, n_mels=num_mels)
        self.register_buffer("mel", torch.from_numpy(mel), persistent=False)
        self.register_buffer("window", torch.hann_window(FFT), persistent=False)

    def forward(self, samples: Tensor) -> list[Tensor]:
        """[B, T] -> L + 1 times [B, N, C]."""
        encoder, found = self.encoder, []
        x = nn.functional.gelu(encoder.conv1(self.log_mel(samples)))
        x = nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
        x = x + encoder.embed_positions.weight[: x.shape[1]]
        for layer in encoder.layers:
            found.append(x)
            result = layer(x, attention_mask=None)
            x = result[0] if isinstance(result, tuple) else result
        return [*found, encoder.layer_norm(x)]

    def log_mel(self, samples: Tensor) -> Tensor:
        """[B, T] -> [B, bands, frames], as Whisper's feature extractor computes it (arXiv 2212.04356, section 2.2)."""
        with torch.autocast(samples.device.type, enabled=False):
            window = self.get_buffer("window")
            spectrum = torch.stft(samples.float(), FFT, HOP, window=window, return_complex=True)[..., :-1]
            power = spectrum.real.square() + spectrum.imag.square()
            mel = (self.get_buffer("mel") @ power).clamp_min(1e-10).log10()
            return (torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


def whisper_states() -> WhisperStates:
    """Whisper base of the extra 'wer'; needs transformers, of the extra 'lm'.

    Raises:
        MissingExtra (an ImportError): one of them is not installed.
        ValueError: its weights are stored in integers.
    """
    transformers = require("transformers.models.whisper.modeling_whisper", "lm", "Whisper with gradients")
    weights = read_ctranslate2(whisper_folder() / "model.bin")
    width, num_mels, _ = weights["encoder/conv1/weight"].shape
    layers = sum(name.endswith("/self_attention/linear_0/weight") for name in weights)
    config = transformers.WhisperConfig(
        d_model=width,
        num_mel_bins=num_mels,
        encoder_layers=layers,
        encoder_attention_heads=int(weights["encoder/num_heads"]),
        encoder_ffn_dim=len(weights["encoder/layer_0/ffn/linear_0/bias"]),
        attn_implementation="eager",  # for a second of speech faster on a CPU than the fused one
    )
    encoder = transformers.WhisperEncoder(config).eval()
    encoder.load_state_dict(_as_transformers_names(weights, layers))
    return WhisperStates(encoder, num_mels)


def _as_transformers_names(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """CTranslate2 keeps query, key and value in one matrix, and gives the key a bias of zeros."""
    modules = {"conv1": "conv1", "conv2": "conv2", "layer_norm": "layer_norm"}
    named = {"embed_positions.weight": weights["encoder/position_encodings/encodings"]}
    for index in range(layers):
        ours, theirs = f"layers.{index}", f"layer_{index}"
        for kind in ("weight", "bias"):
            parts = weights[f"encoder/{theirs}/self_attention/linear_0/{kind}"].chunk(3)
            named |= {f"{ours}.self_attn.{name}_proj.{kind}": part for name, part in zip("qkv", parts, strict=True)}
        del named[f"{ours}.self_attn.k_proj.bias"]
        modules |= {
            f"{ours}.self_attn_layer_norm": f"{theirs}/self_attention/layer_norm",
            f"{ours}.self_attn.out_proj": f"{theirs}/self_attention/linear_1",
            f"{ours}.final_layer_norm": f"{theirs}/ffn/layer_norm",
            f"{ours}.fc1": f"{theirs}/ffn/linear_0",
            f"{ours}.fc2": f"{theirs}/ffn/linear_1",
        }
    for ours, theirs in modules.items():
        kinds = ("gamma", "beta") if theirs.endswith("layer_norm") else ("weight", "bias")
        for ending, kind in zip(("weight", "bias"), kinds, strict=True):
            named[f"{ours}.{ending}"] = weights[f"encoder/{theirs}/{kind}"]
    return named


def read_ctranslate2(path: Path) -> dict[str, Tensor]:
    """The encoder's numbers of a CTranslate2 model (``model.bin``, version 6 of its format) by their names, in float32.

    Raises:
        ValueError: another format, a file that is cut off, or weights in integers; the message names the file.
    """
    found: dict[str, Tensor] = {}
    with path.open("rb") as file:
        try:
            (version,) = struct.unpack("<I", file.read(4))
            if version != 6:
                raise ValueError(f"version {version} of the format; 6 is known")
            _text(file)  # the kind of model, and below its revision
            _, count = struct.unpack("<II", file.read(8))
            for _ in range(count):
                name, rank = _text(file), file.read(1)[0]
                shape = struct.unpack(f"<{rank}I", file.read(4 * rank))
                kind, length = struct.unpack("<BI", file.read(5))
                if not name.startswith("encoder/"):
                    file.seek(length, 1)
                elif kind in STORED:
                    values = np.frombuffer(file.read(length), STORED[kind]).astype(np.float32)
                    found[name] = torch.from_numpy(values.reshape(shape))
                elif length <= 8:
                    found[name] = torch.tensor(int.from_bytes(file.read(length), "little"))
                else:
                    raise ValueError(f"'{name}' is stored in integers: weights in float16 or float32 are needed")
            if "encoder/conv1/weight" not in found:
                raise ValueError("it has no encoder like Whisper's")
        except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
            raise ValueError(f"'{path}' is no CTranslate2 model that can be trained with: {error}") from error
    return found


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<H", file.read(2))
    return file.read(length).rstrip(b"\0").decode()

"""EnCodec, DAC and Mimi through `transformers`: `hf:FOLDER` or `hf:FOLDER:KBPS`.

FOLDER holds weights in the transformers format (`config.json`, `model.safetensors`); nothing is downloaded. KBPS
chooses as many codebooks as fit (EnCodec: one of the model's bandwidths); without it all of them are used.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np

from .extras import MissingExtra, require, version
from .systems import Coded, SystemInfo
from .utterances import Utterance

_KINDS = ("encodec", "dac", "mimi")


class TransformersCodec:
    """A codec of the transformers library, on clips of one channel at its own sample rate."""

    def __init__(self, kind: str, setting: str, device: str) -> None:
        folder, _, rate = setting.rpartition(":")
        if not _is_number(rate) or not folder:
            folder, rate = setting, ""
        if not Path(folder, "config.json").is_file():
            raise MissingExtra(f"hf:{setting}: '{folder}' is no folder with config.json and weights.")
        self._torch = require("torch", "baselines", "hf:")
        transformers = require("transformers", "baselines", "hf:")
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type not in _KINDS:
            raise ValueError(f"hf:{setting} is a '{config.model_type}' model; choose one of {', '.join(_KINDS)}.")
        model = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
        self._model, self._config, self._device = model.to(device).eval(), config, device
        self._folder = folder
        self._rate = int(config.sampling_rate)
        self._frame_rate = self._rate / self._hop()
        self._bits = math.log2(config.codebook_size)
        self._num_quantizers = self._choose(setting, 1000 * float(rate) if rate else None)

    def info(self) -> SystemInfo:
        label = f"{Path(self._folder).name} {self._bit_rate() / 1000:.3g}"
        versions = {"transformers": version("transformers")}
        weights = sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in Path(self._folder).iterdir())
        fingerprint = f"hf {self._num_quantizers} {versions} {weights}"
        return SystemInfo(label, self._bit_rate(), self._rate, versions, fingerprint)

    def code(self, utterance: Utterance) -> Coded:
        torch = self._torch
        samples = utterance.load(self._rate)
        values = torch.from_numpy(samples)[None, None].to(self._device)
        with torch.inference_mode():
            start = time.perf_counter()
            codes, scales = self._encode(values)
            middle = time.perf_counter()
            decoded = self._decode(codes, scales).float().cpu().numpy().reshape(-1)
            end = time.perf_counter()
        tokens = codes.reshape(-1, codes.shape[-1]).T.cpu().numpy()  # [N, Q]
        return Coded(
            decoded[: len(samples)].astype(np.float32),
            self._rate,
            payload_bits=round(tokens.size * self._bits),
            tokens=tokens,
            encode_seconds=middle - start,
            decode_seconds=end - middle,
        )

    def _encode(self, values):  # noqa: ANN001, ANN202 - tensors of an optional package
        if self._config.model_type == "encodec":
            encoded = self._model.encode(values, bandwidth=self._bit_rate() / 1000)
            return encoded.audio_codes, encoded.audio_scales
        if self._config.model_type == "mimi":
            return self._model.encode(values, num_quantizers=self._num_quantizers).audio_codes, None
        return self._model.encode(values, n_quantizers=self._num_quantizers).audio_codes, None

    def _decode(self, codes, scales):  # noqa: ANN001, ANN202
        if self._config.model_type == "encodec":
            return self._model.decode(codes, scales).audio_values
        if self._config.model_type == "mimi":
            return self._model.decode(codes).audio_values
        return self._model.decode(audio_codes=codes).audio_values

    def _hop(self) -> float:
        if self._config.model_type == "mimi":
            return self._rate / self._config.frame_rate
        ratios = getattr(self._config, "upsampling_ratios", None) or self._config.downsampling_ratios
        return float(math.prod(ratios))

    def _bit_rate(self) -> float:
        return self._num_quantizers * self._bits * self._frame_rate

    def _choose(self, setting: str, wanted: float | None) -> int:
        """How many codebooks: all, or as many as fit in `wanted` bit/s."""
        each = self._bits * self._frame_rate
        if self._config.model_type == "encodec":
            allowed = [round(1000 * bandwidth / each) for bandwidth in self._config.target_bandwidths]
        else:
            name = "num_quantizers" if self._config.model_type == "mimi" else "n_codebooks"
            allowed = list(range(1, getattr(self._config, name) + 1))
        fitting = [count for count in allowed if wanted is None or count * each <= wanted * 1.005]
        if not fitting:
            raise ValueError(f"hf:{setting}: the lowest rate of this model is {allowed[0] * each / 1000:.3g} kbit/s.")
        return max(fitting)


def _is_number(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False

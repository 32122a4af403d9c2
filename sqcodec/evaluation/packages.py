"""DAC and SNAC through their authors' packages: `dac:FILE[:KBPS]`, `snac:FOLDER`. Nothing is downloaded.

FILE is what `python -m dac download` leaves (or `DAC.save`); FOLDER holds SNAC's `config.json` and
`pytorch_model.bin`. Clips have one channel and are coded whole.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from .extras import MissingExtra, require, stand_in, version
from .systems import Coded, SystemInfo, split_rate
from .utterances import Utterance


class Dac:
    """Descript Audio Codec (Kumar et al., arXiv 2306.06546), with as many codebooks as fit in KBPS, or all."""

    def __init__(self, kind: str, setting: str, device: str) -> None:
        path, rate = split_rate(setting)
        if not Path(path).is_file():
            raise MissingExtra(f"dac:{setting}: there is no weights file '{path}'.")
        self._torch = require("torch", "dac", "dac:")
        with stand_in("torchaudio"):  # its tools import it for reading files, which is not done here
            package = require("dac", "dac", "dac:")
        self._model = package.DAC.load(path).to(device).eval()
        self._path, self._device, self._rate = Path(path), device, int(self._model.sample_rate)
        bits = math.log2(self._model.codebook_size)
        each = bits * self._rate / self._model.hop_length
        count = self._model.n_codebooks if rate is None else math.floor(1000 * rate * 1.005 / each)
        if count < 1:
            raise ValueError(f"dac:{setting}: the lowest rate of this model is {each / 1000:.3g} kbit/s.")
        self._count, self._bits = min(count, self._model.n_codebooks), bits
        self._bit_rate = self._count * each

    def info(self) -> SystemInfo:
        return _info("DAC", self._bit_rate, self._rate, "descript-audio-codec", [self._path], str(self._count))

    def code(self, utterance: Utterance) -> Coded:
        samples = utterance.load(self._rate)
        with self._torch.inference_mode():
            values = self._torch.from_numpy(samples)[None, None].to(self._device)
            start = time.perf_counter()
            codes = self._model.encode(self._model.preprocess(values, self._rate), n_quantizers=self._count)[1]
            middle = time.perf_counter()
            decoded = self._model.decode(self._model.quantizer.from_codes(codes)[0]).cpu().numpy().reshape(-1)
            end = time.perf_counter()
        tokens = codes[0].T.cpu().numpy()  # [N, Q]
        return Coded(
            decoded[: len(samples)].astype(np.float32),
            self._rate,
            payload_bits=round(tokens.size * self._bits),
            tokens=tokens,
            encode_seconds=middle - start,
            decode_seconds=end - middle,
        )


class Snac:
    """SNAC (Siuzdak et al., arXiv 2410.14411): codebooks at several rates, so no single array of tokens."""

    def __init__(self, kind: str, setting: str, device: str) -> None:
        files = [Path(setting) / name for name in ("config.json", "pytorch_model.bin")]
        for file in files:
            if not file.is_file():
                raise MissingExtra(f"snac:{setting}: there is no '{file}'.")
        self._torch = require("torch", "snac", "snac:")
        model = require("snac", "snac", "snac:").SNAC.from_config(str(files[0]))
        model.load_state_dict(self._torch.load(files[1], map_location="cpu", weights_only=True))
        self._model: Any = model.to(device).eval()
        self._files, self._device, self._rate = files, device, int(model.sampling_rate)
        self._bits = math.log2(model.codebook_size)
        self._bit_rate = self._bits * sum(self._rate / model.hop_length / stride for stride in model.vq_strides)

    def info(self) -> SystemInfo:
        return _info("SNAC", self._bit_rate, self._rate, "snac", self._files, "")

    def code(self, utterance: Utterance) -> Coded:
        samples = utterance.load(self._rate)
        with self._torch.inference_mode():
            values = self._torch.from_numpy(samples)[None, None].to(self._device)
            start = time.perf_counter()
            codes = self._model.encode(values)
            middle = time.perf_counter()
            decoded = self._model.decode(codes).cpu().numpy().reshape(-1)
            end = time.perf_counter()
        return Coded(
            decoded[: len(samples)].astype(np.float32),
            self._rate,
            payload_bits=round(sum(stream.numel() for stream in codes) * self._bits),
            encode_seconds=middle - start,
            decode_seconds=end - middle,
        )


def _info(label: str, bit_rate: float, sample_rate: int, package: str, files: list[Path], more: str) -> SystemInfo:
    versions = {package: version(package)}
    weights = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    label = f"{label} {bit_rate / 1000:.3g}"
    return SystemInfo(label, bit_rate, sample_rate, versions, f"{label} {more} {versions} {weights}")

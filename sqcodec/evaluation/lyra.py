"""Lyra 2 (Google, Apache-2.0) from its three TFLite files: `lyra:3.2`, `lyra:6` or `lyra:9.2`.

The files are not part of this package: SQCODEC_LYRA_DIR names their folder (`soundstream_encoder.tflite`,
`quantizer.tflite`, `lyragan.tflite`). They run in `ai-edge-litert`, one 20 ms frame at a time at 16 kHz; the
interpreters keep the streaming state, so each clip has fresh ones.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from .extras import MissingExtra, require, version
from .systems import Coded, SystemInfo
from .utterances import Utterance

_RATE, _FRAME, _MAX_QUANTIZERS = 16000, 320, 46
_QUANTIZERS = {"3.2": 16, "6": 30, "6.0": 30, "9.2": 46}
_FILES = ("soundstream_encoder.tflite", "quantizer.tflite", "lyragan.tflite")


class Lyra:
    """Lyra 2 at one of its three rates: 4 bits for each of 16, 30 or 46 quantizers, 50 times a second."""

    def __init__(self, kind: str, setting: str, device: str) -> None:
        if setting not in _QUANTIZERS:
            raise ValueError(f"'lyra:{setting}': choose one of 3.2, 6, 9.2.")
        self.setting, self.num_quantizers = setting, _QUANTIZERS[setting]
        folder = os.environ.get("SQCODEC_LYRA_DIR", "")
        missing = [name for name in _FILES if not Path(folder, name).is_file()]
        if not folder or missing:
            where = f"'{folder}' has no {missing[0]}" if folder else "it is not set"
            raise MissingExtra(f"lyra:{setting} needs SQCODEC_LYRA_DIR, the folder of {', '.join(_FILES)}: {where}.")
        self._folder = Path(folder)
        self._litert = require("ai_edge_litert.interpreter", "lyra", "Lyra")

    def info(self) -> SystemInfo:
        versions = {"ai-edge-litert": version("ai-edge-litert")}
        rate = 200.0 * self.num_quantizers
        return SystemInfo(f"Lyra 2 {self.setting}", rate, _RATE, versions, f"lyra:{self.setting} {versions}")

    def code(self, utterance: Utterance) -> Coded:
        samples = utterance.load(_RATE)
        num_frames = -(-len(samples) // _FRAME)
        frames = np.pad(samples, (0, num_frames * _FRAME - len(samples))).astype(np.float32).reshape(-1, 1, _FRAME)
        encoder, quantizer, decoder = (self._interpreter(name) for name in _FILES)
        encode, quantize = encoder.get_signature_runner("serving_default"), quantizer.get_signature_runner("encode")
        dequantize = quantizer.get_signature_runner("decode")
        decode = decoder.get_signature_runner("serving_default")
        count = np.array(self.num_quantizers, np.int32)
        start = time.perf_counter()
        codes = []
        for frame in frames:
            features = encode(input_audio=frame)["output_0"]
            found = next(iter(quantize(input_frames=features, num_quantizers=count).values()))
            found = np.array(found, np.int32)
            found[self.num_quantizers :] = -1
            codes.append(found)
        middle = time.perf_counter()
        decoded = []
        for code in codes:
            features = next(iter(dequantize(encoding_indices=code).values()))
            decoded.append(np.array(next(iter(decode(input_audio=features).values()))).reshape(-1))
        end = time.perf_counter()
        bits = 4 * self.num_quantizers * num_frames
        out = np.concatenate(decoded).astype(np.float32)
        return Coded(out, _RATE, bits, bits, None, middle - start, end - middle)

    def _interpreter(self, name: str) -> Any:
        interpreter = self._litert.Interpreter(model_path=str(self._folder / name), num_threads=1)
        interpreter.allocate_tensors()
        return interpreter

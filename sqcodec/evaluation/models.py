"""A model of this package as a system: `sqcodec:NAME|FOLDER`."""

from __future__ import annotations

import time

import numpy as np

from .systems import Coded, SystemInfo
from .utterances import Utterance


class SqcodecModel:
    """Codes each clip whole, at the model's own sample rate. The payload is what the code file's packing takes."""

    def __init__(self, kind: str, setting: str, device: str) -> None:
        import torch

        import sqcodec

        self._setting, self._torch_version = setting, torch.__version__
        self._codec = sqcodec.load(setting, device=device)

    def info(self) -> SystemInfo:
        codec = self._codec
        return SystemInfo(
            codec.name or self._setting,
            float(codec.bit_rate),
            int(codec.sample_rate),
            {"torch": self._torch_version},
            f"sqcodec {codec.weights_hash}",
            int(codec.codebook_size),
        )

    def code(self, utterance: Utterance) -> Coded:
        from sqcodec import container

        codec = self._codec
        samples = utterance.load(codec.sample_rate)
        start = time.perf_counter()
        tokens = codec.encode(samples, codec.sample_rate)
        middle = time.perf_counter()
        decoded = codec.decode(tokens, length=len(samples))
        end = time.perf_counter()
        flat = tokens.reshape(-1).cpu().numpy()
        payload = 8 * container.packed_size(len(flat), codec.codebook_size)
        return Coded(
            decoded.reshape(-1).float().cpu().numpy().astype(np.float32),
            codec.sample_rate,
            payload_bits=payload,
            tokens=flat,
            encode_seconds=middle - start,
            decode_seconds=end - middle,
        )

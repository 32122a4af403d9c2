"""A model of this package as a system: `sqcodec:NAME|FOLDER`, with `:KBPS` behind it at one of its rates."""

from __future__ import annotations

import time

import numpy as np

from .systems import Coded, SystemInfo, split_rate
from .utterances import Utterance


class SqcodecModel:
    """Codes each clip whole, at the model's own sample rate. The payload is what the code file's packing takes."""

    def __init__(self, kind: str, setting: str, device: str) -> None:
        import torch

        import sqcodec

        self._setting, rate = split_rate(setting)
        self._torch_version = torch.__version__
        self._codec = sqcodec.load(self._setting, device=device)
        self._bits = self._codec.config.pick_bits(kbps=rate)
        self._at = f" @ {rate:g} kbit/s" if rate else ""

    def info(self) -> SystemInfo:
        codec = self._codec
        return SystemInfo(
            (codec.name or self._setting) + self._at,
            1000 * codec.config.kbps(self._bits),
            int(codec.sample_rate),
            {"torch": self._torch_version},
            f"sqcodec {codec.weights_hash}" + (f" {self._bits} bits" if self._bits else ""),
            codec.config.codes(self._bits),
        )

    def code(self, utterance: Utterance) -> Coded:
        from sqcodec import container
        from sqcodec.entropy import BlockWriter

        codec = self._codec
        samples = utterance.load(codec.sample_rate)
        start = time.perf_counter()
        tokens = codec.encode(samples, codec.sample_rate, bits=self._bits)
        middle = time.perf_counter()
        decoded = codec.decode(tokens, length=len(samples), bits=self._bits)
        end = time.perf_counter()
        flat = tokens.reshape(-1).cpu().numpy()
        size, compact = codec.config.codes(self._bits), None
        if codec.has_predictor:
            writer = BlockWriter(codec.predictor, 1, size, codec.levels)
            writer.push(flat[None])
            compact = 8 * min(len(writer.flush()), container.packed_size(len(flat), size))
        return Coded(
            decoded.reshape(-1).float().cpu().numpy().astype(np.float32),
            codec.sample_rate,
            payload_bits=8 * container.packed_size(len(flat), size),
            compact_bits=compact,
            tokens=flat,
            encode_seconds=middle - start,
            decode_seconds=end - middle,
        )

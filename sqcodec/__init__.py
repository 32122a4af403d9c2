"""sqcodec: single-quantizer neural audio codecs.

>>> import sqcodec
>>> codec = sqcodec.load("speech-3k")
>>> tokens = codec.encode("talk.wav")             # int64 [C, N]; or samples [C, T] and their rate
>>> samples = codec.decode(tokens)                # float32 [C, T] at codec.sample_rate
>>> sqcodec.audio.save("decoded.wav", samples, codec.sample_rate)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sqcodec import audio
    from sqcodec.codec import Codec, Precision
    from sqcodec.config import ModelConfig
    from sqcodec.streaming import StreamDecoder, StreamEncoder

__all__ = ["Codec", "ModelConfig", "StreamDecoder", "StreamEncoder", "audio", "load"]

_HOMES = {"Codec": "codec", "ModelConfig": "config", "StreamDecoder": "streaming", "StreamEncoder": "streaming"}


def load(
    model: str | Path = "speech-3k", device: str = "cpu", precision: Precision = "float32", compiled: bool = False
) -> Codec:
    """Loads a codec by name (``sqcodec models`` lists them), from a model or run folder, or from the model hub
    ("owner/name"); options as of ``Codec``."""
    from sqcodec.codec import Codec

    return Codec.from_pretrained(model, device, precision, compiled)


def __getattr__(name: str) -> object:
    # torch and numpy are imported when they are needed, so that the command line answers at once.
    if name == "audio":
        return importlib.import_module("sqcodec.audio")
    if name in _HOMES:
        return getattr(importlib.import_module(f"sqcodec.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sqcodec' has no attribute {name!r}")

"""Shared by the tests of the command line: a tiny model, and ways to run a verb."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sqcodec
from sqcodec import cli
from sqcodec.config import FrameConfig, FrameDecoder, FrameEncoder, FrameTransformer, quantizer_config

HOP = 64


def tiny_config(name: str) -> FrameConfig:
    return FrameConfig(
        name=name,
        feature_dim=16,
        lookahead=192,
        frame_length=HOP,
        tokens_per_frame=1,
        encoder=FrameEncoder(n_fft=256, dim=16, depth=1, layer_scale=0.0),
        transformer=FrameTransformer(window=8, heads=2, decoder_depth=1, layer_scale=0.0),
        decoder=FrameDecoder(n_fft=256, subframes=1, dim=16, depth=1, layer_scale=0.0),
        quantizer=quantizer_config(levels=(7, 7, 7)),
    )


def program(*arguments: object, code: str = "", **options) -> subprocess.CompletedProcess:
    """The real program, or ``code`` in a process of its own."""
    command = [sys.executable, *(["-c", code] if code else ["-m", "sqcodec"]), *map(str, arguments)]
    path = f"{Path(sqcodec.__file__).parent.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, env=environment, timeout=120, **options)


def encode(*arguments: object) -> int:
    return cli.main(["encode", *map(str, arguments), "--model", "tiny"])


def decode(*arguments: object) -> int:
    return cli.main(["decode", *map(str, arguments)])


def speech(seconds: float, rate: int = 16000, channels: int = 1) -> np.ndarray:
    """[C, T]: something with the envelope of syllables, different in each channel."""
    time_axis = np.arange(max(round(seconds * rate), 1)) / rate
    phase = 2 * np.pi * (150 + 30 * np.sin(5 * time_axis)) * time_axis + np.arange(channels)[:, None]
    return (0.3 * np.sin(phase) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time_axis))).astype(np.float32)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def failure(capsys: pytest.CaptureFixture) -> str:
    """stderr of the run before: its lines, none a traceback."""
    errors = capsys.readouterr().err
    assert errors and "Traceback" not in errors
    return errors

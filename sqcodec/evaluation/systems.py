"""What can be evaluated, behind one small interface: a `System` turns samples into `Coded`.

A system is named by a text, such as `opus:6`, from which every worker process builds its own:

    original             what went in (the ceiling of every metric)
    opus:KBPS            Opus as its encoder sees fit: narrowband at 6 and 8 kbit/s, wideband from 12
    opus-wb:KBPS         Opus, wideband forced
    codec2:MODE          Codec2 at 3200, 2400, 1600, 1400, 1300, 1200 or 700C bit/s, 8 kHz
    speex:QUALITY        Speex wideband, quality 0 to 10; `speex-nb:QUALITY` narrowband
    mp3:KBPS             MP3 by LAME at 16 kHz
    lyra:KBPS            Lyra 2 at 3.2, 6 or 9.2 (its folder: environment variable SQCODEC_LYRA_DIR)
    hf:FOLDER[:KBPS]     EnCodec, DAC or Mimi weights in the transformers format
    dac:FILE[:KBPS]      DAC weights in its authors' format, by `descript-audio-codec`
    snac:FOLDER          SNAC weights in its authors' format, by `snac`
    onnx:FOLDER[:KBPS]   what `sqcodec export onnx` wrote, in ONNX Runtime
    dir:NAME=PATH        a folder of somebody's outputs, one file named like each clip
    sqcodec:NAME|FOLDER[:KBPS]  a model of this package (what `--model` means), at one of its rates
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from sqcodec import audio

from .scorers import REFERENCE_RATE
from .utterances import Utterance


@dataclass(frozen=True)
class Coded:
    """What a system made of a clip.

    `samples` float32 [T'] at `sample_rate` Hz, with the codec's own delay still in. `payload_bits` counts what
    the decoder needs, `file_bits` the file with its headers, `compact_bits` what the decoder needs where the tokens are
    entropy coded (models with a predictor); `tokens` are integers [N] or [N, Q] where the
    system has them; the times are in seconds, None where nothing was run.
    """

    samples: np.ndarray
    sample_rate: int
    payload_bits: int | None = None
    file_bits: int | None = None
    tokens: np.ndarray | None = None
    encode_seconds: float | None = None
    decode_seconds: float | None = None
    compact_bits: int | None = None


@dataclass(frozen=True)
class SystemInfo:
    """What the report says of a system. `bit_rate` is nominal, bit/s. `fingerprint` changes with the results."""

    label: str
    bit_rate: float | None
    sample_rate: int | None
    versions: dict[str, str]
    fingerprint: str
    codebook_size: int | None = None


class System(Protocol):
    """One codec at one setting. Built once a process; `code` may raise anything, which becomes a failed row."""

    def info(self) -> SystemInfo:
        """Label, nominal rate, versions."""
        ...

    def code(self, utterance: Utterance) -> Coded:
        """Codes and decodes one clip."""
        ...


_KINDS: dict[str, Callable[[str, str, str], System]] = {}
_MODULES = ("baselines", "neural")
_Maker = TypeVar("_Maker", bound=Callable[[str, str, str], System])


def system(*names: str) -> Callable[[_Maker], _Maker]:
    """Registers the class below it for kinds of these names. Its module is in `_MODULES`, or imported by its user."""

    def register(maker: _Maker) -> _Maker:
        _KINDS.update(dict.fromkeys(names, maker))
        return maker

    return register


def kinds() -> dict[str, Callable[[str, str, str], System]]:
    """Kind -> what makes such a system of (kind, the text after the colon, device)."""
    for module in _MODULES:
        importlib.import_module(f"{__package__}.{module}")
    return _KINDS


def make_system(text: str, device: str = "cpu") -> System:
    """The system that a text names.

    Raises:
        ValueError: no such kind of system, or a setting that it does not have.
        MissingExtra: its tool, package or weights are not here. The message says what to install.
    """
    kind, _, setting = text.partition(":")
    if kind not in kinds():
        raise ValueError(
            f"Unknown system '{text}'. The kinds are: {', '.join(kinds())}, as in opus:6; EnCodec, "
            "DAC and Mimi are hf:FOLDER, a folder of their weights."
        )
    return kinds()[kind](kind, setting, device)


def split_rate(setting: str) -> tuple[str, float | None]:
    """'PATH:6' -> ('PATH', 6.0); a path without a rate comes back whole."""
    path, _, rate = setting.rpartition(":")
    try:
        return (path, float(rate)) if path and float(rate) > 0 else (setting, None)
    except ValueError:
        return setting, None


def system_key(text: str) -> str:
    """A name for folders and tables: 'opus:6' -> 'opus-6', 'sqcodec:runs/a' -> 'a', 'dir:mine=/x' -> 'mine'."""
    kind, _, setting = text.partition(":")
    if kind == "dir":
        return _safe(setting.partition("=")[0])
    if kind == "sqcodec":
        return _safe(setting.rstrip("/").split("/")[-1])
    if kind in ("hf", "dac", "snac", "onnx"):
        return _safe(f"{kind}-{setting.rstrip('/').split('/')[-1]}")
    return _safe(text)


def _safe(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-")


@system("original")
class Original:
    """What went in: the ceiling of every metric."""

    def __init__(self, kind: str, setting: str, device: str) -> None:
        pass

    def info(self) -> SystemInfo:
        return SystemInfo("original", None, None, {}, "original")

    def code(self, utterance: Utterance) -> Coded:
        return Coded(utterance.load(REFERENCE_RATE), REFERENCE_RATE)


@system("dir")
class Folder:
    """`dir:NAME=PATH`: outputs of another system, found as PATH/<clip name>.wav (or flac, ogg, ...)."""

    def __init__(self, kind: str, setting: str, device: str) -> None:
        self.name, _, path = setting.partition("=")
        self.path = Path(path)
        if not self.name or not path:
            raise ValueError(f"'dir:{setting}': write dir:NAME=PATH.")
        if not self.path.is_dir():
            raise FileNotFoundError(f"No folder '{self.path}' for dir:{self.name}.")
        files = sorted(self.path.rglob("*"))
        self._files = {file.stem: file for file in files if file.suffix.lower() in audio.SUFFIXES}

    def info(self) -> SystemInfo:
        newest = max((file.stat().st_mtime_ns for file in self._files.values()), default=0)
        return SystemInfo(self.name, None, None, {}, f"{self.path.resolve()} {len(self._files)} {newest}")

    def code(self, utterance: Utterance) -> Coded:
        file = self._files.get(utterance.name) or self._files.get(Path(utterance.path).stem)
        if file is None:
            raise FileNotFoundError(f"'{self.path}' has no file named '{utterance.name}'")
        samples, rate = audio.load(file)
        return Coded(samples.mean(axis=0), rate)

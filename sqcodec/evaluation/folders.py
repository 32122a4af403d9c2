"""Systems that only read: the original itself, and a folder of somebody's outputs."""

from __future__ import annotations

from pathlib import Path

from sqcodec import audio

from .scorers import REFERENCE_RATE
from .systems import Coded, SystemInfo, system
from .utterances import Utterance


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

"""Opus, Codec2, Speex and MP3 through their command-line tools.

Every clip goes in as 16-bit PCM, mono, at the rate the codec is meant for. Payload bits leave out the container
where there is one (Ogg pages and header packets); the file's size is reported beside it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import soundfile

from .extras import MissingExtra
from .systems import Coded, SystemInfo, system
from .utterances import Utterance

_TIMEOUT_SECONDS = 600
_CODEC2_MODES = ("3200", "2400", "1600", "1400", "1300", "1200", "700C")
_SPEEX_BIT_RATES = {  # quality -> bit/s, from the Speex manual, tables 9.1 and 9.2
    "speex": (3950, 5750, 7750, 9800, 12800, 16800, 20600, 23800, 27800, 34200, 42200),
    "speex-nb": (2150, 3950, 5950, 8000, 8000, 11000, 11000, 15000, 15000, 18200, 24600),
}


class CommandLineCodec(ABC):
    """A codec that is a pair of programs. Subclasses say which, and how they are called."""

    tools: tuple[str, ...] = ()
    debian_package = ""
    sample_rate = 16000  # Hz

    def __init__(self, kind: str, setting: str, device: str) -> None:
        self.kind, self.setting = kind, setting
        self.check_setting()
        for tool in self.tools:
            if shutil.which(tool) is None:
                raise MissingExtra(
                    f"{kind}:{setting} needs the program '{tool}': apt-get install {self.debian_package}"
                )

    def info(self) -> SystemInfo:
        versions = {tool: _tool_version(tool) for tool in self.tools}
        fingerprint = f"{self.kind}:{self.setting} {versions}"
        return SystemInfo(self.label(), self.bit_rate(), self.sample_rate, versions, fingerprint)

    def code(self, utterance: Utterance) -> Coded:
        samples = utterance.load(self.sample_rate)
        with tempfile.TemporaryDirectory(prefix="sqcodec-") as folder:
            source, coded, decoded = (Path(folder) / name for name in ("in.wav", "coded", "out.wav"))
            soundfile.write(source, np.clip(samples, -1, 1), self.sample_rate, subtype="PCM_16")
            start = time.perf_counter()
            coded = self.encode(source, coded)
            middle = time.perf_counter()
            out, rate = self.decode(coded, decoded)
            end = time.perf_counter()
            return Coded(
                out,
                rate,
                payload_bits=self.payload_bits(coded),
                file_bits=8 * coded.stat().st_size,
                encode_seconds=middle - start,
                decode_seconds=end - middle,
            )

    @abstractmethod
    def check_setting(self) -> None:
        """Raises ValueError where `setting` is not one the codec has."""

    @abstractmethod
    def label(self) -> str: ...

    @abstractmethod
    def bit_rate(self) -> float:
        """Nominal, bit/s."""

    @abstractmethod
    def encode(self, source: Path, coded: Path) -> Path:
        """Codes a WAV file; returns the code file."""

    @abstractmethod
    def decode(self, coded: Path, decoded: Path) -> tuple[np.ndarray, int]:
        """Samples float32 [T] and their rate."""

    def payload_bits(self, coded: Path) -> int:
        return 8 * coded.stat().st_size

    def number(self, lowest: float, highest: float) -> float:
        """The setting as a number in the range, or a ValueError."""
        try:
            value = float(self.setting)
        except ValueError:
            value = float("nan")
        if not lowest <= value <= highest:
            raise ValueError(f"'{self.kind}:{self.setting}': choose {lowest:g} to {highest:g}, as {self.kind}:8.")
        return value


@system("opus", "opus-wb")
class Opus(CommandLineCodec):
    """Opus (RFC 6716), variable bit rate. `opus` lets the encoder choose the bandwidth, `opus-wb` forces wideband.

    With libopus 1.3, wideband forced at 6 kbit/s scores far below the encoder's own choice, narrowband.
    """

    tools = ("opusenc", "opusdec")
    debian_package = "opus-tools"

    def check_setting(self) -> None:
        self.number(6, 256)

    def label(self) -> str:
        return f"Opus {self.setting}" if self.kind == "opus" else f"Opus {self.setting} (wideband)"

    def bit_rate(self) -> float:
        return 1000 * self.number(6, 256)

    def encode(self, source: Path, coded: Path) -> Path:
        force = ["--set-ctl-int", "4008=1103"] if self.kind == "opus-wb" else []  # SET_BANDWIDTH, WIDEBAND
        _call(["opusenc", "--quiet", "--bitrate", self.setting, *force, source, coded])
        return coded

    def decode(self, coded: Path, decoded: Path) -> tuple[np.ndarray, int]:
        _call(["opusdec", "--quiet", "--rate", "16000", "--no-dither", coded, decoded])
        return _read_wav(decoded)

    def payload_bits(self, coded: Path) -> int:
        return 8 * sum(ogg_packet_sizes(coded.read_bytes())[2:])


@system("codec2")
class Codec2(CommandLineCodec):
    """Codec2 (David Rowe), a parametric coder for 8 kHz speech."""

    tools = ("c2enc", "c2dec")
    debian_package = "codec2"
    sample_rate = 8000
    _header_bytes = 7

    def check_setting(self) -> None:
        if self.setting.upper() not in _CODEC2_MODES:
            raise ValueError(f"'codec2:{self.setting}': choose one of {', '.join(_CODEC2_MODES)}.")

    def label(self) -> str:
        return f"Codec2 {self.setting.upper()}"

    def bit_rate(self) -> float:
        return float(self.setting.rstrip("cC"))

    def encode(self, source: Path, coded: Path) -> Path:
        samples, _ = soundfile.read(source, dtype="int16")
        # the encoder drops the last frame (40 ms at most) where it is not whole
        raw = source.with_suffix(".raw")
        raw.write_bytes(np.pad(samples, (0, 320 - len(samples) % 320)).astype("<i2").tobytes())
        coded = coded.with_suffix(".c2")  # the suffix makes the tools write and read the header
        _call(["c2enc", self.setting.upper(), raw, coded])
        return coded

    def decode(self, coded: Path, decoded: Path) -> tuple[np.ndarray, int]:
        raw = decoded.with_suffix(".raw")
        _call(["c2dec", self.setting.upper(), coded, raw])
        return np.frombuffer(raw.read_bytes(), "<i2").astype(np.float32) / 32768, self.sample_rate

    def payload_bits(self, coded: Path) -> int:
        return 8 * (coded.stat().st_size - self._header_bytes)


@system("speex", "speex-nb")
class Speex(CommandLineCodec):
    """Speex, constant bit rate: `speex` is wideband (16 kHz), `speex-nb` narrowband (8 kHz)."""

    tools = ("speexenc", "speexdec")
    debian_package = "speex"

    def __init__(self, kind: str, setting: str, device: str) -> None:
        self.sample_rate = 8000 if kind == "speex-nb" else 16000
        super().__init__(kind, setting, device)

    def check_setting(self) -> None:
        if self.number(0, 10) % 1:
            raise ValueError(f"'{self.kind}:{self.setting}': the quality is a whole number, 0 to 10.")

    def label(self) -> str:
        band = "NB " if self.kind == "speex-nb" else ""
        return f"Speex {band}q{self.setting} ({self.bit_rate() / 1000:g}k)"

    def bit_rate(self) -> float:
        return float(_SPEEX_BIT_RATES[self.kind][int(self.setting)])

    def encode(self, source: Path, coded: Path) -> Path:
        band = "--narrowband" if self.kind == "speex-nb" else "--wideband"
        _call(["speexenc", band, "--quality", self.setting, source, coded])
        return coded

    def decode(self, coded: Path, decoded: Path) -> tuple[np.ndarray, int]:
        _call(["speexdec", coded, decoded])
        return _read_wav(decoded)

    def payload_bits(self, coded: Path) -> int:
        return 8 * sum(ogg_packet_sizes(coded.read_bytes())[2:])


@system("mp3")
class Mp3(CommandLineCodec):
    """MP3 by LAME, constant bit rate at 16 kHz (MPEG-2 Layer III)."""

    tools = ("lame",)
    debian_package = "lame"
    _rates = ("8", "16", "24", "32", "40", "48", "56", "64", "80", "96", "112", "128", "144", "160")

    def check_setting(self) -> None:
        if self.setting not in self._rates:
            raise ValueError(f"'mp3:{self.setting}': choose one of {', '.join(self._rates)}.")

    def label(self) -> str:
        return f"MP3 {self.setting}"

    def bit_rate(self) -> float:
        return 1000.0 * int(self.setting)

    def encode(self, source: Path, coded: Path) -> Path:
        _call(["lame", "--quiet", "--cbr", "-b", self.setting, "--resample", "16", source, coded])
        return coded

    def decode(self, coded: Path, decoded: Path) -> tuple[np.ndarray, int]:
        _call(["lame", "--quiet", "--decode", "--mp3input", coded, decoded])
        return _read_wav(decoded)


def ogg_packet_sizes(data: bytes) -> list[int]:
    """Bytes of each packet of a single-stream Ogg file (RFC 3533). Raises ValueError where it is not one."""
    sizes, position, open_packet = [], 0, 0
    while position < len(data):
        if data[position : position + 4] != b"OggS" or position + 27 > len(data):
            raise ValueError(f"Not an Ogg page at byte {position}.")
        segments = data[position + 27 : position + 27 + data[position + 26]]
        for segment in segments:
            open_packet += segment
            if segment < 255:
                sizes.append(open_packet)
                open_packet = 0
        position += 27 + len(segments) + sum(segments)
    return sizes


def _read_wav(path: Path) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate


def _call(command: list[str | Path]) -> None:
    """Runs a tool; RuntimeError with the last thing it said where it fails."""
    result = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if result.returncode:
        said = (result.stderr or result.stdout).decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"{command[0]} failed (exit {result.returncode}): {said[-1] if said else 'no message'}")


def _tool_version(tool: str) -> str:
    """The first version number that the tool or, where it has none, its Debian package tells."""
    for command in ([tool, "--version"], ["dpkg-query", "-W", "-f", "${Version}", "codec2"]):
        try:
            result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
        except OSError:
            continue
        lines = (result.stdout + result.stderr).decode(errors="replace").strip().splitlines()
        if result.returncode == 0 and lines and re.search(r"\d+\.\d+", lines[0]):
            return lines[0].strip()
    return "unknown"

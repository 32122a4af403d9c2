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

from sqcodec.extras import MissingExtra

from .systems import Coded, SystemInfo, system
from .utterances import Utterance

_TIMEOUT_SECONDS = 600
_CODEC2_MODES = ("3200", "2400", "1600", "1400", "1300", "1200", "700C")
_SPEEX_BIT_RATES = {  # quality -> bit/s, from the Speex manual, tables 9.1 and 9.2
    "speex": (3950, 5750, 7750, 9800, 12800, 16800, 20600, 23800, 27800, 34200, 42200),
    "speex-nb": (2150, 3950, 5950, 8000, 8000, 11000, 11000, 15000, 15000, 18200, 24600),
}


class CommandLineCodec(ABC):
    """A codec that is a pair of programs.

    Subclasses have their command lines, `encoder` from {source}, a WAV file, to {coded}, and `decoder` from that to
    {decoded}, another WAV; `label` and `bit_rate` (nominal, bit/s) are set by `check`.
    """

    encoder = ""
    decoder = ""
    debian_package = ""
    sample_rate = 16000  # Hz
    is_ogg = False  # then packets are counted, not pages
    label: str
    bit_rate: float

    def __init__(self, kind: str, setting: str, device: str) -> None:
        self.kind, self.setting = kind, setting
        self.check()
        self.tools = [command.split()[0] for command in (self.encoder, self.decoder)]
        for tool in self.tools:
            if shutil.which(tool) is None:
                raise MissingExtra(
                    f"{kind}:{setting} needs the program '{tool}': apt-get install {self.debian_package}"
                )

    @abstractmethod
    def check(self) -> None:
        """Sets what depends on `setting`. Raises ValueError where the codec does not have it."""

    def info(self) -> SystemInfo:
        versions = {tool: _tool_version(tool) for tool in self.tools}
        return SystemInfo(
            self.label, self.bit_rate, self.sample_rate, versions, f"{self.kind}:{self.setting} {versions}"
        )

    def code(self, utterance: Utterance) -> Coded:
        samples = utterance.load(self.sample_rate)
        with tempfile.TemporaryDirectory(prefix="sqcodec-") as folder:
            source, coded, decoded = (Path(folder) / name for name in ("in.wav", "coded", "out.wav"))
            soundfile.write(source, np.clip(samples, -1, 1), self.sample_rate, subtype="PCM_16")
            start = time.perf_counter()
            coded = self.encode(source, coded)
            middle = time.perf_counter()
            out, rate = self.decode(coded, decoded)
            seconds = middle - start, time.perf_counter() - middle
            return Coded(out, rate, self.payload_bits(coded), 8 * coded.stat().st_size, None, *seconds)

    def encode(self, source: Path, coded: Path) -> Path:
        """Codes a WAV file; returns the code file."""
        self.call(self.encoder, source=source, coded=coded)
        return coded

    def decode(self, coded: Path, decoded: Path) -> tuple[np.ndarray, int]:
        """Samples float32 [T] and their rate."""
        self.call(self.decoder, coded=coded, decoded=decoded)
        samples, rate = soundfile.read(decoded, dtype="float32", always_2d=True)
        return samples.mean(axis=1), rate

    def payload_bits(self, coded: Path) -> int:
        if self.is_ogg:
            return 8 * sum(ogg_packet_sizes(coded.read_bytes())[2:])
        return 8 * coded.stat().st_size

    def call(self, command: str, **paths: Path) -> None:
        """Runs a tool; RuntimeError with the last thing it said where it fails."""
        words = [word.format(setting=self.setting, **paths) for word in command.split()]
        result = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False
        )
        if result.returncode:
            said = (result.stderr or result.stdout).decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"{words[0]} failed (exit {result.returncode}): {said[-1] if said else 'no message'}")

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

    encoder = "opusenc --quiet --bitrate {setting} {source} {coded}"
    decoder = "opusdec --quiet --rate 16000 --no-dither {coded} {decoded}"
    debian_package, is_ogg = "opus-tools", True

    def check(self) -> None:
        self.bit_rate, self.label = 1000 * self.number(6, 256), f"Opus {self.setting}"
        if self.kind == "opus-wb":
            self.label += " (wideband)"
            force = "--set-ctl-int 4008=1103"  # SET_BANDWIDTH, WIDEBAND
            self.encoder = self.encoder.replace("{source}", f"{force} {{source}}")


@system("codec2")
class Codec2(CommandLineCodec):
    """Codec2 (David Rowe), a parametric coder for 8 kHz speech. Its tools read and write raw samples."""

    encoder = "c2enc {setting} {source} {coded}"
    decoder = "c2dec {setting} {coded} {decoded}"
    debian_package, sample_rate = "codec2", 8000
    _header_bytes = 7

    def check(self) -> None:
        self.setting = self.setting.upper()
        if self.setting not in _CODEC2_MODES:
            raise ValueError(f"'codec2:{self.setting}': choose one of {', '.join(_CODEC2_MODES)}.")
        self.label, self.bit_rate = f"Codec2 {self.setting}", float(self.setting.rstrip("C"))

    def encode(self, source: Path, coded: Path) -> Path:
        samples, _ = soundfile.read(source, dtype="int16")
        # the encoder drops the last frame (40 ms at most) where it is not whole
        raw = source.with_suffix(".raw")
        raw.write_bytes(np.pad(samples, (0, 320 - len(samples) % 320)).astype("<i2").tobytes())
        return super().encode(raw, coded.with_suffix(".c2"))  # the suffix makes the tools write and read the header

    def decode(self, coded: Path, decoded: Path) -> tuple[np.ndarray, int]:
        raw = decoded.with_suffix(".raw")
        self.call(self.decoder, coded=coded, decoded=raw)
        return np.frombuffer(raw.read_bytes(), "<i2").astype(np.float32) / 32768, self.sample_rate

    def payload_bits(self, coded: Path) -> int:
        return 8 * (coded.stat().st_size - self._header_bytes)


@system("speex", "speex-nb")
class Speex(CommandLineCodec):
    """Speex, constant bit rate: `speex` is wideband (16 kHz), `speex-nb` narrowband (8 kHz)."""

    encoder = "speexenc --wideband --quality {setting} {source} {coded}"
    decoder = "speexdec {coded} {decoded}"
    debian_package, is_ogg = "speex", True

    def check(self) -> None:
        if self.number(0, 10) % 1:
            raise ValueError(f"'{self.kind}:{self.setting}': the quality is a whole number, 0 to 10.")
        self.bit_rate, band = float(_SPEEX_BIT_RATES[self.kind][int(self.setting)]), ""
        if self.kind == "speex-nb":
            self.sample_rate, band, self.encoder = 8000, "NB ", self.encoder.replace("wideband", "narrowband")
        self.label = f"Speex {band}q{self.setting} ({self.bit_rate / 1000:g}k)"


@system("mp3")
class Mp3(CommandLineCodec):
    """MP3 by LAME, constant bit rate at 16 kHz (MPEG-2 Layer III)."""

    encoder = "lame --quiet --cbr -b {setting} --resample 16 {source} {coded}"
    decoder = "lame --quiet --decode --mp3input {coded} {decoded}"
    debian_package = "lame"
    _rates = ("8", "16", "24", "32", "40", "48", "56", "64", "80", "96", "112", "128", "144", "160")

    def check(self) -> None:
        if self.setting not in self._rates:
            raise ValueError(f"'mp3:{self.setting}': choose one of {', '.join(self._rates)}.")
        self.label, self.bit_rate = f"MP3 {self.setting}", 1000.0 * int(self.setting)


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

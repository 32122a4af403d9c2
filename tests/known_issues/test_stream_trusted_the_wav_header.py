"""`sqcodec stream` took 13 GiB for 65,535 channels, copied long chunks quadratically, coded a RIFF header as sound."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest

from sqcodec.cli.pcm import PCMReader, PCMWriter


def wav(channels: int = 1, rate: int = 16000, bits: int = 16, before: bytes = b"", size: int = 200) -> bytes:
    layout = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2 % 2**32, min(channels * 2, 65535), bits)
    head = b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WAVE" + before + b"fmt " + struct.pack("<I", 16) + layout
    return head + b"data" + struct.pack("<I", size) + bytes(200)


def read(data: bytes, encoding: str = "wav", rate: int = 16000, channels: int = 1) -> int:
    """Samples in all."""
    return sum(block.shape[1] for block in PCMReader(io.BytesIO(data), encoding, rate, channels).blocks())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (wav(channels=65535), "65535 channels at 16000 Hz; a stream has 1 to 64"),
        (wav(channels=0), "0 channels"),
        (wav(rate=2**32 - 1), "1 channels at 4294967295 Hz"),
        (wav(bits=24), "format 1 with 24 bits"),
        (b"RIFF\0\0\0\0WAVEfmt \4\0\0\0" + bytes(40), "a format chunk of 4 bytes"),
        (b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\xff" + bytes(1000), "bytes before its samples"),
    ],
)
def test_headers_are_bounded(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(data)


@pytest.mark.parametrize("rate", [0, 10**10])
def test_rates_of_raw_audio_are_bounded(rate: int) -> None:
    for make in (lambda: PCMReader(io.BytesIO(b""), "s16", rate, 1), lambda: PCMWriter(io.BytesIO(), "s16", rate, 1)):
        with pytest.raises(ValueError, match=f"{rate} Hz"):
            make()


def test_a_long_chunk_in_front_takes_linear_time() -> None:
    class Slow(io.BytesIO):
        def read1(self, size: int = -1) -> bytes:
            return self.read(min(size, 512))

    before = b"junk" + struct.pack("<I", 2**25) + bytes(2**25)
    start = time.perf_counter()
    reader = PCMReader(Slow(wav(before=before)), "wav", 16000, 1)
    assert sum(block.shape[1] for block in reader.blocks()) == 100 and time.perf_counter() - start < 5


@pytest.mark.parametrize("data", [wav(), b"fLaC" + bytes(60), b"OggS" + bytes(60), b"ID3" + bytes(60)])
def test_a_file_is_not_raw_samples(data: bytes) -> None:
    with pytest.raises(ValueError, match="not raw samples"):
        read(data, "s16")


@pytest.mark.parametrize("count", [0, 1, 3, 6, 7, 1000])
def test_the_first_samples_are_kept(count: int) -> None:
    samples = np.arange(1, count + 1, dtype="<i2")
    blocks = list(PCMReader(io.BytesIO(samples.tobytes()), "s16", 16000, 1).blocks())
    found = np.concatenate([np.zeros((1, 0)), *blocks], axis=1)[0] * 32768
    assert np.array_equal(found, samples)


def test_a_cut_wav_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert read(wav(size=1000)) == 100
    assert "promised 800 more bytes" in caplog.text

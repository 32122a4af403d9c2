"""`sqcodec stream`: pipes in, pipes out, equal to coding the whole."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from cli_helpers import speech

import sqcodec
from sqcodec import audio, cli
from sqcodec.cli.token_stream import TokenFormat


class Pipe(io.TextIOWrapper):
    """Bytes where a terminal's text would be."""


def stream(*arguments: str, data: bytes) -> subprocess.CompletedProcess:
    """The verb in this process, with pipes for stdin, stdout and stderr."""
    stdin, stdout, stderr = Pipe(io.BytesIO(data)), Pipe(io.BytesIO()), io.StringIO()
    with mock.patch.multiple(sys, stdin=stdin, stdout=stdout, stderr=stderr):
        status = cli.main(["stream", *arguments, "--model", "tiny"])
        stdout.flush()
    output = stdout.buffer.getvalue()  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(arguments, status, output, stderr.getvalue().encode())


def pcm(samples: np.ndarray) -> bytes:
    return (samples.T * 32767).astype("<i2").tobytes()


def test_round_trip_in_two_programs_is_the_codec() -> None:
    samples = speech(1.3, channels=2)
    data = pcm(samples)
    exact = np.frombuffer(data, "<i2").reshape(-1, 2).T.astype(np.float32) / 32768
    codec = sqcodec.load("tiny")
    expected = codec.decode(codec.encode(exact), exact.shape[1]).numpy()
    encoded = stream("encode", "--channels", "2", data=data)
    assert (encoded.returncode, encoded.stderr) == (0, b"")
    assert len(encoded.stdout) == 16 + codec.token_count(exact.shape[1]) * 3  # 2 x 8.4 bit: 17 bit, 3 bytes
    decoded = stream("decode", "--output", "f32", data=encoded.stdout)
    assert (decoded.returncode, decoded.stderr) == (0, b"")
    found = np.frombuffer(decoded.stdout, "<f4").reshape(-1, 2).T
    assert np.array_equal(found[:, : exact.shape[1]], expected)
    both = stream("roundtrip", "--channels", "2", "--output", "f32", data=data)
    assert np.array_equal(np.frombuffer(both.stdout, "<f4").reshape(-1, 2).T, expected)


def test_a_wav_is_that_of_decode(tmp_path) -> None:
    """Both round to the nearest 16-bit value."""
    audio.save("in.wav", speech(0.7), 16000)
    done = stream("roundtrip", "--input", "wav", "--output", "wav", data=(tmp_path / "in.wav").read_bytes())
    assert cli.main(["encode", "in.wav", "--model", "tiny", "-q"]) == 0
    assert cli.main(["decode", "in.sqc", "out.wav", "--model", "tiny", "-q"]) == 0
    (tmp_path / "live.wav").write_bytes(done.stdout)
    (expected, _), (found, _) = audio.load("out.wav"), audio.load("live.wav")
    assert np.array_equal(expected, found) and np.ptp(expected) > 0.01


def test_wav_at_another_rate_keeps_its_length(tmp_path) -> None:
    audio.save("in.wav", speech(1.01, rate=44100), 44100)
    done = stream("roundtrip", "--input", "wav", "--output", "wav", data=(tmp_path / "in.wav").read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    kind, channels, rate = struct.unpack("<HHI", done.stdout[20:28])
    assert (kind, channels, rate, done.stdout[:4]) == (1, 1, 44100, b"RIFF")
    assert (len(done.stdout) - 44) // 2 == 44541
    (tmp_path / "out.wav").write_bytes(done.stdout)
    samples, rate = audio.load("out.wav")
    assert rate == 44100 and samples.shape == (1, 44541)


def test_frames_come_out_while_audio_still_comes_in() -> None:
    command = [sys.executable, "-m", "sqcodec", "stream", "roundtrip", "--model", "tiny"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(pcm(speech(0.1)))
        process.stdin.flush()
        early = process.stdout.read(64 * 2 * 20)  # 25 frames went in, 3 are lookahead
        process.stdin.close()
        rest = process.stdout.read()
    assert process.returncode == 0 and len(early) + len(rest) == 1600 * 2


@pytest.mark.parametrize(
    ("arguments", "data", "message"),
    [
        (["decode"], b"SQCS", "cut off in its header"),
        (["decode"], b"x" * 40, "not a token stream"),
        (["decode"], b"SQCS\x01\x01\x02\x00" + b"x" * 8, "made by other weights"),
        (["roundtrip", "--input", "wav"], b"x" * 40, "no wav header"),
        (["roundtrip", "--input", "wav"], b"RIFF", "cut off"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], data: bytes, message: str) -> None:
    done = stream(*arguments, data=data)
    assert done.returncode == 1 and done.stdout == b""
    assert message in done.stderr.decode() and len(done.stderr.splitlines()) == 1


def test_nothing_in_nothing_out() -> None:
    assert stream("roundtrip", data=b"").stdout == b""


def test_records() -> None:
    tokens = TokenFormat(7**6, 2, 3, "ab" * 32)
    assert tokens.record_size == 13  # 6 x 16.84 bit
    values = np.random.default_rng(0).integers(0, 7**6, (3, 10))
    assert np.array_equal(tokens.loads(tokens.dumps(values)), values)
    with pytest.raises(ValueError, match="damaged"):
        tokens.loads(b"\xff" * 13)

"""Audio files: exact lengths, blocks equal to the whole, and every file that should be refused."""

from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sqcodec import audio
from sqcodec.audio import AudioError, AudioReader, AudioWriter, StreamResampler

RATES = [(44100, 16000), (16000, 44100), (8000, 16000), (96000, 16000), (11025, 24000), (16000, 16000)]


def tone(length: int, rate: int = 16000, channels: int = 1) -> np.ndarray:
    """[C, T]: a sine of 440 Hz and harmonics, another phase in each channel."""
    phase = 2 * np.pi * 440 * np.arange(length) / rate + np.arange(channels)[:, None]
    return (0.4 * np.sin(phase) + 0.2 * np.sin(3 * phase)).astype(np.float32)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- rates


@pytest.mark.parametrize("from_rate, to_rate", RATES)
@pytest.mark.parametrize("length", [1, 2, 7, 999, 20000])
def test_resampled_length_is_rounded_up_and_does_not_depend_on_blocks(from_rate, to_rate, length):
    samples = tone(length, from_rate, 2)
    whole = audio.resample(samples, from_rate, to_rate)
    assert whole.shape == (2, -(-length * to_rate // from_rate)) and whole.dtype == np.float32
    resampler = StreamResampler(from_rate, to_rate, 2)
    cuts = [0, *sorted(np.random.default_rng(0).integers(0, length, 5).tolist()), length]
    blocks = [resampler.process(samples[:, a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
    assert np.array_equal(np.concatenate([*blocks, resampler.flush()], axis=1), whole)


def test_resampling_has_no_delay_and_keeps_speech_band():
    there = audio.resample(tone(44100, 44100), 44100, 16000)
    assert np.abs(there - tone(16000))[:, 200:-200].max() < 2e-4
    back = audio.resample(there, 16000, 44100)
    assert np.abs(back - tone(44100, 44100))[:, 600:-600].max() < 4e-4


# ---- round trips


@pytest.mark.parametrize("extension", ["wav", "flac", "aiff", "au", "caf", "w64", "rf64"])
def test_16_bit_formats_come_back_bit_for_bit(tmp_path, extension):
    samples = np.round(tone(5000, channels=2) * 32768) / 32768
    path = tmp_path / f"a.{extension}"
    audio.save(path, samples, 22050)
    again, rate = audio.load(path)
    assert rate == 22050 and again.dtype == np.float32 and np.array_equal(again, samples)
    header = audio.info(path)
    assert (header.num_channels, header.num_samples, header.subtype) == (2, 5000, "PCM_16")
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("extension", ["wav", "flac", "aiff"])
@pytest.mark.parametrize("bits", [16, 24])
def test_samples_are_rounded_to_the_nearest(tmp_path, extension, bits):
    path, peak = tmp_path / f"a.{extension}", 2 ** (bits - 1)
    audio.save(path, np.array([0.4, 0.6, -0.4, -0.6, 100.9, -100.9, peak, -peak - 9.0]) / peak, 16000, f"PCM_{bits}")
    found = audio.load(path)[0][0] * peak
    assert found.tolist() == [0, 1, 0, -1, 101, -101, peak - 1, -peak]


def test_ogg_and_opus_and_mp3(tmp_path):
    for extension, subtype in [("ogg", "VORBIS"), ("opus", "OPUS"), ("mp3", "MPEG_LAYER_III")]:
        path = tmp_path / f"a.{extension}"
        audio.save(path, tone(48000), 16000)
        again, rate = audio.load(path, 16000)
        assert rate == 16000 and audio.info(path).subtype == subtype
        assert abs(again.shape[1] - 48000) < 2400
    audio.save(tmp_path / "long.ogg", tone(2_000_000), 16000)  # one big Vorbis write used to crash libsndfile
    assert audio.load(tmp_path / "long.ogg")[0].shape == (1, 2_000_000)


def test_subtypes_and_clipping(tmp_path):
    loud = np.array([[-3.0, -1.0, 0.25, 1.0, 3.0]], np.float32)
    audio.save(tmp_path / "clipped.wav", loud, 16000)
    assert audio.load(tmp_path / "clipped.wav")[0].tolist() == [[-1, -1, 0.25, 32767 / 32768, 32767 / 32768]]
    audio.save(tmp_path / "float.wav", loud[0], 16000, subtype="FLOAT")
    assert np.array_equal(audio.load(tmp_path / "float.wav")[0], loud)
    audio.save(tmp_path / "eight.wav", np.zeros((1, 9)), 8000, subtype="pcm_u8")
    assert np.array_equal(audio.load(tmp_path / "eight.wav")[0], np.zeros((1, 9)))
    with pytest.raises(AudioError, match=r"bad\.flac: subtype 'FLOAT' in FLAC; allowed: .*PCM_16"):
        audio.save(tmp_path / "bad.flac", loud, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"bad\.xyz.*use one of .*\.wav"):
        audio.save(tmp_path / "bad.xyz", loud, 16000)
    with pytest.raises(AudioError, match=r"bad\.opus: 1 channels at 44100 Hz do not go into OGG OPUS"):
        audio.save(tmp_path / "bad.opus", loud, 44100)
    assert names(tmp_path) == ["clipped.wav", "eight.wav", "float.wav"]


@pytest.mark.parametrize(
    "length, rate", [(1, 16000), (1, 96000), (96000, 96000), (12345, 8000), (80000, 16000)]
)
def test_blocks_equal_the_whole(tmp_path, length, rate):
    path = tmp_path / "a.wav"
    audio.save(path, tone(length, rate, 2), rate, subtype="PCM_24")
    whole, _ = audio.load(path, 16000)
    blocks = list(audio.read_blocks(path, 16000, block_seconds=0.37))
    assert np.array_equal(np.concatenate(blocks, axis=1), whole)
    assert whole.shape == (2, -(-length * 16000 // rate))
    assert max(block.shape[1] for block in blocks) < 0.5 * 16000


def test_writer_restores_rate_and_exact_length(tmp_path):
    original = tone(44100 * 2 + 17, 44100, 2)
    coded = audio.resample(original, 44100, 16000)
    with AudioWriter(tmp_path / "a.wav", 44100, 2, source_rate=16000, length=original.shape[1]) as writer:
        for start in range(0, coded.shape[1], 3001):
            writer.write(coded[:, start : start + 3001])
        assert not (tmp_path / "a.wav").exists()
    again, rate = audio.load(tmp_path / "a.wav")
    assert rate == 44100 and again.shape == original.shape
    assert np.abs(again - original)[:, 600:-600].max() < 5e-4


def test_pipes():
    out = io.BytesIO()
    with AudioWriter(out, 16000, 1) as writer:
        writer.write(tone(3000))
    source = io.BufferedReader(io.BytesIO(out.getvalue()))
    with AudioReader(source, name="stdin") as reader:
        blocks = list(reader.blocks())
        assert reader.samples_read == 3000 and reader.name == "stdin"
    assert np.abs(np.concatenate(blocks, axis=1) - tone(3000)).max() < 2**-15


def test_wav_header_of_an_unfinished_pipe(tmp_path):
    """Programs that write wav to a pipe cannot know its size and claim 4 GiB."""
    audio.save(tmp_path / "a.wav", tone(3000), 16000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    assert audio.load(tmp_path / "a.wav")[0].shape == (1, 3000)


# ---- files to refuse


def broken_files(folder: Path) -> dict[str, bytes]:
    audio.save(folder / "good.flac", tone(80000), 16000)
    audio.save(folder / "good.wav", tone(80000), 16000)
    flac, wav = (folder / "good.flac").read_bytes(), (folder / "good.wav").read_bytes()
    middle = len(flac) // 2
    return {
        "empty.wav": b"",
        "text.wav": b"this is not audio\n" * 100,
        "header.wav": wav[:20],
        "channels.wav": wav[:22] + struct.pack("<H", 0) + wav[24:],
        "rate.wav": wav[:24] + struct.pack("<I", 0) + wav[28:],
        "nothing.wav": wav[:40] + struct.pack("<I", 0),
        "cut.flac": flac[:middle],
        "hole.flac": flac[:middle] + bytes(500) + flac[middle + 500 :],
        "length.flac": flac[:21] + b"\xff\xff\xff\xff\xff" + flac[26:],
    }


def test_broken_files_are_refused_by_name(tmp_path):
    for name, data in broken_files(tmp_path).items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(AudioError, match=name.replace(".", r"\.")):
            audio.load(tmp_path / name)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff", "au", "w64"])
def test_fuzzed_files_are_refused_or_read(tmp_path, extension):
    """Random damage gives samples or an AudioError, never another exception or an outsized allocation."""
    path = tmp_path / f"a.{extension}"
    audio.save(path, tone(4000), 16000)
    good = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(good)
        for _ in range(generator.integers(1, 6)):
            data[generator.integers(0, min(len(data), 200))] = generator.integers(0, 256)
        path.write_bytes(data[: generator.integers(1, len(data) + 1)])
        try:
            samples, rate = audio.load(path)
        except AudioError as error:
            assert path.name in str(error)
        else:
            assert np.isfinite(samples).all() and samples.size and rate > 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity(tmp_path, value):
    samples = tone(32000, channels=2)
    samples[1, 24000] = value
    soundfile.write(tmp_path / "bad.wav", samples.T, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"bad\.wav: a sample at 1\.500 s is NaN or infinite"):
        audio.load(tmp_path / "bad.wav", 24000)
    with pytest.raises(AudioError, match=r"out\.wav.*NaN"):
        audio.save(tmp_path / "out.wav", samples, 16000)
    assert names(tmp_path) == ["bad.wav"]


def test_what_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        audio.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.wav"):
        audio.info(tmp_path / "none.wav")
    with pytest.raises(FileNotFoundError, match=r"none/a\.wav"):
        audio.save(tmp_path / "none" / "a.wav", tone(9), 16000)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder\.wav"):
        audio.save(tmp_path / "folder.wav", tone(9), 16000)
    assert names(tmp_path) == ["folder.wav"]


def test_no_permission(tmp_path):
    audio.save(tmp_path / "a.wav", tone(9), 16000)
    (tmp_path / "a.wav").chmod(0)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    is_root = os.geteuid() == 0
    if is_root:
        tmp_path.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            audio.load(tmp_path / "a.wav")
        with pytest.raises(PermissionError):
            audio.save(locked / "b.wav", tone(9), 16000)
    finally:
        if is_root:
            os.seteuid(0)
    assert names(locked) == []


# ---- writing goes wrong


def test_exception_and_wrong_shape_leave_no_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), AudioWriter(tmp_path / "a.wav", 16000, 1) as writer:
        writer.write(tone(3000))
        raise KeyboardInterrupt
    with pytest.raises(AudioError, match="shape"), AudioWriter(tmp_path / "a.flac", 16000, 1) as writer:
        writer.write(tone(3000, channels=2))
    with pytest.raises(AudioError, match="only 3000 of 4000"):
        with AudioWriter(tmp_path / "a.wav", 16000, 1, length=4000) as writer:
            writer.write(tone(3000))
    assert names(tmp_path) == []


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg"])
def test_full_disk_leaves_the_old_file(tmp_path, extension):
    """A limit on the size of files stands for the disk; it fails for root too."""
    path = tmp_path / f"a.{extension}"
    path.write_bytes(b"old")
    code = (
        "import resource, sys, numpy as np\nfrom sqcodec import audio\n"
        "noise = np.random.default_rng(0).uniform(-1, 1, (1, 200000))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30000, resource.RLIM_INFINITY))\n"
        "try:\n    audio.save(sys.argv[1], noise, 16000)\n"
        "except OSError as error:\n    print(type(error).__name__, error)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "OSError" in done.stdout and path.name in done.stdout and "large" in done.stdout.lower(), done
    assert done.stderr == ""
    assert path.read_bytes() == b"old" and names(tmp_path) == [path.name]


def test_devices_are_written_to_not_replaced():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="/dev/full"):
        audio.save("/dev/full", tone(9), 16000)
    audio.save("/dev/null", tone(9), 16000)
    assert not Path("/dev/null").is_file() and not Path("/dev/full").is_file()


def test_a_signal_while_the_file_is_made_leaves_nothing(tmp_path, monkeypatch):
    """As SIGTERM may come right after the file is there, or between the writer and its `with`."""
    from sqcodec.audio import writer

    def interrupted(file):
        assert list(tmp_path.iterdir())
        raise SystemExit(143)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "GuardedFile", interrupted)
        with pytest.raises(SystemExit):
            audio.AudioWriter(tmp_path / "a.wav", 16000, 1)
    assert not list(tmp_path.iterdir())
    unused = audio.AudioWriter(tmp_path / "b.wav", 16000, 1)
    assert len(list(tmp_path.iterdir())) == 1
    del unused
    assert not list(tmp_path.iterdir())

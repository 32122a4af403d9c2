"""Data: manifests made from folders, augmentation, weighting of corpora."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import json
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sqcodec.cli import main
from sqcodec.data.augment import (
    Augmentation,
    add_noise,
    augment,
    change_speed,
    limit_bandwidth,
    reverberate,
    with_tones,
)
from sqcodec.data.cache import AudioCache, build_cache
from sqcodec.data.download import fetch, unpack
from sqcodec.data.files import AudioFiles
from sqcodec.data.loader import Batches
from sqcodec.data.manifest import Clip, hold_out_share, read_manifest
from sqcodec.data.prepare import split_of
from sqcodec.data.segments import SegmentSampler

DATA = Path(__file__).parent / "data"
RECIPES = Path(__file__).parent.parent / "recipes"


def corpus(value: int, seconds: int) -> AudioCache:
    return AudioCache(np.full(seconds * 16000, value, np.int16), np.asarray([0, seconds * 16000]), 16000)


def test_prepare_reports_what_it_leaves_out(tmp_path: Path, speech: np.ndarray, capsys) -> None:
    for speaker in ("anna", "bela"):
        (tmp_path / "in" / speaker).mkdir(parents=True)
    folder = tmp_path / "in"
    soundfile.write(folder / "anna" / "a.wav", speech[:16000], 16000)
    (folder / "anna" / "a.normalized.txt").write_text(" good\n morning ")
    soundfile.write(folder / "bela" / "same.flac", speech[:16000], 16000)
    soundfile.write(folder / "bela" / "b.wav", speech[16000:40000], 16000)
    soundfile.write(folder / "bela" / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(folder / "bela" / "short.wav", speech[20000:20100], 16000)
    (folder / "anna" / "broken.mp3").write_bytes(b"no audio")
    out = tmp_path / "in" / "manifest.jsonl"
    assert main(["prepare", str(folder), "--out", str(out), "--source", "test"]) == 0
    output = capsys.readouterr()
    for word in ("duplicate", "silent", "short", "broken"):
        assert f"{word}: {folder}" in output.err
    assert "2 clips" in output.out and "1 broken, 1 duplicate, 1 short, 1 silent" in output.out
    clips = read_manifest(out, "train")
    assert [(clip.path, clip.speaker, clip.seconds) for clip in clips] == [
        (folder / "anna" / "a.wav", "anna", 1.0), (folder / "bela" / "b.wav", "bela", 1.5),
    ]  # fmt: skip
    assert clips[0].text == "good morning" and clips[0].source == "test"
    assert not Path(json.loads(out.read_text().splitlines()[0])["path"]).is_absolute()
    assert main(["prepare", str(folder), "--out", str(out)]) == 1
    assert main(["prepare", str(folder), "--out", str(out), "--validation", "1.5"]) == 2
    assert main(["prepare", str(tmp_path / "none"), "--out", str(tmp_path / "m.jsonl")]) == 1


def test_speakers_keep_their_split_whatever_else_is_there() -> None:
    speakers = [f"speaker{number}" for number in range(4000)]
    splits = [split_of(speaker, {"validation": 0.1, "test": 0.2}) for speaker in speakers]
    for split, share in (("validation", 0.1), ("test", 0.2), ("train", 0.7)):
        assert splits.count(split) / 4000 == pytest.approx(share, abs=0.03)
    # A larger share only adds speakers.
    more = [split_of(speaker, {"validation": 0.15}) for speaker in speakers]
    assert all(b == "validation" for a, b in zip(splits, more, strict=True) if a == "validation")


def test_corpora_are_drawn_by_their_weights() -> None:
    caches = [corpus(1000, 30), corpus(-1000, 10)]
    for weights, share in (((), 0.75), ((1.0, 3.0), 0.25)):
        sampler = SegmentSampler(caches, 500, 160, seed=1, weights=weights)
        batch = np.concatenate([sampler.batch(step) for step in range(4)])
        assert (batch[:, 0] > 0).mean() == pytest.approx(share, abs=0.03)
        assert np.array_equal(sampler.batch(2), SegmentSampler(caches, 500, 160, seed=1, weights=weights).batch(2))
    with pytest.raises(ValueError, match="give one of 0 or more for each of 2"):
        SegmentSampler(caches, 4, 160, weights=(1.0,))


def test_augmentation_does_what_it_says(speech: np.ndarray) -> None:
    random = np.random.default_rng(0)
    segment = speech[16000:48000]
    noise = add_noise(segment, 20.0, random) - segment
    assert 10 * np.log10(np.mean(segment**2) / np.mean(noise**2)) == pytest.approx(20.0, abs=0.2)
    power = np.abs(np.fft.rfft(limit_bandwidth(segment, 3000.0, 16000))) ** 2
    before = np.abs(np.fft.rfft(segment)) ** 2
    hertz = np.fft.rfftfreq(len(segment), 1 / 16000)
    assert power[hertz > 3300].max() < 1e-6 * before.max()
    assert np.allclose(power[hertz < 2990], before[hertz < 2990], rtol=1e-4, atol=1e-8)
    far = reverberate(segment, 16000, np.random.default_rng(1))
    assert len(far) == len(segment) and np.corrcoef(far, segment)[0, 1] > 0.5
    assert np.square(far - segment).mean() < 1.5 * np.square(segment).mean()
    toned = with_tones(segment, 16000, np.random.default_rng(1))
    assert np.array_equal(toned[:16000], segment[:16000]) and np.abs(toned[16100:]).max() <= 10 ** (-3 / 20)
    spectrum = np.abs(np.fft.rfft(toned[17000:] * np.hanning(15000))) ** 2
    assert np.sort(spectrum)[-15:].sum() > 0.99 * spectrum.sum()
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    faster = change_speed(tone, 1.25)
    assert len(faster) == pytest.approx(12800, abs=2)
    peak = np.abs(np.fft.rfft(faster * np.hanning(len(faster)))).argmax() * 16000 / len(faster)
    assert peak == pytest.approx(1250, abs=3)


def test_augmented_batches_have_their_length_and_derive_from_the_step(speech: np.ndarray) -> None:
    samples = (speech * 32767).astype(np.int16)
    cache = AudioCache(samples, np.asarray([0, len(samples)]), 16000)
    options = Augmentation(noise_rate=0.5, bandwidth_rate=0.5, speed_rate=0.5)
    sampler = SegmentSampler(cache, 6, 4000, augmentation=options)
    assert sampler.batch(3).shape == (6, 4000) and sampler.batch(3).dtype == np.float32
    assert np.array_equal(sampler.batch(3), SegmentSampler(cache, 6, 4000, augmentation=options).batch(3))
    mixed = Augmentation(mix_rate=1.0, reverb_rate=0.5, tone_rate=0.5)
    batch = SegmentSampler(cache, 6, 4000, augmentation=mixed).batch(3)
    assert np.array_equal(batch, SegmentSampler(cache, 6, 4000, augmentation=mixed).batch(3, 0, 1))
    assert np.array_equal(batch[3:], SegmentSampler(cache, 6, 4000, augmentation=mixed).batch(3, 1, 2))
    assert not np.array_equal(batch, SegmentSampler(cache, 6, 4000).batch(3))
    untouched = augment(speech[:4000], 4000, 16000, Augmentation(), np.random.default_rng(0))
    assert np.array_equal(untouched, speech[:4000])


def test_download_survives_a_bad_line_and_a_corrupt_copy(tmp_path: Path, speech: np.ndarray, monkeypatch) -> None:
    """A local server with a small archive in LibriTTS's layout: it breaks off, then sends a corrupt copy."""
    layout = tmp_path / "made" / "LibriTTS" / "dev-clean" / "84" / "121123"
    layout.mkdir(parents=True)
    soundfile.write(layout / "84_121123_000007_000001.wav", speech[:24000], 24000)
    (layout / "84_121123_000007_000001.normalized.txt").write_text("Maximilien.")
    (layout / "84_121123_000007_000001.original.txt").write_text("MAXIMILIEN!")
    archive = tmp_path / "dev-clean.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tmp_path / "made" / "LibriTTS", "LibriTTS")
    data = archive.read_bytes()
    corrupt = data[:100] + bytes([data[100] ^ 1]) + data[101:]
    ranges: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ranges.append(self.headers.get("Range"))
            start = int((ranges[-1] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            body = (corrupt if len(ranges) <= 3 else data)[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(data) // 3] if len(ranges) <= 2 or len(ranges) == 4 else body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    spec = importlib.util.spec_from_file_location("libritts", RECIPES / "prepare" / "libritts.py")
    assert spec is not None and spec.loader is not None
    libritts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(libritts)
    libritts.SHA256["dev-clean"] = hashlib.sha256(data).hexdigest()
    root = tmp_path / "root"
    libritts.main(["--root", str(root), "--subsets", "dev-clean", "--mirror", url])
    third = len(data) // 3
    # Two broken connections, the rest of a corrupt copy, a new start that breaks once more, and its rest.
    assert ranges == [None, f"bytes={third}-", f"bytes={2 * third}-", None, f"bytes={third}-"]
    (clip,) = read_manifest(root / "manifest.jsonl")
    assert (clip.split, clip.speaker, clip.text) == ("validation", "84", "Maximilien.") and clip.path.is_file()
    libritts.main(["--root", str(root), "--subsets", "dev-clean", "--mirror", url])
    assert len(ranges) == 5  # what is there is not fetched again
    with pytest.raises(OSError, match="Could not download.*corrupt"):
        fetch(f"{url}/other", tmp_path / "other", "md5:0123", tries=2)
    server.shutdown()


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as packed:
        packed.writestr("../outside.txt", "x")
    with pytest.raises(ValueError, match="outside"):
        unpack(tmp_path / "bad.zip", tmp_path / "into")
    assert not (tmp_path / "outside.txt").exists()


def test_vctk_manifest(tmp_path: Path, speech: np.ndarray) -> None:
    spec = importlib.util.spec_from_file_location("vctk", RECIPES / "prepare" / "vctk.py")
    assert spec is not None and spec.loader is not None
    vctk = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(vctk)
    audio, text = tmp_path / "wav48_silence_trimmed" / "p225", tmp_path / "txt" / "p225"
    audio.mkdir(parents=True)
    text.mkdir(parents=True)
    for number, microphone in ((1, 1), (1, 2), (2, 1)):
        soundfile.write(audio / f"p225_00{number}_mic{microphone}.flac", speech[:9600] * number * microphone / 4, 48000)
    (text / "p225_001.txt").write_text("Please call Stella.\n")
    vctk.main(["--root", str(tmp_path), "--only", "manifest"])
    clips = read_manifest(tmp_path / "manifest.jsonl")
    assert [clip.path.name for clip in clips] == ["p225_001_mic1.flac", "p225_002_mic1.flac"]
    assert [clip.text for clip in clips] == ["Please call Stella.", ""] and clips[0].speaker == "p225"


def test_segments_read_from_files_are_those_of_the_cache(tmp_path: Path) -> None:
    """Also across the border of clips; where the rate changes, up to the cache's 16 bits."""
    clips = [clip for clip in read_manifest(DATA) if soundfile.info(clip.path).samplerate == 16000]
    (tmp_path / "broken.wav").write_bytes(b"RIFF but no more")
    for rate, tolerance in ((16000, 0.0), (24000, 1e-4), (11025, 1e-4)):
        cache = build_cache(clips, tmp_path / str(rate), rate)
        files = AudioFiles([*clips, Clip(tmp_path / "broken.wav")], rate)
        assert len(files) == len(cache) and abs(files.total - cache.total) <= len(clips)
        for clip in range(len(cache)):
            length = int(cache.starts[clip + 1] - cache.starts[clip])
            for start in (0, 4321, length - 3000):
                found = files.read(int(files.starts[clip]) + start, 2900)
                expected = cache.read(int(cache.starts[clip]) + start, 2900)
                assert np.abs(found - expected).max() <= tolerance, (rate, clip, start)
    border = int(AudioFiles(clips, 16000).starts[1]) - 1000
    files, cache = AudioFiles(clips, 16000), build_cache(clips, tmp_path, 16000)
    assert np.array_equal(files.read(border, 5000), cache.read(border, 5000))


def test_batches_do_not_depend_on_who_prepares_them(tmp_path: Path) -> None:
    """Two workers, none, or two processes with half of the rows each; from files as from the cache; after a leap."""
    clips = [clip for clip in read_manifest(DATA) if soundfile.info(clip.path).samplerate == 16000]
    options = Augmentation(noise_rate=0.5, bandwidth_rate=0.5)
    samplers = [
        SegmentSampler(corpus, 4, 3000, (-6.0, 0.0), seed=2, augmentation=options)
        for corpus in (build_cache(clips, tmp_path, 16000), AudioFiles(clips, 16000))
    ]
    plain, ahead = Batches(samplers[0]), Batches(samplers[1], workers=2)
    for step in (5, 6, 7, 2, 3):
        assert torch.equal(plain.get(step), ahead.get(step)), step
    halves = [Batches(samplers[0], rank=rank, size=2).get(9) for rank in range(2)]
    assert torch.equal(torch.cat(halves), plain.get(9))


def test_a_share_of_the_speakers_is_held_out_or_of_the_clips_where_there_are_few() -> None:
    clips = [Clip(Path(f"{speaker}-{number}.wav"), f"s{speaker}") for speaker in range(40) for number in range(5)]
    rest, held = hold_out_share(clips, 0.2)
    names = {clip.speaker for clip in held}
    assert 3 <= len(names) <= 14 and not names & {clip.speaker for clip in rest} and len(rest) + len(held) == 200
    assert set(held) <= set(hold_out_share([*clips, Clip(Path("new.wav"), "new")], 0.2)[1])
    few, out = hold_out_share(clips[:10], 0.01)  # two speakers: one clip of one of them at least
    assert len(out) == 1 and len(few) == 9
    with pytest.raises(ValueError, match="validation_share is 2"):
        hold_out_share(clips, 2)

"""What a forged code file may ask for is bounded; what is clipped in writing is said."""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path

import numpy as np
import pytest

from sqcodec import audio, cli, container
from sqcodec.audio.rates import StreamResampler

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def coded(tmp_path: Path, monkeypatch) -> tuple[container.CodeHeader, np.ndarray]:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["encode", str(DATA / "2033-164914-0002.flac"), "in.sqc"]) == 0
    return container.read("in.sqc")


def bomb(header: container.CodeHeader, tokens: np.ndarray, rate: int) -> container.CodeHeader:
    return dataclasses.replace(
        header, original_sample_rate=rate, num_samples=header.num_samples * rate // header.original_sample_rate
    )


@pytest.mark.parametrize("rate", [2**31 - 1, 768_001, 999, 1])
def test_an_original_rate_that_is_none_is_refused_at_once(coded, rate: int, capsys) -> None:
    container.write("bomb.sqc", bomb(*coded, rate), coded[1])
    start = time.perf_counter()
    assert cli.main(["decode", "bomb.sqc", "out.wav", "--original-rate"]) == 1
    assert time.perf_counter() - start < 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "bomb.sqc" in error and "from 1000 to 768000" in error
    assert not Path("out.wav").exists()


def test_more_tokens_than_the_recording_has(coded, capsys) -> None:
    header, tokens = coded
    many = np.tile(tokens, 100)[:, :60_000]
    container.write("bad.sqc", dataclasses.replace(header, num_samples=1, num_tokens=60_000), many)
    assert cli.main(["decode", "bad.sqc", "out.wav"]) == 1
    assert "bad.sqc: damaged: 1 samples are 6 tokens, not 60000" in capsys.readouterr().err


def test_resampling_takes_bounded_steps() -> None:
    """24 s at 768 kHz are 70 MiB: given out in steps, the same samples."""
    block = np.random.default_rng(0).standard_normal((1, 24 * 16000)).astype(np.float32)
    resampler, whole = StreamResampler(16000, 768_000, 1), audio.resample(block, 16000, 768_000)
    pieces = [*resampler.pieces(block), resampler.flush()]
    assert np.array_equal(np.concatenate(pieces, axis=1), whole)
    assert max(piece.nbytes for piece in pieces) < 2**23


def test_running_out_of_memory_is_one_line(coded, monkeypatch, capsys) -> None:
    def fail(*_: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(container, "open_tokens", fail)
    assert cli.main(["decode", "in.sqc", "out.wav"]) == 1
    assert capsys.readouterr().err == "sqcodec: error: in.sqc: not enough memory\n"


def test_clipping_is_said(tmp_path: Path, caplog) -> None:
    samples = np.array([0.5, 3.09, -2.0, 1.0, -1.0], np.float32)
    with caplog.at_level(logging.WARNING):
        audio.save(tmp_path / "a.wav", samples, 16000)
    assert "a.wav: 2 of 5 samples were above full scale and are clipped (peak 3.09)" in caplog.text
    caplog.clear()
    audio.save(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    audio.save(tmp_path / "b.wav", samples.clip(-1.1, 1.1), 16000)  # less than 1 dB: not heard
    assert not caplog.text
    assert audio.load(tmp_path / "a.wav")[0].max() == np.float32(3.09)

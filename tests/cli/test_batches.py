"""A folder is coded in batches, with the bytes of each file by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

from sqcodec import cli
from sqcodec.cli import batches


def test_a_folder_equals_its_files(speech: np.ndarray, tmp_path: Path, monkeypatch, capsys) -> None:
    """Rates, channels and lengths differ; one file is damaged, one exists, one is too long for a batch."""
    monkeypatch.setattr(batches, "GROUP_SECONDS", 4.0)
    monkeypatch.setattr(batches, "LONGEST_SECONDS", 5.0)
    folder = tmp_path / "in"
    folder.mkdir()
    lengths = {"a": 16000, "b": 1, "c": 31999, "d": 20000, "e": 7000, "long": 96000}
    for name, length in lengths.items():
        soundfile.write(folder / f"{name}.wav", speech[:length], 22050 if name == "d" else 16000)
    soundfile.write(folder / "stereo.wav", np.stack([speech[:9000], speech[9000:18000]], axis=1), 16000)
    (folder / "damaged.wav").write_bytes(b"RIFF nothing")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "e.sqc").write_bytes(b"mine")
    assert cli.main(["encode", str(folder), "--out", str(tmp_path / "out"), "--json", "-q"]) == 1
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert sorted(Path(line["input"]).stem for line in lines if "error" in line) == ["damaged", "e"]
    assert "2 of 8 files failed" in captured.err and (tmp_path / "out" / "e.sqc").read_bytes() == b"mine"
    for name in ("a", "b", "c", "d", "long", "stereo"):
        assert cli.main(["encode", str(folder / f"{name}.wav"), str(tmp_path / f"{name}.sqc"), "-q"]) == 0
        assert (tmp_path / f"{name}.sqc").read_bytes() == (tmp_path / "out" / f"{name}.sqc").read_bytes()
    spoken = [line for line in lines if "error" not in line]
    assert len(spoken) == 6 and all(line["times_real_time"] > 0 for line in spoken)


def test_groups_are_sorted_by_length(speech: np.ndarray, tmp_path: Path) -> None:
    from sqcodec.cli.files import Job

    jobs = []
    for index, length in enumerate((9000, 100, 5000, 16000 * 61)):
        soundfile.write(tmp_path / f"{index}.wav", np.resize(speech, length), 16000)
        jobs.append(Job(str(tmp_path / f"{index}.wav"), "x.sqc"))
    groups, others = batches.split_jobs([*jobs, Job("missing.wav", "y.sqc")])
    assert groups == [[jobs[1], jobs[2], jobs[0]]] and [job.source for job in others] == [jobs[3].source, "missing.wav"]

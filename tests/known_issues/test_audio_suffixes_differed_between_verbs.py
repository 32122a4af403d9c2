"""`encode` found .sph, .oga, .aifc and others in a folder; `prepare`, `train`, `tokens`, `evaluate` passed them by."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from sqcodec import audio
from sqcodec.cli.files import plan
from sqcodec.data.manifest import read_manifest
from sqcodec.data.prepare import examine_folder
from sqcodec.evaluation.systems import Folder


@pytest.fixture
def folder(tmp_path, speech) -> Path:
    for index, suffix in enumerate(sorted(audio.SUFFIXES)):
        soundfile.write(tmp_path / f"{index}{suffix}", speech[index : 16000 + index], 16000, format="WAV")
    (tmp_path / "folder.wav").mkdir()
    return tmp_path


def test_all_look_for_the_same(folder):
    wanted = {path.name for path in folder.iterdir() if path.is_file()}
    assert len(wanted) == len(audio.SUFFIXES)
    jobs = plan([str(folder)], None, wanted=audio.SUFFIXES, suffix=".sqc", output_suffixes=[".sqc"])
    assert {Path(job.source).name for job in jobs} == wanted
    assert {clip.path.name for clip in read_manifest(folder)} == wanted
    assert {found.path.name for found in examine_folder(folder) if not found.problem} == wanted
    assert set(audio.FORMATS) <= audio.SUFFIXES
    assert len(Folder("dir", f"x={folder}", "cpu")._files) >= len(wanted)

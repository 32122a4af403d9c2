"""What is installed without the repository: the wheel holds the package and nothing else, and the quick start runs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUICK_START = """\
import sys
sys.path.insert(0, sys.argv[1])
import sqcodec
from sqcodec.cli import main
assert sqcodec.__file__.startswith(sys.argv[1])
assert main(["recipes"]) == main(["encode", "talk.flac"]) == main(["decode", "talk.sqc", "talk.wav"]) == 0
tokens = sqcodec.load("speech-1k").encode("talk.flac")
assert tokens.shape[0] == 1 and tokens.shape[1] > 100
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "setup.py", "-q", "build", "-b", str(folder / "build")]
    command += ["egg_info", "-e", str(folder), "bdist_wheel", "-d", str(folder), "-b", str(folder / "wheel")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def test_it_holds_the_package_and_nothing_else(wheel: Path) -> None:
    command = ["git", "ls-files", "-co", "--exclude-standard", "sqcodec", "recipes", "web"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    wanted = {
        f"sqcodec/{name}" if name.startswith(("recipes/", "web/")) else name
        for name in listed
        if (ROOT / name).is_file() and not name.startswith("recipes/prepare/")
    }
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
        [metadata] = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
        about = message_from_bytes(file.read(metadata))
    assert sorted(wanted - held) == [] and sorted(held - wanted) == []
    assert about["Name"] == "sqcodec" and about["Author"] and about["Keywords"] and about.get_all("Classifier")
    assert not [line for line in about.get_all("Requires-Dist") if "torchaudio" in line and "extra" not in line]


def test_the_quick_start_runs_from_it(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "installed")
    (tmp_path / "talk.flac").write_bytes((ROOT / "tests/data/84-121123-0002.flac").read_bytes())
    command = [sys.executable, "-c", QUICK_START, str(tmp_path / "installed")]
    result = subprocess.run(command, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("base ") and (tmp_path / "talk.wav").is_file()

"""What a command must not import, since importing it takes longer than the work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile


def modules_after(*arguments: str) -> set[str]:
    """Names of the modules that a command has imported when it ends."""
    code = (
        "import sys\nfrom sqcodec.cli import main\n"
        f"try:\n    status = main({list(arguments)!r})\nexcept SystemExit as stop:\n    status = stop.code\n"
        "assert not status, status\nprint('modules', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_nothing_heavy() -> None:
    """`--help` within 0.3 s (benchmarks/RESULTS.md); numpy alone takes a third of that."""
    assert not modules_after("--help") & {"torch", "numpy", "soundfile", "tqdm"}


def test_encoding_does_not_import_the_compiler(speech: np.ndarray, tmp_path: Path) -> None:
    """It takes 1.3 s of a second and a half."""
    soundfile.write(tmp_path / "in.wav", speech[:32000], 16000)
    found = modules_after("encode", str(tmp_path / "in.wav"), str(tmp_path / "out.sqc"), "-q")
    assert "torch" in found and not found & {"torch._dynamo", "sympy", "transformers", "scipy", "librosa"}


def test_listing_and_cutting_import_no_torch(tmp_path: Path) -> None:
    vectors = Path(__file__).parent / "vectors" / "files"
    assert "torch" not in modules_after("models")
    assert "torch" not in modules_after("info", *map(str, sorted(vectors.glob("speech-*.sqc"))))
    cut = tmp_path / "cut.sqc"
    assert "torch" not in modules_after("cut", str(vectors / "speech-3k-24bits-compact.sqc"), str(cut), "--bits", "9")
    assert cut.read_bytes() == (vectors / "speech-3k-9bits-compact.sqc").read_bytes()

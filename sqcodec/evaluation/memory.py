"""Peak memory of a system: one fresh process codes the longest clip; what it and its tools took at most is kept.

The number counts the whole process, so for codecs that run in Python also the interpreter and PyTorch. It is kept
in `memory.json` of the evaluation's folder and measured again when the system or the clip changes.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from .results import write_atomically
from .systems import make_system
from .utterances import Utterance

_LOG = logging.getLogger(__name__)
_FILE = "memory.json"
_READ_ONLY = ("original", "dir")  # nothing is coded


def peak_memory(systems: dict[str, str], clip: Utterance, folder: Path, device: str) -> dict[str, float]:
    """MiB at most of each system, by its text; without those that only read and those that failed.

    Args:
        systems: text of a system -> fingerprint of its results on `clip`.
        folder: the evaluation's.
    """
    path = folder / _FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        known = {}
    found = {}
    for text, fingerprint in systems.items():
        if text.partition(":")[0] in _READ_ONLY:
            continue
        key = f"{text} | {fingerprint}"
        if key not in known:
            peak = _measure(text, clip, device)
            if peak is None:
                continue
            known[key] = peak
            write_atomically(path, json.dumps(known, indent=1))
        found[text] = known[key]
    return found


def _measure(text: str, clip: Utterance, device: str) -> float | None:
    command = [sys.executable, "-m", __name__, text, clip.path, device]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return float(result.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = result.stderr.strip().splitlines()
        _LOG.warning("%s: peak memory was not measured: %s", text, said[-1] if said else result.returncode)
        return None


def _worker(text: str, path: str, device: str) -> float:
    """Codes one clip and tells the peak of this process and its children, MiB."""
    import resource

    make_system(text, device).code(Utterance(Path(path).stem, path))
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own, children = (peak / (2**20 if sys.platform == "darwin" else 2**10) for peak in peaks)
    return own if text.startswith(("sqcodec:", "hf:", "lyra:", "dac:", "snac:")) else children


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(_worker(*sys.argv[1:4]))

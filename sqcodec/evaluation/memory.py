"""Peak memory of a system that runs in Python: one fresh process codes the longest clip, and tells its peak.

The number counts the whole process, with the interpreter and PyTorch. Command-line tools are left out: they take a
few MiB, and the system does not tell them from the process that starts them. It is kept in `memory.json` of the
evaluation's folder and measured again when the system or the clip changes.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from sqcodec.files import write_atomically

from .systems import kinds, make_system
from .utterances import Utterance

_LOG = logging.getLogger(__name__)
_FILE = "memory.json"


def peak_memory(systems: dict[str, str], clip: Utterance, folder: Path, device: str) -> dict[str, float]:
    """MiB at most of each system, by its text; of those that run in Python and did not fail.

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
        if not getattr(kinds()[text.partition(":")[0]], "in_process", False):
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
    try:
        return float(run_apart(__name__, text, clip.path, device))
    except RuntimeError as error:
        _LOG.warning("%s: peak memory was not measured: %s", text, error)
        return None


def run_apart(module: str, *arguments: str, **environment: str) -> str:
    """The last line that a module prints as a program, in a fresh process with these variables too. Raises RuntimeError
    with the last thing that it said where it fails."""
    command = [sys.executable, "-m", module, *arguments]
    result = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(next(reversed(result.stderr.strip().splitlines()), f"exit status {result.returncode}"))
    return result.stdout.splitlines()[-1]


def peak_mib() -> float:
    """MiB since this program began; 0 where the system does not tell.

    On Linux from /proc: what `getrusage` says would also count the process that this one was forked from.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _worker(text: str, path: str, device: str) -> float:
    """Codes one clip and tells the peak of this process, MiB."""
    make_system(text, device).code(Utterance(Path(path).stem, path))
    return peak_mib()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(_worker(*sys.argv[1:4]))

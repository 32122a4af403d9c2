"""Peak resident memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path


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

"""Start-up: seconds that whole processes take, `sqcodec --help` and `sqcodec encode` of a clip of 2 seconds.

    python benchmarks/startup.py tests/data/84-121123-0002.flac [--seconds 2] [--rounds 7]

Files are in the system's cache after the first round, which does not count.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wav, code, again = (str(Path(folder, name)) for name in ("in.wav", "out.sqc", "out.wav"))
        samples, rate = soundfile.read(arguments.speech, frames=-1)
        soundfile.write(wav, samples[: round(arguments.seconds * rate)], rate)
        commands = {
            "--help": ["--help"],
            f"encode of {arguments.seconds:g} s": ["encode", wav, code, "--force", "--quiet"],
            f"decode of {arguments.seconds:g} s": ["decode", code, again, "--force", "--quiet"],
        }
        times: dict[str, list[float]] = {label: [] for label in commands}
        for index in range(arguments.rounds + 1):
            for label, command in commands.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, "-m", "sqcodec", *command], check=True, stdout=subprocess.DEVNULL)
                if index:
                    times[label].append(time.perf_counter() - start)
    for label, values in times.items():
        print(f"{label}: {statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()

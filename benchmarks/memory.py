"""Peak resident memory of whole `sqcodec encode` and `decode` processes: 10 minutes against 10 hours of audio.

    python benchmarks/memory.py tests/data/84-121123-0002.flac [--minutes 10 600] [--threads 1] [--model NAME|FOLDER]

The speech is repeated. 10 hours take 1.2 GB of disk and some minutes; both are given back.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 600.0])
    parser.add_argument("--threads", default="1")
    parser.add_argument("--model", default="speech-3k")
    arguments = parser.parse_args()
    peaks: dict[str, list[float]] = {"encode": [], "decode": []}
    with tempfile.TemporaryDirectory() as folder:
        wav, code = Path(folder, "in.wav"), Path(folder, "out.sqc")
        for minutes in sorted(arguments.minutes):
            repeat(arguments.speech, wav, minutes)
            for verb, source, target in (("encode", wav, code), ("decode", code, wav)):
                options = ["--force", "--quiet", "--threads", arguments.threads, "--model", arguments.model]
                start = time.perf_counter()
                peak = run(["-m", "sqcodec", verb, str(source), str(target), *options])
                seconds = time.perf_counter() - start
                peaks[verb].append(peak)
                growth = peak / peaks[verb][0] - 1
                print(f"{minutes:g} min {verb}: peak {peak:.0f} MiB ({growth:+.1%}), {seconds:.1f} s", flush=True)


def repeat(speech: str, target: Path, minutes: float) -> None:
    """The speech again and again, as 16-bit wav."""
    samples, rate = soundfile.read(speech, dtype="int16", always_2d=True)
    left = round(minutes * 60 * rate)
    with soundfile.SoundFile(target, "w", rate, samples.shape[1], "PCM_16") as file:
        while left > 0:
            file.write(samples[:left])
            left -= len(samples)


def run(arguments: list[str]) -> float:
    """Run Python in a child of a child; its peak in MiB."""
    code = (
        "import resource, subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True, "
        "stdout=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout) / (1024.0 if sys.platform != "darwin" else 2.0**20)


if __name__ == "__main__":
    main()

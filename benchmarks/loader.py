"""How many seconds of audio a worker process prepares in a second: from the decoded cache, and straight from files.

    python benchmarks/loader.py MANIFEST [--clips 500] [--rates 16000 24000] [--seconds 5]
"""

from __future__ import annotations

import argparse
import tempfile
import time

from sqcodec.data.cache import AudioCache, build_cache
from sqcodec.data.files import AudioFiles
from sqcodec.data.manifest import read_manifest
from sqcodec.data.segments import SegmentSampler

BATCH, SEGMENT = 16, 1.0


def speed(corpus: AudioCache | AudioFiles, rate: int, seconds: float) -> float:
    """Seconds of audio in batches a second of CPU time, random segments."""
    sampler = SegmentSampler(corpus, BATCH, round(SEGMENT * rate), (-9.0, 3.0))
    sampler.batch(0)
    start, step = time.process_time(), 0
    while time.process_time() - start < seconds:
        step += 1
        sampler.batch(step)
    return step * BATCH * SEGMENT / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--rates", type=int, nargs="+", default=[16000, 24000])
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    clips = read_manifest(arguments.manifest)[: arguments.clips]
    with tempfile.TemporaryDirectory() as folder:
        for rate in arguments.rates:
            cached = speed(build_cache(clips, folder, rate), rate, arguments.seconds)
            direct = speed(AudioFiles(clips, rate), rate, arguments.seconds)
            print(f"{rate} Hz: {cached:.0f} audio-seconds per CPU second from the cache, {direct:.0f} from files")


if __name__ == "__main__":
    main()

"""LibriTTS (OpenSLR 60, CC BY 4.0): download, and one manifest with its official splits, speakers and transcripts.

    python recipes/prepare/libritts.py --root corpora/libritts --subsets train-clean-100 dev-clean test-clean
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from sqcodec.data.download import fetch, unpack
from sqcodec.data.prepare import examine_folder, manifest_line, transcript
from sqcodec.files import write_atomically

ORIGIN = "https://www.openslr.org/resources/60"
SHA256 = {
    "dev-clean": "da0864e1bd26debed35da8a869dd5c04dfc27682921936de7cff9c8a254dbe1a",
    "dev-other": "d413eda26f3a152ac7c9cf3658ef85504dfb1b625296e5fa83727f5186cca79c",
    "test-clean": "234ea5b25859102a87024a4b9b86641f5b5aaaf1197335c95090cde04fe9a4f5",
    "test-other": "33a5342094f3bba7ccc2e0500b9e72d558f72eb99328ac8debe1d9080402f10d",
    "train-clean-100": "c5608bf1ef74bb621935382b8399c5cdd51cd3ee47cec51f00f885a64c6c7f6b",
    "train-clean-360": "ce7cff44dcac46009d18379f37ef36551123a1dc4e5c8e4eb73ae57260de4886",
    "train-other-500": "e35f7e34deeb2e2bdfe4403d88c8fdd5fbf64865cae41f027a185a6965f0a5df",
}
SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def download(root: Path, subsets: list[str], mirror: str = ORIGIN) -> None:
    """Fetches and unpacks the archives of the subsets under ``root``."""
    for subset in subsets:
        archive = root / "archives" / f"{subset}.tar.gz"
        unpack(fetch(f"{mirror}/{subset}.tar.gz", archive, f"sha256:{SHA256[subset]}"), root)


def manifest(root: Path, subsets: list[str], jobs: int = 4) -> Path:
    """Writes ``root/manifest.jsonl``: LibriTTS/<subset>/<speaker>/<chapter>/<utterance>.wav and its normalized text."""
    out, lines = root / "manifest.jsonl", []
    for subset in subsets:
        for found in examine_folder(root / "LibriTTS" / subset, jobs=jobs):
            if found.problem:
                print(f"{found.problem}: {found.path}: {found.note}", file=sys.stderr)
                continue
            speaker, split = found.path.parent.parent.name, SPLITS[subset.partition("-")[0]]
            lines.append(manifest_line(found, out, speaker, split, transcript(found.path), f"libritts-{subset}"))
    write_atomically(out, ("\n".join(lines) + "\n").encode("utf-8"))
    return out


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="where the corpus lies or shall lie")
    parser.add_argument("--subsets", nargs="+", choices=list(SHA256), default=["train-clean-100", "dev-clean"])
    parser.add_argument("--only", choices=["download", "manifest"], help="one of the two steps")
    parser.add_argument("--mirror", default=ORIGIN, help="folder of the archives at another host")
    parser.add_argument("--jobs", type=int, default=4)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    if options.only != "manifest":
        download(options.root, options.subsets, options.mirror.rstrip("/"))
    if options.only != "download":
        print(manifest(options.root, options.subsets, options.jobs))


if __name__ == "__main__":
    main()

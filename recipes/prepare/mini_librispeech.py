"""Mini LibriSpeech (OpenSLR 31, CC BY 4.0): download, and one manifest with splits, speakers and transcripts.

7.4 h of training speech, the smallest corpus with which everything here can be tried. Its second archive, dev-clean-2,
is divided by a hash of the speakers' names: a quarter for validation, the others for the test.

    python recipes/prepare/mini_librispeech.py --root corpora/mini_librispeech
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from sqcodec.data.download import fetch, unpack
from sqcodec.data.manifest import name_place
from sqcodec.data.prepare import examine_folder, manifest_line
from sqcodec.files import write_atomically

ORIGIN = "https://www.openslr.org/resources/31"
MD5 = {
    "train-clean-5": "5df7d4e78065366204ca6845bb08f490",
    "dev-clean-2": "6d7ab67ac6a1d2c993d050e16d61080d",
}
VALIDATION_SHARE = 0.25


def download(root: Path, subsets: list[str], mirror: str = ORIGIN, checksums: dict[str, str] | None = None) -> None:
    """Fetches and unpacks the archives of the subsets under ``root``; ``checksums`` for a mirror that repacked them."""
    for subset in subsets:
        checksum = (checksums or {}).get(subset, f"md5:{MD5[subset]}")
        unpack(fetch(f"{mirror}/{subset}.tar.gz", root / "archives" / f"{subset}.tar.gz", checksum), root)


def manifest(root: Path, subsets: list[str], jobs: int = 4) -> Path:
    """Writes ``root/manifest.jsonl``: LibriSpeech/<subset>/<speaker>/<chapter>/<utterance>.flac and its line of the
    chapter's transcript."""
    out, lines = root / "manifest.jsonl", []
    for subset in subsets:
        for found in examine_folder(root / "LibriSpeech" / subset, jobs=jobs, pattern="*.flac"):
            if found.problem:
                print(f"{found.problem}: {found.path}: {found.note}", file=sys.stderr)
                continue
            speaker = found.path.parent.parent.name
            split = "validation" if name_place(speaker) < VALIDATION_SHARE else "test"
            split = "train" if subset.startswith("train") else split
            lines.append(manifest_line(found, out, speaker, split, text(found.path), f"librispeech-{subset}"))
    write_atomically(out, ("\n".join(lines) + "\n").encode("utf-8"))
    return out


def text(path: Path) -> str:
    """The words of an utterance, from <speaker>-<chapter>.trans.txt beside it."""
    chapter = path.parent / f"{path.stem.rpartition('-')[0]}.trans.txt"
    for line in chapter.read_text(encoding="utf-8").splitlines() if chapter.is_file() else []:
        name, _, words = line.partition(" ")
        if name == path.stem:
            return words.strip()
    return ""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="where the corpus lies or shall lie")
    parser.add_argument("--subsets", nargs="+", choices=list(MD5), default=list(MD5))
    parser.add_argument("--only", choices=["download", "manifest"], help="one of the two steps")
    parser.add_argument("--mirror", default=ORIGIN, help="folder of the archives at another host")
    parser.add_argument(
        "--checksum", action="append", default=[], metavar="SUBSET=ALGORITHM:HEX", help="of a mirror's own archive"
    )
    parser.add_argument("--jobs", type=int, default=4)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    if options.only != "manifest":
        checksums = dict(entry.split("=", 1) for entry in options.checksum)
        download(options.root, options.subsets, options.mirror.rstrip("/"), checksums)
    if options.only != "download":
        print(manifest(options.root, options.subsets, options.jobs))


if __name__ == "__main__":
    main()

"""VCTK 0.92 (CC BY 4.0): download, and one manifest with speakers and transcripts.

The corpus has no official split. Speakers are divided by a hash of their names: about 5 % for validation, 10 % for
test. Only the first microphone is used.

    python recipes/prepare/vctk.py --root corpora/vctk
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from sqcodec.data.download import fetch, unpack
from sqcodec.data.prepare import examine_folder, manifest_line, split_of
from sqcodec.files import write_atomically

ORIGIN = "https://datashare.ed.ac.uk/bitstream/handle/10283/3443"
ARCHIVE, MD5 = "VCTK-Corpus-0.92.zip", "8a6ba2946b36fcbef0212cad601f4bfa"
SHARES = {"validation": 0.05, "test": 0.1}
MICROPHONE = "_mic1"


def download(root: Path, mirror: str = ORIGIN) -> None:
    """Fetches and unpacks the archive under ``root``."""
    unpack(fetch(f"{mirror}/{ARCHIVE}", root / "archives" / ARCHIVE, f"md5:{MD5}"), root)


def manifest(root: Path, jobs: int = 4) -> Path:
    """Writes ``root/manifest.jsonl``: wav48_silence_trimmed/<speaker>/<speaker>_<number>_mic1.flac, txt/ beside it."""
    out, lines = root / "manifest.jsonl", []
    for found in examine_folder(root / "wav48_silence_trimmed", jobs=jobs, pattern=f"*{MICROPHONE}.*"):
        if found.problem:
            print(f"{found.problem}: {found.path}: {found.note}", file=sys.stderr)
            continue
        speaker, name = found.path.parent.name, found.path.stem.removesuffix(MICROPHONE)
        words = root / "txt" / speaker / f"{name}.txt"
        text = " ".join(words.read_text(encoding="utf-8").split()) if words.is_file() else ""
        lines.append(manifest_line(found, out, speaker, split_of(speaker, SHARES), text, "vctk"))
    write_atomically(out, ("\n".join(lines) + "\n").encode("utf-8"))
    return out


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="where the corpus lies or shall lie")
    parser.add_argument("--only", choices=["download", "manifest"], help="one of the two steps")
    parser.add_argument("--mirror", default=ORIGIN, help="folder of the archive at another host")
    parser.add_argument("--jobs", type=int, default=4)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    if options.only != "manifest":
        download(options.root, options.mirror.rstrip("/"))
    if options.only != "download":
        print(manifest(options.root, options.jobs))


if __name__ == "__main__":
    main()

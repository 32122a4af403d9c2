"""Which functions of the package one call goes through, file by file, in the order of the first call.

usage: python scripts/hops.py {encode,decode,evaluate} [--functions]

The call is made once before, so that imports and loading do not count. CONTRIBUTING.md has the totals.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import sqcodec

PACKAGE = Path(sqcodec.__file__).parent
CLIP = Path(__file__).resolve().parent.parent / "tests/data/84-121123-0002.flac"


def calls(folder: Path) -> dict[str, Callable[[], object]]:
    """What can be looked at; `folder` is for what they write."""
    codec = sqcodec.load()
    tokens = codec.encode(CLIP)
    outputs = iter(("first", "second"))

    def evaluate() -> None:
        from sqcodec.evaluation.evaluate import Options, evaluate
        from sqcodec.evaluation.report import publish

        (folder / "clips").mkdir(exist_ok=True)
        (folder / "clips/clip.flac").write_bytes(CLIP.read_bytes())
        out = folder / next(outputs)
        publish(evaluate(Options(folder / "clips", ["sqcodec:speech-3k"], out, jobs=1)), out)

    return {"encode": lambda: codec.encode(CLIP), "decode": lambda: codec.decode(tokens), "evaluate": evaluate}


def record(call: Callable[[], object]) -> dict[Path, list[str]]:
    """The package's functions that `call` enters in this thread, by file."""
    found: dict[Path, dict[str, None]] = {}

    def profile(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            name = frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name
            found.setdefault(path, {})[name] = None

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return {path: list(names) for path, names in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("call", choices=("encode", "decode", "evaluate"))
    parser.add_argument("--functions", action="store_true", help="list the functions of each file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        call = calls(Path(folder))[arguments.call]
        call()
        files = record(call)
    for path, functions in files.items():
        print(f"{path.relative_to(PACKAGE.parent)}: {len(functions)} functions")
        if arguments.functions:
            print(*(f"    {name}" for name in functions), sep="\n")
    print(f"{sum(map(len, files.values()))} functions in {len(files)} files")


if __name__ == "__main__":
    main()

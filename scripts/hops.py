"""Which functions of the package one call goes through, file by file, in the order of the first call.

usage: python scripts/hops.py {encode,file,decode,train,evaluate,lm} [--functions]

The call is made once before, so that imports do not count; nor does the loading of a model, nor comprehensions, which
are read where they stand. CONTRIBUTING.md has the totals.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

import sqcodec
from sqcodec import container
from sqcodec.cli.jobs import code_header

PACKAGE = Path(sqcodec.__file__).parent
DATA = Path(__file__).resolve().parent.parent / "tests/data"
CLIP = DATA / "84-121123-0002.flac"
TRAINING = {
    "data.manifest": DATA, "data.split": "", "data.validation_share": 0, "data.batch_size": 1, "train.steps": 1,
    "train.compile": "false", "train.save_every": 1,
}  # fmt: skip


def calls(folder: Path) -> dict[str, Callable[[], object]]:
    """What can be looked at; `folder` is for what they write."""
    codec = sqcodec.load()
    tokens = codec.encode(CLIP)
    header = code_header(codec, 16000, codec.hop_length * tokens.shape[1], 1, tokens.shape[1])
    outputs = iter(("first", "second"))

    def evaluate() -> None:
        from sqcodec.evaluation.evaluate import Options, evaluate
        from sqcodec.evaluation.report import publish

        out = folder / next(outputs)
        publish(evaluate(Options(str(CLIP), ["sqcodec:speech-3k"], out, jobs=1)), out)

    def train() -> None:
        from sqcodec.training.loop import Trainer
        from sqcodec.training.recipe import load_recipe
        from sqcodec.training.recipes import find_recipe

        recipe = load_recipe(find_recipe("base"), [f"{name}={value}" for name, value in TRAINING.items()])
        Trainer(recipe, folder / next(outputs)).run()

    def lm() -> None:
        from sqcodec.lm.recipe import LMRecipe
        from sqcodec.lm.train import train
        from sqcodec.tokens.corpus import tokenize

        out = folder / next(outputs)
        tokenize(DATA, out / "tokens", engine="serial", format="npz")
        recipe = LMRecipe(hidden_size=32, num_layers=1, batch_size=1, length=64, steps=1, split="", validation=0.5)
        train(out / "tokens", out / "run", recipe)

    def file() -> None:
        container.write(folder / "clip.sqc", header, tokens.numpy())
        container.read(folder / "clip.sqc")

    return {"encode": lambda: codec.encode(CLIP), "file": file, "decode": lambda: codec.decode(tokens), "train": train,
            "evaluate": evaluate, "lm": lm}  # fmt: skip


def record(call: Callable[[], object]) -> dict[Path, dict[str, CodeType]]:
    """The package's functions that `call` enters in this thread, by file."""
    found: dict[Path, dict[str, CodeType]] = {}
    loading: list[FrameType] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        if loading:
            if event == "return" and frame is loading[0]:
                loading.clear()
            return
        path, name = Path(frame.f_code.co_filename), frame.f_code.co_name
        if event == "call" and path.is_relative_to(PACKAGE):
            if name in ("load", "make_system") and path.name in ("__init__.py", "systems.py"):
                loading.append(frame)
            if name not in ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"):
                full = frame.f_code.co_qualname if sys.version_info >= (3, 11) else name
                found.setdefault(path, {})[full] = frame.f_code

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def lines(functions: dict[str, CodeType]) -> int:
    """Source lines of functions; those inside others count once."""
    found: set[int] = set()
    for code in functions.values():
        source, first = inspect.getsourcelines(code)
        found.update(range(first, first + len(source)))
    return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("call", choices=("encode", "file", "decode", "train", "evaluate", "lm"))
    parser.add_argument("--functions", action="store_true", help="list the functions of each file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        call = calls(Path(folder))[arguments.call]
        call()
        files = {path: found for path, found in record(call).items() if path.suffix == ".py"}
    for path, functions in files.items():
        print(f"{path.relative_to(PACKAGE.parent)}: {len(functions)} functions, {lines(functions)} lines")
        if arguments.functions:
            print(*(f"    {name}" for name in functions), sep="\n")
    print(f"{sum(map(len, files.values()))} functions in {len(files)} files, {sum(map(lines, files.values()))} lines")


if __name__ == "__main__":
    main()

"""``sqcodec prepare``: a manifest from a folder of audio, or a teacher's features of a recipe's corpus."""

from __future__ import annotations

import argparse
import sys

from .options import add_corpus, add_options, check_new, corpus, show_log
from .parser import UsageError, printable


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "prepare",
        help="make a manifest of a folder of audio",
        description="Reads every audio file under a folder, leaves out and reports what is broken, silent, too short "
        "or a duplicate, and writes a JSONL manifest. A speaker is the name of a file's parent folder; a transcript "
        "is the text file beside it. With --teacher: decodes the corpus of a recipe and computes the features that "
        "`sqcodec train` distils from, with the same --data, --cache and --set; interrupted, it goes on where it was.",
        epilog="examples: sqcodec prepare recordings --out recordings/manifest.jsonl --validation 0.02; "
        "sqcodec prepare base --data recordings --cache cache --teacher whisper",
    )
    add_corpus(parser, "folder of audio, searched with its subfolders; with --teacher: a recipe")
    add_options(parser, "--out", required=False, metavar="FILE.jsonl", help="manifest to write")
    parser.add_argument("--validation", type=float, default=0.0, metavar="SHARE", help="of the speakers; default: 0")
    parser.add_argument("--test", type=float, default=0.0, metavar="SHARE", help="of the speakers; default: 0")
    parser.add_argument("--shortest", type=float, default=0.1, metavar="SECONDS", help="default: 0.1")
    add_options(parser, "--jobs", default=4, help="files read at once; default: 4")
    parser.add_argument("--source", default="", help="name of the corpus, noted in each line")
    add_options(parser, "--force")
    teach = parser.add_argument_group("a teacher's features, for the corpus --data of a recipe")
    teach.add_argument("--teacher", metavar="NAME|PATH", help="whisper, a codec, a transformers folder, a .pt2 file")
    add_options(teach, "--cache", help="as of train: decoded audio, and the features beside it")
    add_options(teach, "--set")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from collections import Counter
    from pathlib import Path

    from sqcodec.data.prepare import examine_folder, manifest_line, split_of, transcript
    from sqcodec.files import write_atomically

    if arguments.teacher:
        return _teach(arguments)
    if not arguments.out:
        raise UsageError("--out FILE.jsonl is needed, or --teacher with a recipe")
    folder, out = Path(corpus(arguments)), Path(arguments.out)
    shares = {"validation": arguments.validation, "test": arguments.test}
    if min(shares.values()) < 0 or sum(shares.values()) >= 1:
        raise UsageError("--validation and --test are shares of 0 or more, together below 1")
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder at '{folder}'.")
    check_new(out, arguments.force)
    lines, seconds, problems = [], 0.0, Counter[str]()
    speakers: dict[str, str] = {}
    for found in examine_folder(folder, arguments.shortest, arguments.jobs):
        if found.problem:
            problems[found.problem] += 1
            print(printable(f"{found.problem}: {found.path}: {found.note}"), file=sys.stderr)
            continue
        speaker = found.path.parent.name
        split = speakers.setdefault(speaker, split_of(speaker, shares))
        lines.append(manifest_line(found, out, speaker, split, transcript(found.path), arguments.source))
        seconds += found.seconds
    if not lines:
        raise ValueError(f"No usable audio under '{folder}': {dict(problems)}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, "\n".join(lines) + "\n")
    for split in ("train", *(name for name, share in shares.items() if share)):
        if split not in speakers.values():
            print(
                f"sqcodec: warning: no clip is in the split '{split}': whole speakers are held out, by a hash of their "
                f"names, and there are {len(speakers)} (a speaker is the name of a file's folder). Give other shares, "
                "or none: `sqcodec train` can hold out clips itself (data.validation_share).",
                file=sys.stderr,
            )
    left_out = ", ".join(f"{count} {problem}" for problem, count in sorted(problems.items())) or "nothing"
    print(f"{out}: {len(lines)} clips, {seconds / 3600:.2f} h; left out: {left_out}")
    return 0


def _teach(arguments: argparse.Namespace) -> int:
    import shlex

    from sqcodec.training.corpus import build_data
    from sqcodec.training.recipe import load_recipe
    from sqcodec.training.recipes import find_recipe

    if not arguments.corpus:
        raise UsageError("--teacher needs a recipe")
    if not arguments.cache:
        raise UsageError("--teacher needs --cache DIR, the same as of sqcodec train")
    show_log()
    teacher = f"loss.semantic_teacher={arguments.teacher}"
    data = [f"data.manifest={arguments.data}"] if arguments.data else []
    recipe = load_recipe(find_recipe(arguments.corpus), [*arguments.set, *data, teacher, "loss.semantic=1"])
    if not recipe.data.manifest:
        raise ValueError("No corpus: give --data MANIFEST or FOLDER (or data.manifest in the recipe).")
    sampler, _ = build_data(recipe, arguments.cache)
    assert sampler.targets is not None
    print(
        f"{arguments.cache}: {sum(len(found.values) for found in sampler.targets.corpora)} frames of "
        f"{sampler.targets.dim} features for {sampler.seconds / 3600:.2f} h"
    )
    command = ["sqcodec", "train", arguments.corpus, *(["--data", arguments.data] if arguments.data else [])]
    command += ["--cache", arguments.cache, "--set", teacher, "--set", "loss.semantic=1"]
    for setting in arguments.set:
        command += ["--set", setting]
    print(shlex.join([*command, "--out", "RUN"]))
    return 0

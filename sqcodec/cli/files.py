"""From what the user names (files, folders, globs, pipes) to pairs of input and output."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

PIPE = "-"

# what is looked for in folders; a file that is named is tried whatever its extension
AUDIO_EXTENSIONS = frozenset(
    ".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .caf .w64 .rf64 .voc .nist .sph".split()
)
CODE_EXTENSION = ".sqc"


class PlanError(Exception):
    """The inputs and outputs do not fit together; the message says how to write it."""


@dataclass(frozen=True)
class Job:
    """One file to code. `make_folder`: the output's folder may be made. `problem`: why it cannot be done."""

    source: str
    target: str
    make_folder: bool = False
    problem: str | None = None


def plan(
    inputs: list[str],
    out: str | None,
    *,
    wanted: Iterable[str],
    suffix: str,
    output_suffixes: Iterable[str],
) -> list[Job]:
    """The jobs for `VERB IN... [OUT] [--out PATH]`.

    inputs: files, folders, globs or "-"; of two, the second is the output if it is "-", ends in one of
        `output_suffixes` or is a device. out: an output file for one input, else the folder to mirror into.
    wanted: extensions to look for in folders. suffix: extension of outputs that are not named.
    Raises PlanError where this makes no sense.
    """
    output_suffixes = frozenset(output_suffixes)
    if out is None and len(inputs) == 2 and _is_output(inputs[1], output_suffixes):
        inputs, out = inputs[:1], inputs[1]
    if out is None and len(inputs) > 2 and _is_output(inputs[-1], output_suffixes) and inputs[-1] != PIPE:
        if not Path(inputs[-1]).exists():
            raise PlanError(f"one output, {inputs[-1]}, for several inputs; use --out FOLDER")
    if PIPE in inputs and len(inputs) > 1:
        raise PlanError("'-' (a pipe) cannot be one of several inputs")
    if inputs == [PIPE] and out is None:
        out = PIPE
    if out is not None and _is_output(out, output_suffixes):
        if len(inputs) > 1 or Path(inputs[0]).is_dir() or _is_glob(inputs[0]):
            raise PlanError(f"one output, {out}, for several inputs; use --out FOLDER")
        return [_checked(Job(inputs[0], out))]
    if inputs == [PIPE]:
        raise PlanError("'-' (a pipe) has no name to give a file in a folder; name the output")
    if out is not None and Path(out).is_file():
        raise PlanError(f"--out {out} is a file; it must be a folder, or end in {' '.join(sorted(output_suffixes))}")
    jobs = []
    taken: dict[str, str] = {}
    for job in _expand(inputs, out, frozenset(wanted), suffix):
        job = _checked(job)
        key = os.path.realpath(job.target)
        if not job.problem and key in taken:
            job = replace(job, problem=f"{job.target} is already the output of {taken[key]}")
        taken.setdefault(key, job.source)
        jobs.append(job)
    return jobs


def _expand(inputs: list[str], out: str | None, wanted: frozenset[str], suffix: str) -> Iterator[Job]:
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found = [(file, file.relative_to(path)) for file in _walk(path, wanted)]
            problem = f"{name}: no file in it ends in one of: {' '.join(sorted(wanted))}"
        elif _is_glob(name):
            base = _fixed_part(name)
            matches = sorted(Path(match) for match in glob.glob(name, recursive=True))
            found = [(match, match.relative_to(base)) for match in matches if not match.is_dir()]
            problem = f"{name}: no file matches"
        else:
            found, problem = [(path, Path(path.name))], ""
        if not found:
            yield Job(name, "", problem=problem)
        for file, relative in found:
            target = Path(out, relative) if out is not None else file
            yield Job(str(file), str(target.with_suffix(suffix)), make_folder=out is not None)


def _walk(folder: Path, wanted: frozenset[str]) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in wanted:
                yield Path(root, name)


def _is_output(name: str, suffixes: frozenset[str]) -> bool:
    path = Path(name)
    if name == PIPE or (path.exists() and not path.is_file() and not path.is_dir()):
        return True
    return path.suffix.lower() in suffixes and not path.is_dir()


def _is_glob(name: str) -> bool:
    return name != PIPE and glob.has_magic(name) and not Path(name).exists()


def _fixed_part(pattern: str) -> Path:
    """The folders in front of the first wildcard."""
    fixed = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _checked(job: Job) -> Job:
    if not job.problem and job.source != PIPE and job.target != PIPE:
        if os.path.realpath(job.source) == os.path.realpath(job.target):
            return replace(job, problem=f"{job.source}: input and output are the same file")
    return job

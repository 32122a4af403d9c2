"""From what the user names (files, folders, globs, pipes) to pairs of input and output."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

PIPE = "-"

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
    opposite: str = "",
) -> list[Job]:
    """The jobs for `VERB IN... [OUT] [--out PATH]`.

    inputs: files, folders, globs or "-"; of two, the second is the output if it is "-", ends in one of
        `output_suffixes` or is a device. out: an output file for one input, else the folder to mirror into.
    wanted: extensions to look for in folders. suffix: extension of outputs that are not named. opposite: the verb for
        inputs that look like outputs.
    Raises PlanError where this makes no sense. A file that is not there is a job with a problem.
    """
    output_suffixes, wanted = frozenset(output_suffixes), frozenset(wanted)
    first = Path(inputs[0])
    if opposite and first.suffix.lower() in output_suffixes and first.is_file():
        raise PlanError(f"{first} ends in {first.suffix}: did you mean 'sqcodec {opposite} {first}'?")
    if out is None and len(inputs) == 2 and _is_output(inputs[1], output_suffixes):
        inputs, out = inputs[:1], inputs[1]
    if out is None and len(inputs) > 2 and _is_output(inputs[-1], output_suffixes) and inputs[-1] != PIPE:
        if not Path(inputs[-1]).exists():
            raise PlanError(f"one output, {inputs[-1]}, for several inputs; use --out FOLDER")
    if out is None and len(inputs) > 1 and inputs[-1] != PIPE and not _is_output(inputs[-1], output_suffixes):
        _check_last(inputs[-1], wanted, output_suffixes)
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
    for job in _expand(inputs, out, wanted, suffix):
        job = _checked(job)
        key = os.path.realpath(job.target)
        if not job.problem and key in taken:
            job = replace(job, problem=f"{job.target} is already the output of {taken[key]}")
        taken.setdefault(key, job.source)
        jobs.append(job)
    return jobs


def expand_globs(inputs: list[str]) -> list[str]:
    """Inputs with what matches in the place of each glob. PlanError where nothing does."""
    found = []
    for name in inputs:
        matches = sorted(glob.glob(name, recursive=True)) if _is_glob(name) else [name]
        if not matches:
            raise PlanError(f"{name}: no file matches")
        found += matches
    return found


def _check_last(name: str, wanted: frozenset[str], output_suffixes: frozenset[str]) -> None:
    """The last of several inputs may be meant as the output: PlanError before anything is written elsewhere."""
    path = Path(name)
    if path.is_dir() and next(_walk(path, wanted), None) is None:
        raise PlanError(f"{name} is a folder with nothing to code in it; to write into it: --out {name}")
    if not path.exists() and not _is_glob(name):
        endings = " ".join(sorted(output_suffixes))
        raise PlanError(f"{name}: no such file; an output ends in one of: {endings}, and a folder goes behind --out")


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
    if not job.problem and job.source != PIPE and not os.path.lexists(job.source):
        return replace(job, problem=f"{job.source}: No such file")
    return job

"""A study file: which quantizers, sizes and seeds, in which order. TOML.

    base = "study_backbone.toml"            # the recipe of every run, relative to the study file
    tokens = 30000                          # training tokens to count codes, and at least as many latents to fit on
    [size.1024]                             # what "1024 codes" means for each sort of quantizer
    levels = [8, 5, 5, 5]                   # scalar ones
    dim = 4                                 # vectors with one codebook
    books = [32, 32]                        # vectors with several
    [row.fsq]                               # one line of the tables
    label = "FSQ"
    quantizer = { kind = "fsq", noise_rate = 0.0 }
    [[stage]]                               # stages run one after the other, seed by seed
    rows = ["fsq"]
    sizes = [1024]
    seeds = [0]
    [[claim]]                               # what papers say, to be tested on pairs of rows over seeds
    text = "FSP is better than FSQ"
    first = "fsp"
    second = "fsq"
    metric = "mel"
    lower = true
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from sqcodec.config import QuantizerConfig
from sqcodec.tables import Range, Table, parse, read_toml
from sqcodec.training.recipe import Recipe, load_recipe

Codes = Annotated[int, Range(2, 2**24)]


@dataclass(frozen=True)
class Size(Table):
    """How each sort of quantizer reaches about as many codes."""

    levels: list[Codes]
    dim: Annotated[int, Range(1, 64)]
    books: list[Codes]


@dataclass(frozen=True)
class Row(Table):
    """One quantizer. ``overrides`` are further recipe entries, such as ``adversarial.weight``."""

    label: str
    quantizer: dict[str, Any]
    overrides: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further recipe entries for one size."""
    paper: str = ""


@dataclass(frozen=True)
class Claim(Table):
    """``first`` is said to have the higher (or, with ``lower``, the lower) ``metric`` than ``second``."""

    text: str
    first: str
    second: str
    metric: str
    lower: bool = False


@dataclass(frozen=True)
class Stage(Table):
    """Jobs for all ``rows`` at all ``sizes``, first with the first seed, then with the next."""

    rows: list[str]
    sizes: list[Codes]
    seeds: list[Annotated[int, Range(0, 2**31 - 1)]]
    steps: Annotated[int, Range(0, 10**9)] = 0
    """Training steps; 0: as the base recipe says."""
    other_sizes: list[Codes] = field(default_factory=list)
    """Numbers of codes that a trained fsq, fsp or vp is also tested with."""


@dataclass(frozen=True)
class StudyFile(Table):
    """A whole study file."""

    base: str
    size: dict[str, Size]
    row: dict[str, Row]
    stage: list[Stage]
    claim: list[Claim] = field(default_factory=list)
    tokens: Annotated[int, Range(1, 10**9)] = 30_000
    """Training tokens to count codes, and at least as many latents to fit on."""


@dataclass(frozen=True)
class Job:
    """One run."""

    row: str
    size: int
    seed: int
    steps: int = 0
    other_sizes: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.row}/{self.size}/{self.seed}" + (f"/{self.steps}" if self.steps else "")


@dataclass(frozen=True)
class Plan:
    path: Path
    base: str
    sizes: dict[int, Size]
    rows: dict[str, Row]
    stages: list[Stage]
    tokens: int = 30_000
    claims: tuple[Claim, ...] = ()
    overrides: tuple[str, ...] = ()

    def jobs(self) -> list[Job]:
        """All runs, each once, in the order of the stages."""
        found: dict[str, Job] = {}
        for stage in self.stages:
            for seed in stage.seeds:
                for size in stage.sizes:
                    for row in stage.rows:
                        job = Job(row, size, seed, stage.steps, tuple(stage.other_sizes))
                        found.setdefault(job.key, job)
        return list(found.values())

    def quantizer(self, row: str, size: int) -> dict[str, Any]:
        """The quantizer table of a row at a size."""
        return sized(self.rows[row].quantizer, size, self.sizes[size])

    def recipe(self, job: Job) -> Recipe:
        """The recipe of a run: the base with the row's quantizer, the study's overrides last."""
        row = self.rows[job.row]
        entries = {"model.quantizer": self.quantizer(job.row, job.size), "train.seed": job.seed}
        entries |= row.overrides | row.sizes.get(str(job.size), {})
        base = load_recipe(self.path.parent / self.base, list(self.overrides))
        if job.steps:  # the schedule keeps its shape
            scale = job.steps / base.train.steps
            entries |= {"train.steps": job.steps, "train.decay_steps": round(scale * base.train.decay_steps)}
        texts = [f"{name}={json.dumps(value)}" for name, value in entries.items()]
        return load_recipe(self.path.parent / self.base, texts + list(self.overrides))


def sized(quantizer: dict[str, Any], codes: int, size: Size) -> dict[str, Any]:
    """A quantizer table with what the size adds; what the table says itself stays."""
    added = QuantizerConfig.of_kind(quantizer["kind"]).sized(codes, size.dim, size.levels, size.books)
    return added | quantizer


def load_plan(path: str | Path, overrides: Iterable[str] = (), only: Iterable[str] = ()) -> Plan:
    """Reads a study file; ``only``: of its rows these. Raises FileNotFoundError, or ValueError with the wrong entry."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No study at '{path}'.")
    tables = read_toml(path)
    for name in ("base", "size", "row", "stage"):
        if name not in tables:
            raise ValueError(f"'{path}' has no entry '{name}'. A study needs: base, size, row, stage.")
    file = parse(StudyFile, tables, where=f"'{path}'")
    sizes = {_whole(name): size for name, size in file.size.items()}
    rows, stages = file.row, file.stage
    if only:
        _check(only, rows, "row")
        stages = [dataclasses.replace(stage, rows=[row for row in stage.rows if row in only]) for stage in stages]
    plan = Plan(path, file.base, sizes, rows, stages, file.tokens, tuple(file.claim), tuple(overrides))
    for stage in stages:
        _check(stage.rows, rows, "row")
        _check(stage.sizes, sizes, "size")
    for claim in plan.claims:
        _check([claim.first, claim.second], rows, "row")
    for row, size in dict.fromkeys((job.row, job.size) for job in plan.jobs()):
        try:
            plan.recipe(Job(row, size, 0))
        except ValueError as error:
            raise ValueError(f"[row.{row}] at size {size}: {error}") from error
    return plan


def _whole(name: str) -> int:
    if not name.isdecimal():
        raise ValueError(f"[size.{name}]: a size is a number of codes, such as [size.1024].")
    return int(name)


def _check(names: Iterable[Any], known: Mapping[Any, Any], what: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"Unknown {what} '{name}'. Choose from: {', '.join(map(str, known))}.")

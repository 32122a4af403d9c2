"""A manifest to a folder of tokens.

In the folder:

    DIR/data/part-00000.parquet ...   the tokens (formats/)
    DIR/shards/part-00000.json ...    what each holds and what was skipped
    DIR/tokens.json                   the model, the plan's digest, totals
    DIR/skipped.jsonl                 clips that could not be coded, and why; only where there are any
    DIR/README.md                     the dataset's card
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sqcodec import registry
from sqcodec.checkpoint import hash_folder
from sqcodec.codec import Precision
from sqcodec.config import CONFIG_NAME, ModelConfig
from sqcodec.data.manifest import read_manifest
from sqcodec.files import remove_partial, write_atomically
from sqcodec.tokens.card import dataset_card
from sqcodec.tokens.engines import run_tasks
from sqcodec.tokens.formats import shard_format
from sqcodec.tokens.plan import DATA, NOTES, Plan, ShardTask, make_plan
from sqcodec.tokens.records import TokenInfo
from sqcodec.tokens.worker import ShardResult

log = logging.getLogger(__name__)

INDEX = "tokens.json"
SKIPPED = "skipped.jsonl"


@dataclass(frozen=True)
class Totals:
    """Of a whole corpus. ``complete`` is False while shards of other parts are missing."""

    clips: int
    tokens: int
    seconds: float
    skipped: int
    shards: int
    complete: bool
    failed: tuple[str, ...] = ()


def tokenize(
    manifest: str | Path,
    out: str | Path,
    *,
    model: str | Path = registry.TOKEN_MODEL,
    format: str = "parquet",
    engine: str = "local",
    workers: int = 1,
    split: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    shard_clips: int = 500,
    shard_seconds: float = 7200.0,
    part: tuple[int, int] = (1, 1),
    retry_skipped: bool = False,
    bits: int | None = None,
    kbps: float | None = None,
    report: Callable[[ShardResult, int], None] | None = None,
) -> Totals:
    """Codes every clip of a manifest or folder. Started again it goes on where it stopped, or does nothing.

    Args:
        model: name or folder.
        workers: processes, one thread each. Neither they nor the engine change the output.
        part: (i, n) does the shards i, i + n, ... of n machines that share the folder, 1 <= i <= n.
        retry_skipped: do over the shards in which clips were skipped.
        bits, kbps: of a model with several rates, as of ``Codec.encode``.
        report: called with each shard as it ends, and the number of shards still to do.
    Raises:
        ValueError: bad arguments, or ``out`` holds the tokens of another corpus, model or format.
        FileNotFoundError: no manifest.
        ImportError: the format's or the engine's package is not installed.
    """
    if not 1 <= part[0] <= part[1]:
        raise ValueError(f"Part {part[0]} of {part[1]}: the first must lie in 1 to the second.")
    writer = shard_format(format)
    source, out = Path(manifest), Path(out)
    clips = read_manifest(source, split)
    plan = make_plan(clips, source if source.is_dir() else source.parent, shard_clips, shard_seconds)
    folder = registry.find_model(model)
    info = model_info(folder, precision, bits, kbps)
    if (out / INDEX).is_file():
        begun = read_index(out).get("weights_hash")
        if begun in registry.hashes(folder, info.weights_hash):  # perhaps one that the model had before
            info = replace(info, weights_hash=begun)
    tasks = list(_tasks(plan, out, format, str(folder.resolve()), device, info))
    _claim(out, plan, info, format)
    mine = [task for task in tasks if (task.number - part[0] + 1) % part[1] == 0]
    todo = [task for task in mine if (note := _done(task)) is None or (retry_skipped and note.skipped)]
    failed = []
    for count, result in enumerate(run_tasks(engine, todo, workers) if todo else (), start=1):
        if result.error:
            failed.append(f"{tasks[result.number].name}: {result.error}")
        if report is not None:
            report(result, len(todo) - count)
    notes = [(task, note) for task in tasks if (note := _done(task)) is not None]
    totals = Totals(
        clips=sum(note.clips for _, note in notes),
        tokens=sum(note.tokens for _, note in notes),
        seconds=sum(note.audio_seconds for _, note in notes),
        skipped=sum(len(note.skipped) for _, note in notes),
        shards=len(notes),
        complete=len(notes) == len(tasks),
        failed=tuple(failed),
    )
    if totals.complete:
        _finish(out, plan, info, format, totals, notes)
        if hasattr(writer, "finish"):
            writer.finish(out, [task.data_path for task in tasks], info, plan.digest)
    return totals


def model_info(
    folder: Path, precision: Precision = "float32", bits: int | None = None, kbps: float | None = None
) -> TokenInfo:
    """What a model folder says of its tokens; no network is built. ValueError for a rate that it does not have."""
    config = ModelConfig.from_toml(folder / CONFIG_NAME)
    bits = config.pick_bits(bits, kbps)
    return TokenInfo(
        model=config.name or folder.name,
        weights_hash=hash_folder(folder),
        sample_rate=config.sample_rate,
        hop_length=config.hop_length,
        token_rate=config.token_rate,
        codebook_size=config.codes(bits),
        levels=config.digit_levels(bits) if bits else tuple(config.quantizer.levels) or None,
        precision=precision,
        bits=bits,
    )


def read_index(folder: str | Path) -> dict:
    """``tokens.json`` of a corpus. FileNotFoundError where there is none, ValueError where it is damaged."""
    path = Path(folder) / INDEX
    if not path.is_file():
        raise FileNotFoundError(f"'{folder}' is not a folder of 'sqcodec tokens': it has no {INDEX}.")
    try:
        index = json.loads(path.read_text("utf-8"))
        TokenInfo.from_dict(index)
        sound = {"format", "digest", "shards", "complete"} <= index.keys()
    except (ValueError, TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise ValueError(f"'{path}' is damaged: remove it and run 'sqcodec tokens' again; whole shards are kept.")
    return index


def _tasks(plan: Plan, out: Path, format: str, model: str, device: str, info: TokenInfo) -> Iterator[ShardTask]:
    first = 0
    for number, items in enumerate(plan.shards):
        yield ShardTask(number, first, items, str(out.resolve()), format, model, device, info)
        first += len(items)


def _claim(out: Path, plan: Plan, info: TokenInfo, format: str) -> None:
    """Notes in the folder what it is for, or checks that it is for this."""
    wanted = {"format": format, "digest": plan.digest, "shards": len(plan.shards), **info.to_dict()}
    for folder in (out / DATA, out / NOTES):
        folder.mkdir(parents=True, exist_ok=True)
    if not (out / INDEX).is_file():
        write_atomically(out / INDEX, json.dumps(wanted | {"complete": False}, indent=2) + "\n")
        return
    found = read_index(out)
    for name, value in wanted.items():
        if found.get(name) != value:
            what = "another list of clips or other shard sizes" if name in ("digest", "shards") else (
                f"{name} {found.get(name)!r}, not {value!r}"
            )  # fmt: skip
            raise ValueError(f"'{out}' was begun with {what}: use another folder, or remove it.")


def _done(task: ShardTask) -> ShardResult | None:
    """The note of a shard that is there as its note says; None where it has to be made."""
    if not (task.note_path.is_file() and task.data_path.is_file()):
        return None
    note = ShardResult.from_note(task.number, task.note_path)
    size = task.data_path.stat().st_size
    if note.bytes not in (-1, size):
        log.warning("'%s' has %d bytes, not %d as its note says: it is made again", task.data_path, size, note.bytes)
        return None
    return note


def _finish(
    out: Path, plan: Plan, info: TokenInfo, format: str, totals: Totals, notes: list[tuple[ShardTask, ShardResult]]
) -> None:
    for folder in (out / DATA, out / NOTES):
        remove_partial(folder)
    lines = [json.dumps(asdict(entry), ensure_ascii=False) for _, note in notes for entry in note.skipped]
    lines += [json.dumps({"id": "", "path": path, "problem": "listed again"}) for path in plan.duplicates]
    if lines:
        write_atomically(out / SKIPPED, "\n".join(lines) + "\n")
    else:
        (out / SKIPPED).unlink(missing_ok=True)
    found = read_index(out)
    index = found | {
        "complete": True, "clips": totals.clips, "tokens": totals.tokens, "seconds": round(totals.seconds, 3),
        "skipped": totals.skipped, "duplicates": len(plan.duplicates),
        "files": [f"{DATA}/{task.data_path.name}" for task, _ in notes],
        "shard_clips": [note.clips for _, note in notes], "shard_tokens": [note.tokens for _, note in notes],
    }  # fmt: skip
    write_atomically(out / INDEX, json.dumps(index, indent=2) + "\n")
    write_atomically(out / "README.md", dataset_card(index, info, format))

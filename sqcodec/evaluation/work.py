"""One clip through all systems: coding, aligning, scoring. Runs in worker processes; broken input gives a row."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sqcodec import audio
from sqcodec.files import published

from .alignment import align, estimate_delay
from .results import Row
from .scorers import REFERENCE_RATE, Pair, score
from .systems import make_system, system_key
from .utterances import Utterance

_LENGTH_TOLERANCE = 0.12  # seconds: a delay and a frame, of any codec here


@dataclass(frozen=True)
class Task:
    """What a worker does: `systems` maps a system's text to the metrics it still lacks for this clip.

    `known` has the rows of systems whose coded audio is there already, so that only scores are added.
    """

    utterance: Utterance
    systems: dict[str, list[str]]
    fingerprints: dict[str, str]
    known: dict[str, Row]
    folder: str
    device: str = "cpu"


load_system = lru_cache(maxsize=None)(make_system)
"""Each system once a process; `evaluate` forgets those of before."""


def prepare_worker() -> None:
    """One thread per worker process: they are as many as the cores."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"


def run_task(task: Task) -> list[Row]:
    """All rows of one clip."""
    utterance = task.utterance
    try:
        reference = utterance.load(REFERENCE_RATE)
    except (ValueError, OSError) as error:
        return [_row(task, text, status="unreadable", error=str(error)) for text in task.systems]
    if task.systems:
        save_clip(clip_path(task.folder, "reference", utterance.name), reference)
    cache: dict = {}
    rows = []
    for text, metrics in task.systems.items():
        row = task.known.get(text)
        try:
            if row is None:
                row, decoded = _code(task, text, reference)
            else:
                path = clip_path(task.folder, system_key(text), utterance.name)
                decoded = soundfile.read(path, dtype="float32")[0]
        except Exception as error:  # whatever a codec raises is a row that says so
            rows.append(_row(task, text, len(reference), status="failed", error=_one_line(error)))
            continue
        pair = Pair(reference, decoded, REFERENCE_RATE, utterance.text, cache)
        scores, reasons = score(pair, metrics)
        row = replace(row, text=utterance.text, scores={**row.scores, **scores}, reasons={**row.reasons, **reasons})
        rows.append(row)
    return rows


def _code(task: Task, text: str, reference: np.ndarray) -> tuple[Row, np.ndarray]:
    """Codes one clip, aligns it with the reference and keeps it. What is scored is what is kept: 16 bit."""
    coded = load_system(text, task.device).code(task.utterance)
    if not np.isfinite(coded.samples).all():
        raise ValueError("the decoded signal has NaN or infinite samples")
    if not len(coded.samples):
        raise ValueError("nothing was decoded")
    decoded = coded.samples[None]
    if coded.sample_rate != REFERENCE_RATE:
        decoded = audio.resample(decoded, coded.sample_rate, REFERENCE_RATE)
    decoded = decoded[0]
    delay = estimate_delay(reference, decoded, REFERENCE_RATE)
    row = _row(
        task,
        text,
        len(reference),
        delay=delay,
        length_change=(len(decoded) - len(reference)) / REFERENCE_RATE,
        payload_bits=coded.payload_bits,
        file_bits=coded.file_bits,
        compact_bits=coded.compact_bits,
        num_tokens=None if coded.tokens is None else len(coded.tokens),
        encode_seconds=coded.encode_seconds,
        decode_seconds=coded.decode_seconds,
        notes=_notes(reference, decoded),
    )
    path = clip_path(task.folder, system_key(text), task.utterance.name)
    save_clip(path, align(reference, decoded, delay))
    if coded.tokens is not None:
        tokens = tokens_path(task.folder, system_key(text), task.utterance.name)
        tokens.parent.mkdir(parents=True, exist_ok=True)
        np.save(tokens, coded.tokens)
    return row, soundfile.read(path, dtype="float32")[0]


def clip_path(folder: str | Path, system: str, utterance: str) -> Path:
    """Where a system's output for a clip lies (16 kHz, aligned); system 'reference': what went in."""
    return Path(folder) / "audio" / system / f"{utterance}.flac"


def tokens_path(folder: str | Path, system: str, utterance: str) -> Path:
    """Where a system's tokens for a clip lie, as .npy."""
    return Path(folder) / "tokens" / system / f"{utterance}.npy"


def save_clip(path: Path, samples: np.ndarray) -> None:
    """16-bit FLAC at the reference rate, clipped at full scale; under its name whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with published(path) as partial:
        soundfile.write(partial, np.clip(samples, -1, 1), REFERENCE_RATE, subtype="PCM_16", format="FLAC")


def _notes(reference: np.ndarray, decoded: np.ndarray) -> list[str]:
    notes = []
    if not np.any(reference):
        notes.append("the reference is silent")
    if not np.any(decoded):
        notes.append("the decoded signal is silent")
    change = (len(decoded) - len(reference)) / REFERENCE_RATE
    if abs(change) > _LENGTH_TOLERANCE:
        notes.append(f"the decoded signal is {abs(change):.2f} s {'longer' if change > 0 else 'shorter'}")
    return notes


def _row(task: Task, text: str, num_samples: int = 0, **values: Any) -> Row:
    utterance = task.utterance
    return Row(
        system=system_key(text),
        utterance=utterance.name,
        path=utterance.path,
        speaker=utterance.speaker,
        source=utterance.source,
        seconds=num_samples / REFERENCE_RATE,
        fingerprint=task.fingerprints[text],
        **values,
    )


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

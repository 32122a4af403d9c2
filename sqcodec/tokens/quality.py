"""What makes good tokens: one report for any model, so that a tokenizer can be chosen by numbers.

Fewer bits a second after ideal coding leave a language model less to learn; a high share of stable tokens, that equal
speech looks equal; a high speaker accuracy, that the voice is in the tokens (wanted or not).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sqcodec.audio import load
from sqcodec.codec import Codec
from sqcodec.data.manifest import Clip, read_manifest
from sqcodec.entropy.blocks import needed_symbols
from sqcodec.entropy.train import coded_bits
from sqcodec.tokens.ngrams import Orders, score_orders
from sqcodec.tokens.probe import SpeakerProbe, probe_speakers
from sqcodec.tokens.stability import Stability, measure_stability

VALIDATION = 5
"""Every so manieth clip scores the n-grams; the others are counted."""


@dataclass(frozen=True)
class Quality:
    """Of one model on one list of clips. Rates in Hz, tokens or bits a second; entropies in bits a token."""

    model: str
    token_rate: float
    codebook_size: int
    nominal_bits: float
    clips: int
    seconds: float
    tokens: int
    used: int
    compact: float | None
    """Bits a second of compact files, without their headers; None where the model has no predictor."""
    orders: Orders
    stability: dict[str, Stability]
    speaker: SpeakerProbe | None

    def bits_per_second(self) -> tuple[float, float, float]:
        """After ideal coding of order 0, 1 and 2."""
        zero, one, two = (bits * self.token_rate for bits in self.orders.bits)
        return zero, one, two

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"bits_per_second": self.bits_per_second()}


def measure_quality(
    codec: Codec, clips: Sequence[Clip], stability_clips: int = 20, bits: int | None = None
) -> Quality:
    """Codes all clips once, and ``stability_clips`` of them once for each change. ValueError for too few clips."""
    streams: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    seconds = 0.0
    for clip in clips:
        samples = load(clip.path, codec.sample_rate)[0].mean(axis=0)
        seconds += len(samples) / codec.sample_rate
        streams.append(codec.encode(samples, bits=bits)[0].numpy())
        if len(kept) < stability_clips:
            kept.append(samples)
    counted = [stream for index, stream in enumerate(streams) if index % VALIDATION]
    scored = [stream for index, stream in enumerate(streams) if index % VALIDATION == 0]
    return Quality(
        model=codec.name,
        token_rate=codec.token_rate,
        codebook_size=codec.config.codes(bits),
        nominal_bits=1000 * codec.config.kbps(bits),
        clips=len(streams),
        seconds=seconds,
        tokens=sum(map(len, streams)),
        used=len(np.unique(np.concatenate(streams))),
        compact=_compact(codec, streams, bits),
        orders=score_orders(counted, scored, codec.config.digit_levels(bits)),
        stability=measure_stability(codec, kept, bits=bits),
        speaker=probe_speakers(codec, streams, [clip.speaker for clip in clips], bits),
    )


def _compact(codec: Codec, streams: list[np.ndarray], bits: int | None) -> float | None:
    if not codec.has_predictor:
        return None
    count = needed_symbols(codec.predictor, codec.config.codes(bits), codec.levels)
    coded, tokens = coded_bits(codec.predictor, streams, count)
    return coded / tokens * codec.token_rate


def choose_clips(source: str | Path, split: str | None, count: int) -> list[Clip]:
    """``count`` clips spread over a manifest or folder."""
    clips = read_manifest(source, split)
    places = np.unique(np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int))
    return [clips[place] for place in places]


def quality_table(found: Sequence[Quality]) -> str:
    """Markdown: a column for each model."""
    rows: dict[str, list[str]] = {
        "tokens a second": [f"{q.token_rate:.4g}" for q in found],
        "codebook size K": [f"{q.codebook_size:,}" for q in found],
        "bits a second, nominal": [f"{q.nominal_bits:.0f}" for q in found],
    }
    for order in range(3):
        rows[f"bits a second, coded at order {order}"] = [f"{q.bits_per_second()[order]:.0f}" for q in found]
    if any(q.compact for q in found):
        rows["bits a second, compact files"] = [f"{q.compact:.0f}" if q.compact else "-" for q in found]
    for order in range(3):
        rows[f"bits a token, coded at order {order} (plug-in entropy)"] = [
            f"{q.orders.bits[order]:.2f} ({q.orders.plug_in[order]:.2f})" for q in found
        ]
    rows["codes used, of tokens counted"] = [f"{q.used:,} of {q.tokens:,}" for q in found]
    for name in found[0].stability:
        rows[f"same tokens (digits), {name}"] = [
            f"{100 * q.stability[name].tokens:.1f} % ({100 * q.stability[name].digits:.1f} %)" for q in found
        ]
    rows["speaker recognised from 3 s by a linear probe (chance)"] = [_told(q.speaker) for q in found]
    lines = ["| | " + " | ".join(q.model for q in found) + " |", "|---" * (len(found) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    return "\n".join(lines) + "\n"


def _told(probe: SpeakerProbe | None) -> str:
    if probe is None:
        return "-"
    return f"{100 * probe.accuracy:.1f} % ({100 * probe.chance:.1f} %) of {probe.speakers}"

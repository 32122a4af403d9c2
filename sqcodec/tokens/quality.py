"""What makes good tokens: one report for any model, so that a tokenizer can be chosen by numbers.

Fewer bits a second after ideal coding leave a language model less to learn; a high share of stable tokens, that equal
speech looks equal; a high speaker accuracy, that the voice is in the tokens (wanted or not).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sqcodec.audio import load
from sqcodec.codec import Codec
from sqcodec.data.manifest import Clip, read_manifest
from sqcodec.entropy.blocks import needed_symbols
from sqcodec.entropy.train import coded_bits
from sqcodec.evaluation.tables import markdown_table
from sqcodec.tokens.ngrams import Orders, score_orders
from sqcodec.tokens.probe import SECONDS, SpeakerProbe, probe_speakers
from sqcodec.tokens.stability import Stability, measure_stability
from sqcodec.tokens.words import RATE, Spoken, Words, align_phones, measure_words

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
    words: Words | None

    def bits_per_second(self) -> tuple[float, float, float]:
        """After ideal coding of order 0, 1 and 2."""
        zero, one, two = (bits * self.token_rate for bits in self.orders.bits)
        return zero, one, two

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"bits_per_second": self.bits_per_second()}


def measure_quality(
    codec: Codec,
    clips: Sequence[Clip],
    stability_clips: int = 20,
    bits: int | None = None,
    spoken: Sequence[Spoken] = (),
    voices: Sequence[Clip] = (),
) -> Quality:
    """Codes all clips once, and ``stability_clips`` of them once for each change. ValueError for too few clips.

    Args:
        spoken: clips with transcripts, for phones and words.
        voices: clips of many speakers, two or more each, to tell them by; none: ``clips``.
    """
    streams: list[np.ndarray] = []
    kept: list[tuple[np.ndarray, str]] = []
    seconds, apart = 0.0, max(1, len(clips) // stability_clips)
    for index, clip in enumerate(clips):
        samples = _mono(codec, clip)
        seconds += len(samples) / codec.sample_rate
        streams.append(codec.encode(samples, bits=bits)[0].numpy())
        if index % apart == 0 and len(kept) < stability_clips:
            kept.append((samples, clip.speaker))
    counted = [stream for index, stream in enumerate(streams) if index % VALIDATION]
    scored = [stream for index, stream in enumerate(streams) if index % VALIDATION == 0]
    heard = [codec.encode(_mono(codec, clip), bits=bits)[0].numpy() for clip in voices] or streams
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
        stability=measure_stability(codec, [one for one, _ in kept], bits=bits, speakers=[who for _, who in kept]),
        speaker=probe_speakers(codec, heard, [clip.speaker for clip in voices or clips], bits),
        words=measure_words(codec, spoken, bits),
    )


def _mono(codec: Codec, clip: Clip) -> np.ndarray:
    return load(clip.path, codec.sample_rate)[0].mean(axis=0)


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


def choose_voices(source: str | Path, count: int) -> list[Clip]:
    """Two clips, of any split, of each of ``count`` speakers; of fewer where there are fewer."""
    found: dict[str, list[Clip]] = {}
    for clip in read_manifest(source):
        if clip.speaker and (clip.seconds is None or clip.seconds >= SECONDS):
            found.setdefault(clip.speaker, []).append(clip)
    pairs = [clips[:: len(clips) - 1][:2] for clips in found.values() if len(clips) > 1]
    places = np.unique(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int))
    return [clip for place in places for clip in pairs[place]]


def choose_spoken(source: str | Path, split: str | None, count: int) -> list[Spoken]:
    """``count`` clips with transcripts, of as many speakers as there are, with their phones."""
    turns: dict[str, list[Clip]] = {}
    for clip in read_manifest(source, split):
        if clip.text:
            turns.setdefault(clip.speaker, []).append(clip)
    order = sorted((turn, speaker) for speaker, clips in turns.items() for turn in range(len(clips)))
    found = []
    for turn, speaker in order[:count]:
        clip = turns[speaker][turn]
        samples = load(clip.path, RATE)[0].mean(axis=0)
        found.append(Spoken(samples, clip.text, speaker, align_phones(samples, clip.text)))
    return found


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
        stay = [q.stability[name] for q in found]
        rows[f"same tokens (digits), {name}"] = [
            f"{_share(one, one.tokens)} ({100 * one.digits:.1f} %)" for one in stay
        ]
    rows["speaker recognised from 3 s by a linear probe (chance)"] = [_told(q.speaker) for q in found]
    if any(q.words for q in found):
        rows |= _word_rows(found)
    table = [["", *(q.model for q in found)], *([name, *cells] for name, cells in rows.items())]
    return "\n".join(markdown_table(table)) + "\n"


def _told(probe: SpeakerProbe | None) -> str:
    if probe is None:
        return "-"
    return f"{_share(probe, probe.accuracy)} ({100 * probe.chance:.1f} %) of {probe.speakers}"


def _share(found: Any, mean: float, factor: float = 100) -> str:
    """In percent, with its interval."""
    return f"{factor * mean:.1f} % [{factor * found.low:.1f}, {factor * found.high:.1f}]"


def _word_rows(found: Sequence[Quality]) -> dict[str, list[str]]:
    def interval(name: str, factor: float = 100) -> list[str]:
        values = [getattr(q.words, name, None) for q in found]
        return ["-" if value is None else _share(value, value.mean, factor) for value in values]

    def each(bits: Callable[[Quality], float]) -> list[str]:
        return [f"{bits(q) / q.words.phones_per_second:.0f}" if q.words and q.words.tokens else "-" for q in found]

    return {
        "phones told by a linear probe": interval("tokens"),
        "... from mel spectra in the same digits": interval("mel"),
        "... from Whisper's features": interval("whisper"),
        "bits a phone, nominal": each(lambda q: q.nominal_bits),
        "bits a phone, coded at order 2": each(lambda q: q.bits_per_second()[2]),
        "word errors, decoded": interval("errors", 1),
        "... original": interval("original", 1),
    }

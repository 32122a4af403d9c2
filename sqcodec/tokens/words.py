"""Whether tokens carry words: phones that a linear classifier reads out of them, and words that a recogniser hears.

PocketSphinx, whose model and dictionary come with its package, aligns phones to transcripts in English. Each phone is
described by the mean of what its frames hold (of tokens: codes, and which digits), and told by linear discriminant
analysis trained on other speakers. Beside the tokens stand, with the same phones, mel spectra quantised to the same
digits, a token that knows nothing of words, and the features of Whisper's encoder, which knows nearly all.

Letters: T samples, N frames or tokens, F numbers a frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sqcodec.codec import Codec
from sqcodec.evaluation.recognition import encode_speech, error_rates, normalise
from sqcodec.evaluation.scorers import NotScorable, Pair
from sqcodec.evaluation.statistics import Interval, bootstrap_mean
from sqcodec.extras import MissingExtra, require
from sqcodec.tokens.probe import dimension_levels, numbers

RATE = 16000
FOLDS = 5
STRETCH = 800
"""Frames of 10 ms whose phones are aligned at once."""
SILENT = ("SIL", "+")
"""What the names of those begin with that are no phones."""


@dataclass(frozen=True)
class Phone:
    """``start``, ``end`` in seconds."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Spoken:
    """A clip with its transcript. ``samples`` [T] at 16 kHz; ``cache`` is shared by all models."""

    samples: np.ndarray
    text: str
    speaker: str
    phones: list[Phone]
    cache: dict = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Words:
    """Shares of phones told from tokens, mel spectra in the same digits, and Whisper's features; errors a word (%) in
    decoded and original speech. None where a package is missing or there is too little speech."""

    phones_per_second: float
    tokens: Interval | None
    mel: Interval | None
    whisper: Interval | None
    errors: Interval | None
    original: Interval | None


@dataclass(frozen=True)
class Frames:
    """``values`` [N, F]; frame n is about the moment ``first`` + n / ``rate`` (s)."""

    values: np.ndarray
    rate: float
    first: float


def align_phones(samples: np.ndarray, text: str) -> list[Phone]:
    """What is spoken in samples [T] at 16 kHz, without silence; nothing where text and speech do not fit, or a word is
    not in the English dictionary.

    Raises:
        MissingExtra: PocketSphinx is not installed.
    """
    decoder = require("pocketsphinx", "phones", "The phone probe").Decoder(lm=None, loglevel="FATAL")
    sound, found = (np.clip(samples, -1.0, 1.0) * 32767).astype(np.int16), []

    def hear(start: int, end: int) -> None:
        decoder.start_utt()
        decoder.process_raw(sound[160 * start : 160 * end].tobytes(), full_utt=True)
        decoder.end_utt()

    try:
        decoder.set_align_text(normalise(text))
        hear(0, len(sound))
        words = [word for word in decoder.seg() or () if not word.word.startswith(("<", "["))]
        while words:  # phones of a few words at a time: scores of long stretches overflow
            near = [word for word in words if word.end_frame - words[0].start_frame < STRETCH] or words[:1]
            words, first, end = words[len(near) :], near[0].start_frame, near[-1].end_frame + 1
            decoder.set_align_text(" ".join(word.word.partition("(")[0] for word in near))
            hear(first, end)
            decoder.set_alignment()
            hear(first, end)
            phones = [phone for word in decoder.get_alignment() for phone in word]
            found += [(phone.name, first + phone.start, phone.duration) for phone in phones]
    except RuntimeError:
        return []
    return [
        Phone(name, start / 100, (start + duration) / 100)
        for name, start, duration in found if not name.startswith(SILENT)
    ]  # fmt: skip


def measure_words(codec: Codec, clips: Sequence[Spoken], bits: int | None = None) -> Words | None:
    """Of clips by several speakers; None without clips."""
    aligned = [clip for clip in clips if clip.phones]
    if not clips:
        return None
    streams = [codec.encode(clip.samples, RATE, bits=bits) for clip in clips]
    digits, mel, whisper = [], _mel_digits(codec, aligned, bits), _whisper(aligned)
    for clip, stream in zip(clips, streams, strict=True):
        if clip.phones:
            digits.append(Frames(numbers(codec, stream[0].numpy(), bits), codec.token_rate, codec.config.first_moment))
    seconds = sum(phone.end - phone.start for clip in aligned for phone in clip.phones)
    errors: dict[str, list[float]] = {"decoded": [], "original": [], "words": []}
    whose = []
    for clip, stream in zip(clips, streams, strict=True):
        decoded = codec.decode(stream, length=round(len(clip.samples) * codec.sample_rate / RATE), bits=bits)
        try:
            found = error_rates(_pair(clip, decoded.reshape(-1).numpy(), codec.sample_rate))
            if "original" not in clip.cache:
                clip.cache["original"] = error_rates(_pair(clip, clip.samples, RATE))["wer"]
        except NotScorable:
            continue
        except MissingExtra:
            break
        errors["decoded"].append(found["wer"])
        errors["original"].append(clip.cache["original"])
        errors["words"].append(found["words"])
        whose.append(clip.speaker)
    rates = [
        bootstrap_mean(np.array(errors[name]), whose, np.array(errors["words"])) if whose else None
        for name in ("decoded", "original")
    ]
    count = sum(len(clip.phones) for clip in aligned)
    told = [probe_phones(frames, aligned) for frames in (digits, mel, whisper)]
    return Words(count / seconds if seconds else 0.0, *told, *rates)


def probe_phones(frames: Sequence[Frames], clips: Sequence[Spoken]) -> Interval | None:
    """Share of phones told by a linear classifier, each by one that never heard its speaker; over speakers. None for
    fewer than two speakers, or where there are no frames.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    analysis = require("sklearn.discriminant_analysis", "lm", "The phone probe")
    speakers = sorted({clip.speaker for clip in clips})
    if len(speakers) < 2 or not frames:
        return None
    pooled = [_pool(one, clip.phones) for one, clip in zip(frames, clips, strict=True)]
    fold = {speaker: number % FOLDS for number, speaker in enumerate(speakers)}
    shares: list[float] = [0.0] * len(clips)
    for number in set(fold.values()):
        others = [index for index, clip in enumerate(clips) if fold[clip.speaker] != number]
        names = [phone.name for index in others for phone in clips[index].phones]
        model = analysis.LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        with warnings.catch_warnings():  # of phones that the others said only once
            warnings.simplefilter("ignore", UserWarning)
            model.fit(np.concatenate([pooled[index] for index in others]), names)
        for index, clip in enumerate(clips):
            if fold[clip.speaker] == number:
                told = model.predict(pooled[index])
                shares[index] = float(np.mean([a == phone.name for a, phone in zip(told, clip.phones, strict=True)]))
    counts = np.array([len(clip.phones) for clip in clips])
    return bootstrap_mean(np.array(shares), [clip.speaker for clip in clips], counts)


def _pool(frames: Frames, phones: Sequence[Phone]) -> np.ndarray:
    """The mean of each phone's frames [P, F]; of a phone too short for any, the nearest frame."""
    found = []
    for phone in phones:
        start, end = ((moment - frames.first) * frames.rate for moment in (phone.start, phone.end))
        low = min(max(0, int(np.ceil(start))), len(frames.values) - 1)
        high = max(low + 1, int(np.ceil(end)))
        if end - start < 1 and not start <= low < end:
            low = min(max(0, round((start + end) / 2)), len(frames.values) - 1)
            high = low + 1
        found.append(frames.values[low:high].mean(axis=0))
    return np.stack(found)


def _mel_digits(codec: Codec, clips: Sequence[Spoken], bits: int | None) -> list[Frames]:
    """Log mel spectra at the token rate; their principal components, each cut into equally likely cells, as many as the
    model's dimensions have. Nothing for a codebook."""
    librosa, levels = require("librosa", "train", "The phone probe"), dimension_levels(codec, bits)
    hop = codec.hop_length / codec.sample_rate * RATE
    spectra = []
    for clip in clips:
        mel = librosa.feature.melspectrogram(y=clip.samples, sr=RATE, n_fft=512, hop_length=round(hop), n_mels=80)
        spectra.append(np.log10(mel.T + 1e-5))
    if not spectra or not levels:
        return []
    every = np.concatenate(spectra)
    directions = np.linalg.svd(every - every.mean(0), full_matrices=False)[2][: len(levels)]
    edges = [
        np.quantile(every @ axis, np.arange(1, level) / level) for axis, level in zip(directions, levels, strict=False)
    ]
    found = []
    for spectrum in spectra:
        digits = np.stack([
            np.searchsorted(edge, spectrum @ axis) for edge, axis in zip(edges, directions, strict=False)
        ], axis=1)  # fmt: skip
        hot = [np.eye(level)[digits[:, place]] for place, level in enumerate(levels[: len(edges)])]
        found.append(Frames(np.concatenate([digits, *hot], axis=1), RATE / round(hop), 0.0))
    return found


def _whisper(clips: Sequence[Spoken]) -> list[Frames]:
    """Whisper's features of each clip, kept in its cache; nothing where it is not installed."""
    try:
        for clip in clips:
            if "whisper" not in clip.cache:
                clip.cache["whisper"] = encode_speech(clip.samples[: 30 * RATE])
    except MissingExtra:
        return []
    return [Frames(clip.cache["whisper"], 50.0, 0.0) for clip in clips]


def _pair(clip: Spoken, decoded: np.ndarray, sample_rate: int) -> Pair:
    if sample_rate != RATE:
        import soxr

        decoded = soxr.resample(decoded, sample_rate, RATE)
    return Pair(clip.samples, decoded, RATE, clip.text, clip.cache)

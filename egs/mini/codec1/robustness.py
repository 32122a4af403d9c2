"""How a model bears what it was not trained on: quiet, clipped and noisy speech, silence, music and sounds.

    python egs/mini/codec1/robustness.py --corpus CORPUS/manifest.tsv --model speech-3k

Speech: every eighth clip of the test split (at least 2 s), at the level that its name says. PESQ-WB and STOI compare
with the input as it went in, so noise counts as signal; level is that of the output against the input, peak the highest
of all clips, 1 being full scale. Tones: 3 s of a sine (or three) of amplitude .5, -9 dB; how loud the last 2 s come
back. Non-speech: the clips of the split `nonspeech`, how much louder the output's peak and its level are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from pesq import pesq
from pystoi import stoi

import sqcodec
from sqcodec import audio
from sqcodec.data.manifest import read_manifest

RATE = 16000


def decibels(ratio: float) -> float:
    return 20 * np.log10(max(ratio, 1e-9))


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def with_noise(snr: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def change(speech: np.ndarray, random: np.random.Generator) -> np.ndarray:
        noise = random.standard_normal(len(speech)).astype(np.float32)
        return speech + noise * np.float32(level(speech) * 10 ** (-snr / 20))

    return change


def at_peak(decibel: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    return lambda speech, random: speech * np.float32(10 ** (decibel / 20) / np.abs(speech).max())


TONES = {"200 Hz": [200], "440 Hz": [440], "1 kHz": [1000], "3 kHz": [3000], "440, 550 and 660 Hz": [440, 550, 660]}
CONDITIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "as recorded": lambda speech, random: speech,
    "peak at 0 dBFS": at_peak(0),
    "peak at -10 dBFS": at_peak(-10),
    "peak at -20 dBFS": at_peak(-20),
    "peak at -30 dBFS": at_peak(-30),
    "clipped (12 dB over)": lambda speech, random: np.clip(at_peak(12)(speech, random), -1, 1),
    "white noise, SNR 20 dB": with_noise(20),
    "white noise, SNR 10 dB": with_noise(10),
}


def code(codec: sqcodec.Codec, samples: np.ndarray) -> np.ndarray:
    return codec.decode(codec.encode(samples), len(samples))[0].cpu().numpy()


def tones(codec: sqcodec.Codec) -> None:
    print("| tone | level in, dBFS | level out |\n|---|---|---|")
    time = np.arange(3 * RATE) / RATE
    for name, frequencies in TONES.items():
        tone = sum(np.sin(2 * np.pi * frequency * time) for frequency in frequencies)
        tone = (0.5 * tone / np.abs(tone).max()).astype(np.float32)
        levels = [decibels(level(samples[RATE:])) for samples in (tone, code(codec, tone))]
        print(f"| {name} | {levels[0]:.0f} | {levels[1]:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", metavar="FILE", help="the corpus's manifest.tsv; without it tones alone")
    parser.add_argument("--model", default="speech-3k")
    arguments = parser.parse_args()
    codec = sqcodec.load(arguments.model)
    if codec.sample_rate != RATE:
        parser.error(f"{arguments.model} runs at {codec.sample_rate} Hz; this script scores at {RATE}.")
    tones(codec)
    silence = code(codec, np.zeros(5 * RATE, np.float32))
    print(f"\nDigital silence: peak {decibels(np.abs(silence).max()):.0f} dBFS.\n")
    if not arguments.corpus:
        return
    clips = [clip for clip in read_manifest(arguments.corpus, "test") if clip.seconds >= 2][::8]
    speech = [audio.load(clip.path, RATE)[0].mean(axis=0) for clip in clips]
    print(f"{len(speech)} clips of speech\n\n| input | PESQ-WB | STOI | level, dB | peak |\n|---|---|---|---|---|")
    for name, change in CONDITIONS.items():
        random = np.random.default_rng(0)
        scores = []
        for clip in speech:
            given = change(clip, random)
            made = code(codec, given)
            louder = decibels(level(made) / level(given))
            scores.append((pesq(RATE, given, made, "wb"), stoi(given, made, RATE), louder, np.abs(made).max()))
        mean, peak = np.mean(scores, axis=0), max(score[3] for score in scores)
        print(f"| {name} | {mean[0]:.2f} | {mean[1]:.3f} | {mean[2]:+.1f} | {peak:.2f} |", flush=True)
    peaks, levels = [], []
    for clip in read_manifest(arguments.corpus, "nonspeech"):
        given = audio.load(clip.path, RATE)[0].mean(axis=0)
        made = code(codec, given)
        peaks.append(decibels(np.abs(made).max() / max(np.abs(given).max(), 1e-4)))
        levels.append(decibels(level(made) / max(level(given), 1e-5)))
    print(
        f"{len(peaks)} clips of music and sounds: peak {np.mean(peaks):+.1f} dB (at most {max(peaks):+.1f}), "
        f"level {np.mean(levels):+.1f} dB (at most {max(levels):+.1f})."
    )


if __name__ == "__main__":
    main()

"""How much better a model codes the speakers that it was trained on than others of the same corpus.

    python egs/mini/codec1/gap.py --corpus CORPUS/manifest.tsv --recipe recipes/mini_speech.toml --model speech-3k

Clips of at least 4 s of the recipe's split: of its validation speakers, and as many of other speakers from the same
sources, spread evenly. Mean of PESQ-WB and STOI with half the 95 % bootstrap interval over speakers. A codec that was
not trained, `--control opus:12` (any system of `sqcodec evaluate`), says how much of it is the recordings'.
"""

from __future__ import annotations

import argparse

import numpy as np
from pesq import pesq
from pystoi import stoi

from sqcodec import audio
from sqcodec.data.manifest import Clip, hold_out_speakers, read_manifest
from sqcodec.evaluation.alignment import align, estimate_delay
from sqcodec.evaluation.statistics import bootstrap_mean
from sqcodec.evaluation.systems import System, make_system
from sqcodec.evaluation.tables import cell
from sqcodec.evaluation.utterances import Utterance
from sqcodec.training.recipe import load_recipe

RATE = 16000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--recipe", default="recipes/mini_speech.toml")
    parser.add_argument("--model", default="speech-3k")
    parser.add_argument("--control", default="opus:12")
    parser.add_argument("--clips", type=int, default=48)
    arguments = parser.parse_args()
    data = load_recipe(arguments.recipe).data
    clips = [clip for clip in read_manifest(arguments.corpus, data.split) if (clip.seconds or 0) >= 4]
    heard, held_out = hold_out_speakers(clips, data.validation_speakers)
    sources = {clip.source for clip in held_out}
    groups = {"held out": held_out, "trained on": [clip for clip in heard if clip.source in sources]}
    print("| system | speakers | clips | PESQ-WB | STOI |\n|---|---|---|---|---|")
    for text in (f"sqcodec:{arguments.model}", arguments.control):
        system = make_system(text)
        for name, group in groups.items():
            scores = np.array([score(system, clip) for clip in spread(group, arguments.clips)])
            speakers = [clip.speaker for clip in spread(group, arguments.clips)]
            cells = [cell(bootstrap_mean(values, speakers).to_dict(), 3) for values in scores.T]
            print(f"| {system.info().label} | {name} | {len(scores)} | " + " | ".join(cells) + " |", flush=True)


def spread(clips: list[Clip], count: int) -> list[Clip]:
    return [clips[index] for index in np.unique(np.linspace(0, len(clips) - 1, count).round().astype(int))]


def score(system: System, clip: Clip) -> tuple[float, float]:
    utterance = Utterance(clip.path.stem, str(clip.path))
    reference, coded = utterance.load(RATE), system.code(utterance)
    decoded = audio.resample(coded.samples[None], coded.sample_rate, RATE)[0]
    decoded = align(reference, decoded, estimate_delay(reference, decoded, RATE))
    return pesq(RATE, reference, decoded, "wb"), stoi(reference, decoded, RATE)


if __name__ == "__main__":
    main()

"""What bfloat16 costs in quality: PESQ-WB and STOI of a model in float32 and in bfloat16, on the same clips.

    python benchmarks/precision.py MANIFEST_OR_FOLDER [--split test] [--limit 60] [--models speech-3k speech-1k]

"decode": float32's tokens, decoded in bfloat16; "both": encoded and decoded in bfloat16. Losses are paired, bfloat16
minus float32, with 95 % bootstrap intervals over speakers. Needs the extra `eval` and a processor where bfloat16 works:
the numbers are the same with and without instructions for it but for the order of sums.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch

import sqcodec
from sqcodec.codec import Codec
from sqcodec.evaluation.metrics import pesq_wideband, stoi
from sqcodec.evaluation.scorers import REFERENCE_RATE, NotScorable, Pair
from sqcodec.evaluation.statistics import bootstrap_mean
from sqcodec.evaluation.utterances import list_utterances

METRICS: dict[str, Callable[[Pair], dict[str, float]]] = {"pesq_wb": pesq_wideband, "stoi": stoi}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", metavar="MANIFEST_OR_FOLDER")
    parser.add_argument("--split", default="test", help="of a manifest; default: test")
    parser.add_argument("--limit", type=int, help="that many, of as many speakers as can be; default: all")
    parser.add_argument("--models", nargs="+", default=["speech-3k", "speech-1k"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    utterances = list_utterances(arguments.clips, arguments.split, arguments.limit)
    clips = [utterance.load(REFERENCE_RATE) for utterance in utterances]
    for name in arguments.models:
        measure(name, clips, [utterance.speaker for utterance in utterances])


def measure(name: str, clips: list[np.ndarray], speakers: list[str]) -> None:
    """Print a model's rows."""
    exact = sqcodec.load(name)
    fast = Codec(exact.network, exact.name, exact.weights_hash, precision="bfloat16")
    scores: dict[str, list[dict[str, float]]] = {"float32": [], "decode": [], "both": []}
    equal = total = 0
    scored = []
    for clip, speaker in zip(clips, speakers, strict=True):
        tokens, rough = exact.encode(clip, REFERENCE_RATE), fast.encode(clip, REFERENCE_RATE)
        outputs = {"float32": exact.decode(tokens), "decode": fast.decode(tokens), "both": fast.decode(rough)}
        try:
            row = {way: score(clip, output[0, : len(clip)].numpy()) for way, output in outputs.items()}
        except NotScorable:
            continue
        for way, values in row.items():
            scores[way].append(values)
        scored.append(speaker)
        equal, total = equal + int((tokens == rough).sum()), total + tokens.numel()
    print(f"{name}: {len(scores['float32'])} clips, {equal / total:.2%} of {total} tokens equal")
    for metric in METRICS:
        reference = np.array([values[metric] for values in scores["float32"]])
        print(f"  {metric}: float32 {reference.mean():.4f}")
        for way in ("decode", "both"):
            loss = bootstrap_mean(np.array([values[metric] for values in scores[way]]) - reference, scored)
            print(f"    {way:<6} in bfloat16: {loss.mean:+.4f} ({loss.low:+.4f} to {loss.high:+.4f})", flush=True)


def score(reference: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    """Raises NotScorable."""
    pair = Pair(reference, decoded)
    return {name: value for function in METRICS.values() for name, value in function(pair).items()}


if __name__ == "__main__":
    main()

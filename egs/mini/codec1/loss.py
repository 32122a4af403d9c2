"""What lost packets cost: a model that conceals them, one that repeats the last packet, and Opus with its own way.

    python egs/mini/codec1/loss.py --corpus CORPUS/manifest.tsv --model speech-3k --opus 8

The first 6 s of clips of the test split, of as many speakers as it can. A packet holds the tokens that begin within 20
(or 40) ms and is lost by chance, the same ones for every model; Opus, `opusdec --packet-loss`, draws its own, as many.
PESQ-WB and STOI, means over clips.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from pesq import pesq
from pystoi import stoi

import sqcodec
from sqcodec.evaluation.alignment import align, estimate_delay
from sqcodec.evaluation.utterances import list_utterances

RATE, SECONDS = 16000, 6

Way = Callable[[np.ndarray, float, float, int], np.ndarray]
"""(samples, share lost, packet in ms, number of the clip) to what is heard."""


def conceals(codec: sqcodec.Codec, kbps: float | None, repeats: bool) -> Way:
    def code(samples: np.ndarray, share: float, packet: float, number: int) -> np.ndarray:
        tokens = codec.encode(samples, kbps=kbps)[0].numpy()
        of_packet = (np.arange(len(tokens)) * 1000 // (codec.token_rate * packet)).astype(int)
        gone = np.random.default_rng(number).random(of_packet[-1] + 1) < share
        lost = gone[of_packet]
        if not repeats:
            return codec.decode(tokens, len(samples), lost=lost, kbps=kbps)[0].numpy()
        for here in np.flatnonzero(gone[1:]) + 1:
            place, last = np.flatnonzero(of_packet == here), tokens[of_packet == here - 1]
            tokens[place] = np.resize(last, len(place))
        return codec.decode(tokens, len(samples), kbps=kbps)[0].numpy()

    return code


def opus(kbps: str) -> Way:
    def code(samples: np.ndarray, share: float, packet: float, number: int) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            source, coded, decoded = (Path(folder) / name for name in ("in.wav", "coded.opus", "out.wav"))
            soundfile.write(source, samples, RATE, subtype="PCM_16")
            size, loss = f"{packet:g}", f"{100 * share:g}"
            encode = ["opusenc", "--quiet", "--bitrate", kbps, "--framesize", size, "--expect-loss", loss]
            subprocess.run([*encode, source, coded], check=True)
            decode = ["opusdec", "--quiet", "--rate", str(RATE), "--no-dither", "--packet-loss", loss]
            subprocess.run([*decode, coded, decoded], check=True)
            return soundfile.read(decoded, dtype="float32")[0]

    return code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, metavar="FILE", help="a manifest, or a folder of audio")
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--kbps", type=float, help="of models with several rates")
    parser.add_argument("--opus", action="append", default=[], metavar="KBPS")
    parser.add_argument("--lost", default="0,3,10,20", help="per cent")
    parser.add_argument("--packet", default="20,40", help="ms")
    parser.add_argument("--clips", type=int, default=24)
    arguments = parser.parse_args()
    shares, packets = ([float(text) for text in getattr(arguments, name).split(",")] for name in ("lost", "packet"))
    clips = list_utterances(arguments.corpus, arguments.split or None, arguments.clips)
    speech = [clip.load(RATE)[: SECONDS * RATE] for clip in clips]
    ways: dict[str, Way] = {}
    for name in arguments.model:
        codec = sqcodec.load(name)
        kbps = arguments.kbps if codec.rates else None
        ways[f"{codec.name}, concealed"] = conceals(codec, kbps, repeats=False)
        ways[f"{codec.name}, last packet again"] = conceals(codec, kbps, repeats=True)
    ways |= {f"Opus {kbps}": opus(kbps) for kbps in arguments.opus}
    heads = " | ".join(f"{share:g} %" for share in shares)
    print(f"{len(speech)} clips\n\n| PESQ-WB, STOI | packet (ms) | {heads} |")
    print("|---|---|" + "---|" * len(shares))
    for name, code in ways.items():
        for packet in packets:
            cells = []
            for share in shares:
                scores = []
                for number, clip in enumerate(speech):
                    heard = code(clip, share / 100, packet, number)
                    heard = align(clip, heard, estimate_delay(clip, heard, RATE))
                    scores.append((pesq(RATE, clip, heard, "wb"), stoi(clip, heard, RATE)))
                cells.append("{:.2f}, {:.3f}".format(*np.mean(scores, axis=0)))
            print(f"| {name} | {packet:g} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

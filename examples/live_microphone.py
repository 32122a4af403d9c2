"""Speak into the microphone, hear what the codec makes of it, 42 ms and the sound card's buffers later.

    pip install sqcodec sounddevice        # wear headphones
    python examples/live_microphone.py [MODEL]
"""

from __future__ import annotations

import sys

import numpy as np
import sounddevice
import torch

import sqcodec
from sqcodec.streaming import StreamDecoder, StreamEncoder

BLOCK_SECONDS = 0.024


def main(model: str = "speech-3k") -> None:
    """Microphone to headphones until Enter is pressed."""
    torch.set_num_threads(1)
    codec = sqcodec.load(model)
    encoder, decoder = StreamEncoder(codec), StreamDecoder(codec)
    decoder.push(encoder.push(np.zeros(codec.sample_rate, np.float32)))  # the first calls are slow
    encoder.reset()
    decoder.reset()
    waiting = np.zeros(codec.latency, np.float32)  # what the codec holds back, as silence in front

    def process(recorded: np.ndarray, played: np.ndarray, frames: int, _time: object, status: object) -> None:
        nonlocal waiting
        if status:
            print(status, file=sys.stderr)
        decoded = decoder.push(encoder.push(recorded[:, 0])).numpy()[0]
        waiting = np.concatenate([waiting, decoded])
        played[:, 0], waiting = waiting[:frames], waiting[frames:]

    block = round(BLOCK_SECONDS * codec.sample_rate)
    with sounddevice.Stream(codec.sample_rate, block, channels=1, dtype="float32", callback=process):
        print(f"{codec.bit_rate / 1000:.1f} kbit/s; Enter stops", file=sys.stderr)
        input()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Clipped speech came back with peaks of 3, which the wav clipped again: what is decoded stays within [-1, 1]."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sqcodec


@pytest.mark.parametrize("name", ["speech-3k", "speech-1k"])
def test_decoded_audio_stays_within_full_scale(name: str, speech: np.ndarray) -> None:
    codec = sqcodec.load(name)
    loud = np.clip(speech[:48000] * (4 / np.abs(speech).max()), -1, 1)
    tokens = codec.encode(np.stack([loud, 4 * loud]))
    whole = codec.decode(tokens, 48000)
    assert 0.95 < whole.abs().max() <= 1
    assert torch.equal(sqcodec.StreamDecoder(codec, 2).push(tokens)[:, :48000], whole)
    assert max(float(wave.abs().max()) for wave in codec.decode_batch(list(tokens))) <= 1

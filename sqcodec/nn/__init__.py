"""Neural network layers and the codec networks."""

from __future__ import annotations

from sqcodec.config import ModelConfig
from sqcodec.nn.frame_network import FrameNetwork
from sqcodec.nn.network import Network

__all__ = ["FrameNetwork", "Network", "build_network"]


def build_network(config: ModelConfig) -> Network | FrameNetwork:
    """The network that a configuration describes, with random weights.

    An stft front and an istft head make a frame-rate network; the other networks have neither.
    """
    spectral = (config.encoder.front == "stft", config.decoder.head == "istft")
    if spectral == (True, True):
        return FrameNetwork(config)
    if spectral == (False, False):
        return Network(config)
    raise ValueError(
        "encoder.front 'stft' and decoder.head 'istft' go together: set both, or neither ('tconv', 'waveform')."
    )

"""Neural network layers and the codec networks."""

from __future__ import annotations

from sqcodec.config import FrameConfig, ModelConfig, WaveformConfig
from sqcodec.nn.frame_network import FrameNetwork
from sqcodec.nn.network import Network

__all__ = ["FrameNetwork", "Network", "build_network"]


def build_network(config: ModelConfig) -> Network | FrameNetwork:
    """The network that a configuration describes, with random weights."""
    if isinstance(config, FrameConfig):
        return FrameNetwork(config)
    assert isinstance(config, WaveformConfig)
    return Network(config)

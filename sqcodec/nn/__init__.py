"""The causal SQCodec that we train, stream and ship.

``network`` is the reference, made of ``layers``, ``tconv`` and ``spectral``; ``steps`` has each layer again, with a
state and weights prepared for inference, and ``incremental`` runs them. ``published`` is a room for the authors'
networks.
"""

from __future__ import annotations

from sqcodec.config import FrameConfig, ModelConfig, WaveformConfig
from sqcodec.nn.base import CodecNetwork
from sqcodec.nn.coder import Coder, IncrementalCoder
from sqcodec.nn.inference import InferenceOptions
from sqcodec.nn.network import FrameNetwork
from sqcodec.nn.published import ChunkedCoder, WaveformNetwork

__all__ = ["Coder", "CodecNetwork", "FrameNetwork", "WaveformNetwork", "build_coder", "build_network"]


def build_network(config: ModelConfig) -> WaveformNetwork | FrameNetwork:
    """The network that a configuration describes, with random weights."""
    if isinstance(config, FrameConfig):
        return FrameNetwork(config)
    assert isinstance(config, WaveformConfig)
    return WaveformNetwork(config)


def build_coder(network: CodecNetwork, options: InferenceOptions) -> Coder:
    """What codes with a network. Weights that change afterwards are not seen."""
    if isinstance(network, FrameNetwork):
        return IncrementalCoder(network, options)
    assert isinstance(network, WaveformNetwork)
    return ChunkedCoder(network, options)

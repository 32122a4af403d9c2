"""Typed descriptions of codec networks, one for each family, validated on construction, TOML in and out.

``ModelConfig.from_toml`` and ``from_dict`` read them all: the ``FrameConfig`` of this project's own causal networks,
and the ``WaveformConfig`` of the published ones, which are read by name: `published_config("sqcodec-3kbps")`. Files of
earlier versions describe the same networks as before.
"""

from __future__ import annotations

from sqcodec.config.frame import FrameConfig, FrameDecoder, FrameEncoder, FrameTransformer
from sqcodec.config.model import CONFIG_NAME, SHIPPED_DIR, WEIGHTS_NAME, ModelConfig
from sqcodec.config.published import published_config, published_names
from sqcodec.config.quantizer import (
    FSPConfig,
    FSQConfig,
    NestedConfig,
    QuantizerConfig,
    TreeConfig,
    VPConfig,
    quantizer_config,
)
from sqcodec.config.waveform import DecoderConfig, EncoderConfig, TransformerConfig, UnitConfig, WaveformConfig

__all__ = [
    "CONFIG_NAME",
    "SHIPPED_DIR",
    "WEIGHTS_NAME",
    "DecoderConfig",
    "EncoderConfig",
    "FSPConfig",
    "FSQConfig",
    "FrameConfig",
    "FrameDecoder",
    "FrameEncoder",
    "FrameTransformer",
    "ModelConfig",
    "NestedConfig",
    "QuantizerConfig",
    "TransformerConfig",
    "TreeConfig",
    "UnitConfig",
    "VPConfig",
    "WaveformConfig",
    "published_config",
    "published_names",
    "quantizer_config",
]

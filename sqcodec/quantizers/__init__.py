"""The one quantizer of a codec: FSQ, FSP (scalar) or VP (vector), behind one interface; compared/ has others."""

from __future__ import annotations

from sqcodec.config import FSPConfig, FSQConfig, NestedConfig, QuantizerConfig, TreeConfig, VPConfig
from sqcodec.quantizers.base import Quantizer, QuantizerOutput, join_digits, split_digits
from sqcodec.quantizers.nested import NestedFSP
from sqcodec.quantizers.perturbation import PerturbationOptions, VectorPerturbation
from sqcodec.quantizers.scalar import FSP, FSQ
from sqcodec.quantizers.tree import TreeQuantizer
from sqcodec.quantizers.vector import VectorQuantizer

__all__ = [
    "FSP",
    "FSQ",
    "NestedFSP",
    "PerturbationOptions",
    "Quantizer",
    "QuantizerOutput",
    "TreeQuantizer",
    "VectorPerturbation",
    "VectorQuantizer",
    "build_quantizer",
    "join_digits",
    "split_digits",
]


def build_quantizer(config: QuantizerConfig, feature_dim: int) -> Quantizer:
    """The quantizer that the configuration describes, for features of `feature_dim` channels.

    Raises ImportError where it needs an absent package.
    """
    if isinstance(config, FSQConfig):
        return FSQ(feature_dim, config.levels, config.noise_rate, config.variant)
    if isinstance(config, FSPConfig):
        return FSP(feature_dim, config.levels, config.noise_rate, config.activation)
    if isinstance(config, NestedConfig):
        low, default, high = config.bits
        return NestedFSP(feature_dim, config.dim, (low, default, high), config.noise_rate, config.activation)
    if isinstance(config, TreeConfig):
        low, default, high = config.bits
        return TreeQuantizer(feature_dim, config.dim, (low, default, high))
    if isinstance(config, VPConfig):
        return VectorQuantizer(feature_dim, config.dim, config.size)
    return Quantizer.kinds[config.kind](feature_dim, config)

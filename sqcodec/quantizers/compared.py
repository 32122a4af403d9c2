"""Which class is which of the quantizers that there are to compare with (docs/quantizers.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqcodec.config import QuantizerConfig
from sqcodec.quantizers.base import Quantizer
from sqcodec.quantizers.continuous import Continuous
from sqcodec.quantizers.library import BinaryQuantizer, LibrarySimVQ, LibraryVQ
from sqcodec.quantizers.mapped import GritVQ, MappedVQ
from sqcodec.quantizers.nonstationary import NonStationaryVQ
from sqcodec.quantizers.regular import ConvexVQ, VariationalVQ, WassersteinVQ
from sqcodec.quantizers.several import MultiScaleVQ, ProductVQ, ResidualVQ
from sqcodec.quantizers.stochastic import GaussianMixtureVQ, HyperbolicVQ, StochasticVQ

KINDS: dict[str, Callable[[int, Any], Quantizer]] = {
    "vq": LibraryVQ,
    "rotation": LibraryVQ,
    "directional": LibraryVQ,
    "simvq": LibrarySimVQ,
    "lfq": BinaryQuantizer,
    "bsq": BinaryQuantizer,
    "rvq": ResidualVQ,
    "pvq": ProductVQ,
    "msrvq": MultiScaleVQ,
    "gritvq": GritVQ,
    "transvq": MappedVQ,
    "fvq": MappedVQ,
    "nsvq": NonStationaryVQ,
    "sqvae": StochasticVQ,
    "gmvq": GaussianMixtureVQ,
    "hypervq": HyperbolicVQ,
    "vaevq": VariationalVQ,
    "scq": ConvexVQ,
    "vqwae": WassersteinVQ,
}


def build_compared(config: QuantizerConfig, feature_dim: int) -> Quantizer:
    """The quantizer of a kind other than fsq, fsp and vp. Raises ImportError where it needs an absent package."""
    if config.kind == "none":
        return Continuous(feature_dim, config.dim)
    return KINDS[config.kind](feature_dim, config)

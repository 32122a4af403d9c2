"""Settings of the quantizers that are there to be compared with (docs/quantizers.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from sqcodec.config.quantizer import Dimensions, Levels, QuantizerConfig, Size
from sqcodec.tables import Length, Range

Weight = Annotated[float, Range(0, 1e6)]
Temperature = Annotated[float, Range(1e-6, 1e6)]


@dataclass(frozen=True)
class CodebookConfig(QuantizerConfig):
    """One codebook of vectors."""

    dim: Dimensions = 0
    """Dimensions d of a code vector."""
    size: Size = 0
    """Codes K."""


@dataclass(frozen=True)
class LearnedConfig(CodebookConfig, kinds=("simvq", "transvq", "fvq")):
    """SimVQ, TransVQ, FVQ: codebooks that are functions of parameters."""

    kind: Literal["simvq", "transvq", "fvq"] = "simvq"
    commitment: Weight = 0.25
    """Weight of the commitment loss."""


@dataclass(frozen=True)
class MovingConfig(QuantizerConfig):
    """Codebooks of moving averages."""

    decay: Annotated[float, Range(0, 0.999999)] = 0.99
    """Of the moving averages."""
    commitment: Weight = 0.25
    """Weight of the commitment loss."""
    kmeans_init: bool = False
    """The codebook starts at k-means of the first batch."""
    restart_below: Weight = 0.0
    """A code whose moving count a batch is below this restarts at a latent; 0 never does."""


@dataclass(frozen=True)
class VQConfig(MovingConfig, CodebookConfig, kinds=("vq", "rotation")):
    """VQ as in VQ-VAE, and with the rotation trick."""

    kind: Literal["vq", "rotation"] = "vq"


@dataclass(frozen=True)
class DirectionalConfig(MovingConfig, CodebookConfig, kinds=("directional",)):
    """DiVeQ."""

    kind: Literal["directional"] = "directional"
    direction_variance: Weight = 5e-3
    """Variance of the noise on the direction."""


@dataclass(frozen=True)
class GritConfig(CodebookConfig, kinds=("gritvq",)):
    """GRIT-VQ."""

    kind: Literal["gritvq"] = "gritvq"
    commitment: Weight = 0.25
    """Weight of the commitment loss."""
    transform: Literal["linear", "low_rank", "mlp"] = "linear"
    """Of the codebook."""
    radius: Literal["identity", "log", "sqrt", "tanh"] = "identity"
    """The radius function f."""


@dataclass(frozen=True)
class SeveralConfig(MovingConfig, kinds=("rvq", "pvq")):
    """Several codebooks: residual (rvq) or one for each part of the vector (pvq)."""

    kind: Literal["rvq", "pvq"] = "rvq"
    levels: Levels = ()
    """Codes of each codebook."""
    dim: Dimensions = 0
    """Dimensions d of all together."""

    def check(self) -> None:
        super().check()
        self.require(self.kind != "pvq" or self.dim % len(self.levels) == 0, "dim",
                     f"a multiple of the number of codebooks ({len(self.levels)})")


@dataclass(frozen=True)
class MultiScaleConfig(MovingConfig, kinds=("msrvq",)):
    """Residual codebooks at several rates."""

    kind: Literal["msrvq"] = "msrvq"
    levels: Levels = ()
    """Codes of each codebook."""
    dim: Dimensions = 0
    """Dimensions d of a code vector."""
    strides: Annotated[tuple[Annotated[int, Range(1, 1024)], ...], Length(1, 64)] = ()
    """Tokens that share a code of each codebook, such as [2, 1]."""

    def check(self) -> None:
        super().check()
        self.require(len(self.strides) == len(self.levels), "strides",
                     f"one number of tokens for each of {len(self.levels)} codebooks")


@dataclass(frozen=True)
class BinaryConfig(QuantizerConfig, kinds=("lfq", "bsq")):
    """One bit a dimension: 2^d codes."""

    kind: Literal["lfq", "bsq"] = "lfq"
    dim: Annotated[int, Range(1, 24)] = 0
    """Dimensions d."""
    size: Annotated[int, Range(0, 2**24)] = 0
    """Codes; left out, or 2^dim."""
    commitment: Weight = 0.25
    """Weight of the commitment loss."""
    entropy_weight: Weight = 0.1
    """Weight of the entropy loss."""
    temperature: Temperature = 1.0
    """Of the entropy."""

    def check(self) -> None:
        self.require(self.size in (0, 2**self.dim), "size", f"2^dim ({2**self.dim}) for {self.kind}")
        object.__setattr__(self, "size", 2**self.dim)


@dataclass(frozen=True)
class AnnealedConfig(CodebookConfig, kinds=("hypervq",)):
    """HyperVQ; and what falls with the steps in its kin."""

    kind: Literal["hypervq"] = "hypervq"
    temperature: Temperature = 1.0
    """Of drawing codes, or of the kernel."""
    final_temperature: Temperature = 0.1
    """Where it ends, geometrically, after ``anneal_steps``."""
    anneal_steps: Annotated[int, Range(0, 10**9)] = 200

    def annealed(self, step: int) -> float:
        """The temperature of a step."""
        share = min(1.0, step / max(1, self.anneal_steps))
        return self.temperature * (self.final_temperature / self.temperature) ** share


@dataclass(frozen=True)
class NonStationaryConfig(AnnealedConfig, kinds=("nsvq",)):
    """NSVQ."""

    kind: Literal["nsvq"] = "nsvq"  # type: ignore[assignment]
    decay: Annotated[float, Range(0, 0.999999)] = 0.99
    """Of the moving averages."""
    commitment: Weight = 0.25
    """Weight of the commitment loss."""


@dataclass(frozen=True)
class StochasticConfig(AnnealedConfig, kinds=("sqvae", "gmvq")):
    """SQ-VAE and GM-VQ."""

    kind: Literal["sqvae", "gmvq"] = "sqvae"  # type: ignore[assignment]
    prior_weight: Weight = 0.01
    """Of the terms that come from the evidence bound."""


@dataclass(frozen=True)
class VariationalConfig(CodebookConfig, kinds=("vaevq",)):
    """VAEVQ."""

    kind: Literal["vaevq"] = "vaevq"
    commitment: Weight = 0.25
    """Weight of the commitment loss."""
    prior_weight: Weight = 0.01
    """Of the terms that come from the evidence bound."""


@dataclass(frozen=True)
class ConvexConfig(CodebookConfig, kinds=("scq",)):
    """SCQ."""

    kind: Literal["scq"] = "scq"
    commitment: Weight = 0.25
    """Weight of the commitment loss."""
    temperature: Temperature = 1.0
    """The pull l to the nearest code."""


@dataclass(frozen=True)
class WassersteinConfig(CodebookConfig, kinds=("vqwae",)):
    """VQ-WAE."""

    kind: Literal["vqwae"] = "vqwae"
    commitment: Weight = 0.25
    """Weight of the commitment loss."""
    transport_weight: Weight = 1.0
    """Of the Wasserstein distance."""

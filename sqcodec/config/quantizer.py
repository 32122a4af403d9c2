"""Settings of the one quantizer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from sqcodec.tables import Length, Range, Table

SCALAR_KINDS = ("fsq", "fsp")
SEVERAL_KINDS = ("rvq", "pvq", "msrvq")
BINARY_KINDS = ("lfq", "bsq")


Share = Annotated[float, Range(0, 1)]
Weight = Annotated[float, Range(0, 1e6)]
Temperature = Annotated[float, Range(1e-6, 1e6)]


@dataclass(frozen=True)
class QuantizerOptions(Table):
    """Options of the quantizers that are there for comparison; fsq, fsp, vp and none have none of them."""

    TABLE: ClassVar[str] = "quantizer.options"
    decay: Annotated[float, Range(0, 0.999999)] = 0.99
    """Of moving averages: vq, rotation, rvq, pvq, msrvq, nsvq."""
    commitment: Weight = 0.25
    """Weight of the commitment loss."""
    kmeans_init: bool = False
    """vq and its kin: the codebook starts at k-means of the first batch."""
    restart_below: Weight = 0.0
    """vq and its kin: a code whose moving count a batch is below this restarts at a latent; 0 never does."""
    direction_variance: Weight = 5e-3
    """Variance of the noise on the direction of directional."""
    transform: Literal["linear", "low_rank", "mlp"] = "linear"
    """Of the codebook of gritvq."""
    radius: Literal["identity", "log", "sqrt", "tanh"] = "identity"
    """The radius function f of gritvq."""
    entropy_weight: Weight = 0.1
    """Of the entropy loss of lfq and bsq."""
    prior_weight: Weight = 0.01
    """Of the terms of sqvae, gmvq and vaevq that come from their evidence bound."""
    transport_weight: Weight = 1.0
    """Of the Wasserstein distance of vqwae."""
    temperature: Temperature = 1.0
    """Of drawing codes (sqvae, gmvq, hypervq), of the kernel (nsvq), of the entropy (lfq, bsq); the pull l of scq."""
    final_temperature: Temperature = 0.1
    """Where nsvq, sqvae, gmvq and hypervq end, geometrically, after ``anneal_steps``."""
    anneal_steps: Annotated[int, Range(0, 10**9)] = 200

    def annealed(self, step: int) -> float:
        """The temperature of a step."""
        share = min(1.0, step / max(1, self.anneal_steps))
        return self.temperature * (self.final_temperature / self.temperature) ** share


@dataclass(frozen=True)
class QuantizerConfig(Table):
    """The one quantizer: finite scalar quantisation (fsq), perturbation (fsp) or vector perturbation (vp).

    The other kinds are there to be compared with (docs/quantizers.md); "none" passes features without quantisation.
    """

    TABLE: ClassVar[str] = "quantizer"
    kind: Literal[
        "fsq", "fsp", "nested", "vp", "none", "vq", "rotation", "directional", "simvq", "gritvq", "rvq", "pvq", "msrvq",
        "lfq", "bsq", "nsvq", "transvq", "fvq", "sqvae", "gmvq", "vaevq", "scq", "hypervq", "vqwae",
    ] = "fsp"
    levels: Annotated[tuple[Annotated[int, Range(2, 2**24)], ...], Length(0, 64)] = (7, 7, 7, 7, 7, 7)
    """Levels of each scalar (fsq, fsp), codes of each codebook (rvq, pvq, msrvq); empty for the others."""
    variant: Literal["sqcodec", "l3ac"] = "sqcodec"
    """Arithmetic of fsq: SQCodec's "taae_fsq" or L3AC's "super_fsq"."""
    activation: Literal["tanh", "normal", "sigmoid", "laplace", "cauchy"] = "tanh"
    """The distribution function g of fsp."""
    noise_rate: Share = 0.5
    """Share of the latents that see noise instead of rounding in training (fsq, fsp)."""
    dim: Annotated[int, Range(0, 64)] = 0
    """Dimensions d of code vectors; left out for fsq and fsp."""
    bits: Annotated[tuple[Annotated[int, Range(1, 60)], ...], Length(0, 3)] = ()
    """Bits of a token of nested: lowest, default, highest, such as [9, 18, 24]; left out for the others."""
    size: Annotated[int, Range(0, 2**24)] = 0
    """Codes K of one codebook; left out for kinds with levels and for none."""
    strides: Annotated[tuple[Annotated[int, Range(1, 1024)], ...], Length(0, 64)] = ()
    """Tokens that share a code of each codebook of msrvq, such as [2, 1]."""
    options: QuantizerOptions = field(default_factory=QuantizerOptions)

    def check(self) -> None:
        has_levels = self.kind in SCALAR_KINDS + SEVERAL_KINDS
        if has_levels:
            self.require(len(self.levels) > 0, "levels", "at least one number of levels")
        else:
            self.require(not self.levels, "levels", f"empty ([]) for {self.kind}: give dim and size")
        if self.kind in SCALAR_KINDS:
            for name in ("dim", "size"):
                self.require(getattr(self, name) == 0, name, f"left out for {self.kind}: its levels say it")
        else:
            self.require(self.dim >= 1, "dim", "between 1 and 64")
        if self.kind == "nested":
            low, default, high = self.bits if len(self.bits) == 3 else (0, 0, 0)
            self.require(0 < low <= default <= high, "bits", "lowest, default and highest bits, rising")
        else:
            self.require(not self.bits, "bits", f"left out for {self.kind}")
        if has_levels or self.kind in ("none", "nested"):
            self.require(self.size == 0, "size", f"left out for {self.kind}")
        else:
            self.require(self.size >= 2, "size", "2 or more")
        if self.kind in BINARY_KINDS:
            self.require(self.size == 2**self.dim, "size", f"2^dim ({2**self.dim}) for {self.kind}")
        if self.kind == "pvq":
            self.require(self.dim % len(self.levels) == 0, "dim",
                         f"a multiple of the number of codebooks ({len(self.levels)})")
        if self.kind == "msrvq":
            self.require(len(self.strides) == len(self.levels), "strides",
                         f"one number of tokens for each of {len(self.levels)} codebooks")
        else:
            self.require(not self.strides, "strides", f"left out for {self.kind}")
        self.require(self.codebook_size < 2**62, "levels", "a product below 2^62")

    def check_frame(self, tokens_per_frame: int) -> None:
        """Raises ValueError where this quantizer does not fit frames of so many tokens."""
        for stride in self.strides:
            self.require(tokens_per_frame % stride == 0, "strides",
                         f"divisors of tokens_per_frame ({tokens_per_frame})")

    @property
    def codebook_size(self) -> int:
        """Number of tokens K that there are: codes, or the product over several codebooks; 1 for none."""
        return 2 ** self.bits[1] if self.bits else self.size or math.prod(self.levels)

    @property
    def token_bits(self) -> float:
        """Nominal bits a token: log2(K), less where tokens share codes; infinite for none."""
        if self.kind == "none":
            return math.inf
        if self.kind == "msrvq":
            return sum(math.log2(size) / stride for size, stride in zip(self.levels, self.strides, strict=True))
        return math.log2(self.codebook_size)

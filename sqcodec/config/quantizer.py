"""Settings of the one quantizer: a table of its own for each kind, tagged by ``kind``."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

from sqcodec.tables import Length, Range, Rising, Table, check_keys, fail, field_types, join, nearest, parse

Share = Annotated[float, Range(0, 1)]
Levels = Annotated[tuple[Annotated[int, Range(2, 2**24)], ...], Length(1, 64)]
Dimensions = Annotated[int, Range(1, 64)]
Size = Annotated[int, Range(2, 2**24)]
Activation = Literal["tanh", "normal", "sigmoid", "laplace", "cauchy"]

EMPTY: dict[str, Any] = {
    "levels": [], "dim": 0, "size": 0, "strides": [], "bits": [], "variant": "sqcodec", "activation": "tanh",
    "noise_rate": 0.5,
}  # fmt: skip
"""What version 1 of the configuration wrote into the tables of kinds that these entries are not for."""

EMPTY_OPTIONS: dict[str, Any] = {
    "decay": 0.99, "commitment": 0.25, "kmeans_init": False, "restart_below": 0.0, "direction_variance": 5e-3,
    "transform": "linear", "radius": "identity", "entropy_weight": 0.1, "prior_weight": 0.01, "transport_weight": 1.0,
    "temperature": 1.0, "final_temperature": 0.1, "anneal_steps": 200,
}  # fmt: skip
"""The same for its table ``options``, whose entries now stand beside ``kind``."""


@dataclass(frozen=True)
class QuantizerConfig(Table):
    """Base of the quantizers' settings. ``kind`` says which; ``read`` finds its class, which takes nothing else.

    Trained with: fsp, fsq, vp, nested, vp_tree. The others are there to be compared with (docs/quantizers.md).
    """

    TABLE: ClassVar[str] = "quantizer"
    kinds: ClassVar[dict[str, type[QuantizerConfig]]] = {}
    """The class of each kind that has registered itself; ``of_kind`` finds all."""
    several: ClassVar[bool] = False
    """Whether a token's digits are codes of several codebooks."""

    # Of all kinds: these are no settings here, but a kind's class makes settings of what it has.
    kind = cast(str, "")
    levels = cast("tuple[int, ...]", ())
    dim = cast(int, 0)
    size = cast(int, 0)
    bits = cast("tuple[int, ...]", ())
    strides = cast("tuple[int, ...]", ())

    def __init_subclass__(cls, kinds: tuple[str, ...] = ()) -> None:
        QuantizerConfig.kinds.update(dict.fromkeys(kinds, cls))

    @classmethod
    def read(cls, values: Mapping[str, Any], path: str = "quantizer", where: str = "") -> QuantizerConfig:
        """The settings of plain values, of this version or an earlier one. Raises ValueError as ``parse`` does."""
        chosen, options = cls.of_kind(values.get("kind", "fsp"), path), values.get("options", {})
        if not isinstance(options, Mapping):
            fail(join(path, "options"), options, "a table")
        check_keys(options, EMPTY_OPTIONS, join(path, "options"), where)
        known, empty = field_types(chosen), EMPTY | EMPTY_OPTIONS
        given = {name: value for name, value in values.items() if name != "options"} | dict(options)
        told = {
            name: value
            for name, value in given.items()
            if name in known or name not in empty or empty[name] != (list(value) if isinstance(value, tuple) else value)
        }
        return parse(chosen, told, path, where)

    @classmethod
    def of_kind(cls, kind: Any, path: str = "quantizer") -> type[QuantizerConfig]:
        """The class of a kind. Kinds to compare with come with what runs them, which imports torch."""
        if kind not in list(cls.kinds):
            importlib.import_module("sqcodec.quantizers.compared")
        if kind not in list(cls.kinds):
            fail(join(path, "kind"), kind, f"one of: {', '.join(cls.kinds)}{nearest(str(kind), cls.kinds)}")
        return cls.kinds[kind]

    @classmethod
    def sized(cls, codes: int, dim: int, levels: Sequence[int], books: Sequence[int]) -> dict[str, Any]:
        """Settings for about so many codes: ``dim`` dimensions, ``levels``, or ``books`` of several codebooks."""
        sizes = {"levels": levels, "dim": dim, "size": codes}
        return {name: value for name, value in sizes.items() if name in field_types(cls)}

    def check(self) -> None:
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
        return math.log2(self.codebook_size)


def quantizer_config(**settings: Any) -> QuantizerConfig:
    """The settings of a quantizer: ``quantizer_config(kind="vp", dim=5, size=16384)``."""
    return QuantizerConfig.read(settings)


@dataclass(frozen=True)
class FSPConfig(QuantizerConfig, kinds=("fsp",)):
    """Finite scalar perturbation (VP-VAE, arXiv 2602.17133)."""

    kind: Literal["fsp"] = "fsp"
    levels: Levels = (7, 7, 7, 7, 7, 7)
    """Levels of each scalar."""
    activation: Activation = "tanh"
    """The distribution function g."""
    noise_rate: Share = 0.5
    """Share of the tokens that see noise instead of rounding in training."""


@dataclass(frozen=True)
class FSQConfig(QuantizerConfig, kinds=("fsq",)):
    """Finite scalar quantisation (arXiv 2309.15505), with noise as in SQCodec and L3AC."""

    kind: Literal["fsq"] = "fsq"
    levels: Levels = (7, 7, 7, 7, 7, 7)
    """Levels of each scalar."""
    variant: Literal["sqcodec", "l3ac"] = "sqcodec"
    """Arithmetic: SQCodec's "taae_fsq" or L3AC's "super_fsq"."""
    noise_rate: Share = 0.5
    """Share of the latents that see noise instead of rounding in training."""


@dataclass(frozen=True)
class NestedConfig(QuantizerConfig, kinds=("nested",)):
    """FSP for many bit rates: tokens that can be cut to fewer bits."""

    kind: Literal["nested"] = "nested"
    dim: Dimensions = 6
    """Scalars of a token."""
    bits: Annotated[tuple[Annotated[int, Range(1, 60)], ...], Rising(3)] = (9, 18, 24)
    """Bits of a token: lowest, default, highest."""
    activation: Activation = "tanh"
    """The distribution function g."""
    noise_rate: Share = 0.5
    """Share of the tokens that see noise instead of rounding in training."""


@dataclass(frozen=True)
class VPConfig(QuantizerConfig, kinds=("vp",)):
    """Vector perturbation (VP-VAE, arXiv 2602.17133); how it trains is said in [vp]."""

    kind: Literal["vp"] = "vp"
    dim: Dimensions = 0
    """Dimensions d of a code vector."""
    size: Size = 0
    """Codes K."""


@dataclass(frozen=True)
class TreeConfig(QuantizerConfig, kinds=("vp_tree",)):
    """Vector perturbation for many bit rates: tokens that can be cut to fewer bits; how it trains is said in [vp]."""

    kind: Literal["vp_tree"] = "vp_tree"
    dim: Dimensions = 8
    """Dimensions d of a code vector."""
    bits: Annotated[tuple[Annotated[int, Range(1, 24)], ...], Rising(3)] = (8, 14, 16)
    """Bits of a token: lowest, default, highest."""

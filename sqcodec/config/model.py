"""What all descriptions of a network share: the common settings, derived numbers, reading and writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tomli_w

from sqcodec.config.migration import VERSION, upgrade
from sqcodec.config.quantizer import FSPConfig, QuantizerConfig
from sqcodec.rates import BitRates, bit_groups
from sqcodec.tables import Range, Table, overlay, parse, parse_toml, read_toml

CONFIG_NAME, WEIGHTS_NAME = "config.toml", "model.safetensors"
"""The files of a model folder."""
SHIPPED_DIR = Path(__file__).resolve().parents[1] / "models"
"""Folders of the models that come with the package."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Table):
    """A whole codec network: ``FrameConfig`` or ``WaveformConfig``. Raises ValueError where the parts do not fit."""

    name: str = ""
    sample_rate: Annotated[int, Range(1, 1_000_000)] = 16000
    """Hz."""
    feature_dim: Annotated[int, Range(2, 8192)] = 256
    """Channels C between encoder, quantizer and decoder."""
    lookahead: Annotated[int, Range(0, 1_000_000)] = 0
    """Samples by which the output of a causal network lags its input, so how far ahead it may hear."""
    quantizer: QuantizerConfig = field(default_factory=FSPConfig)

    family: ClassVar[str] = ""
    families: ClassVar[dict[str, type[ModelConfig]]] = {}
    """Each family registers itself here."""

    def __init_subclass__(cls) -> None:
        ModelConfig.families[cls.family] = cls

    def check(self) -> None:
        if not self.family:
            raise TypeError("ModelConfig only reads configurations: make a FrameConfig or a WaveformConfig.")

    @property
    def causal(self) -> bool:
        """Whether every layer sees only the past."""
        raise NotImplementedError

    @property
    def frame_length(self) -> int:
        """Samples per frame."""
        raise NotImplementedError

    @property
    def tokens_per_frame(self) -> int:
        """Tokens that are coded and decoded together."""
        return 1

    @property
    def hop_length(self) -> int:
        """Samples per token."""
        return self.frame_length // self.tokens_per_frame

    @property
    def token_rate(self) -> float:
        """Tokens per second (Hz)."""
        return self.sample_rate / self.hop_length

    @property
    def first_moment(self) -> float:
        """What moment of a recording (s) its first token is about; token n is about n hop lengths later.

        Half the lookahead before the token's own samples: there a phone probe finds phones best, which is 36 ms in
        speech-1k and 15 ms in speech-3k (measured: 40 and 20, in steps of 20).
        """
        return (self.hop_length - self.lookahead) / 2 / self.sample_rate

    @property
    def codebook_size(self) -> int:
        """Number of codes K."""
        return self.quantizer.codebook_size

    @property
    def bit_rate(self) -> float:
        """Nominal bit/s: log2(K) bits a token (see ``QuantizerConfig.token_bits``)."""
        return self.token_rate * self.quantizer.token_bits

    @property
    def rates(self) -> BitRates | None:
        """Of a model with nested tokens; None for one with a single rate."""
        bits = self.quantizer.bits
        return BitRates(bits[0], bits[2], self.token_rate) if bits else None

    def pick_bits(self, bits: int | None = None, kbps: float | None = None) -> int | None:
        """Bits of a token: those given, the most that fit ``kbps`` kbit/s, the model's default; None: one rate.

        Raises:
            ValueError: both are given, the model has no such rate, or it has a single one and either is given.
        """
        if self.rates is not None:
            picked = self.rates.pick(bits, kbps)
            return self.quantizer.bits[1] if picked is None else picked
        if bits is not None or kbps is not None:
            asked = f"{bits} bits a token" if bits is not None else f"{kbps:g} kbit/s"
            raise ValueError(
                f"Model {self.name!r} cannot be asked for {asked}: it has one rate, {self.bit_rate / 1000:.4g} kbit/s. "
                "Leave that out, or take a model with several ('sqcodec models' shows them)."
            )
        return None

    def codes(self, bits: int | None) -> int:
        """K of tokens of ``bits``, as ``pick_bits`` gives them."""
        return self.codebook_size if bits is None else 2**bits

    def kbps(self, bits: int | None) -> float:
        """Nominal kbit/s of tokens of ``bits``, as ``pick_bits`` gives them."""
        return (self.bit_rate if bits is None else self.token_rate * bits) / 1000

    def digit_levels(self, bits: int | None = None) -> tuple[int, ...]:
        """Values of each digit of a token: levels, groups of bits of a nested token, (K,) of a codebook."""
        if self.quantizer.bits:
            return bit_groups(self.quantizer.bits[1] if bits is None else bits, self.quantizer.dim)
        return tuple(self.quantizer.levels) or (self.codebook_size,)

    @property
    def pad_multiple(self) -> int:
        """Samples that the padded input is a multiple of."""
        return self.hop_length * self.tokens_per_frame

    @staticmethod
    def from_dict(values: Mapping[str, Any], path: str = "", where: str = "") -> ModelConfig:
        """Build from plain tables, as TOML or JSON gives them, of this version or an earlier one.

        Raises:
            ValueError: an unknown key, a value that is not allowed, or parts that do not fit. ``path`` is the place of
                these tables in the file ``where``, for the message.
        """
        table = upgrade(values)
        family, version = table.pop("family", ""), table.pop("version", VERSION)
        if version != VERSION or type(version) is not int:
            raise ValueError(f"version is {version!r}: this sqcodec reads up to {VERSION}; install a newer one")
        if family not in list(ModelConfig.families):
            raise ValueError(f"family is {family!r}: it must be one of: {', '.join(ModelConfig.families)}")
        return parse(ModelConfig.families[family], table, path, where)

    def to_dict(self) -> dict[str, Any]:
        """Plain tables and lists; `from_dict` reads them back."""
        return {"family": self.family, "version": VERSION} | super().to_dict()

    def changed(self, **tables: Any) -> ModelConfig:
        """The same with other entries, as nested plain tables: ``changed(encoder={"depth": 3})``."""
        return self.from_dict(overlay(self.to_dict(), tables))

    @staticmethod
    def from_toml(source: str | Path) -> ModelConfig:
        """Read TOML text, or the file that a Path or a one-line string ending in .toml names."""
        if isinstance(source, Path) or ("\n" not in source and source.endswith(".toml")):
            return ModelConfig.from_dict(read_toml(source), where=f"'{source}'")
        return ModelConfig.from_dict(parse_toml(source, "the configuration"), where="the configuration")

    def to_toml(self, path: str | Path | None = None) -> str:
        """The configuration as TOML text, also written to `path` where one is given."""
        text = tomli_w.dumps(self.to_dict())
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

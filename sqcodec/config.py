"""The one typed description of a codec network, validated on construction, TOML in and out.

It expresses the published SQCodec and L3AC networks ("One Quantizer is Enough", arXiv 2504.04949) and
this project's own causal ones, and imports nothing of the package. Published ones are read by name:
`published_config("sqcodec-3kbps")`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tomli_w

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PUBLISHED_DIR = Path(__file__).parent / "configs" / "published"

Table = TypeVar("Table")


@dataclass(frozen=True)
class UnitConfig:
    """Options of the residual units and convolutions of one side (encoder or decoder)."""

    norm: bool = True
    """Layer norm over the channels, in units and after each change of rate."""
    grn: bool = False
    """Per-channel affine map after the activation (what the published "GRN" amounts to)."""
    activation: Literal["snake", "gelu"] = "snake"
    weight_norm: bool = False
    layer_scale: float = 0.0
    """Initial value of a learned scale on each residual branch; 0 leaves it out."""
    kernel_size: int = 7
    epsilon: float = 1e-6
    """Added in norms and Snake against division by zero."""

    def __post_init__(self) -> None:
        _check_types(self, "unit")
        _require(self.kernel_size % 2 == 1, "unit.kernel_size", self.kernel_size, "an odd number")
        _require(self.epsilon > 0, "unit.epsilon", self.epsilon, "a positive number")
        _require(self.layer_scale >= 0, "unit.layer_scale", self.layer_scale, "0 (off) or a positive number")


@dataclass(frozen=True)
class EncoderConfig:
    """Samples to features at the frame rate: front, then stages of units with a strided convolution each."""

    front: Literal["tconv", "stft"] = "tconv"
    n_fft: int = 0
    """FFT size of an "stft" front (samples)."""
    hop: int = 1
    """Hop of an "stft" front (samples); 1 for "tconv"."""
    dims: tuple[int, ...] = (24, 48, 96, 192)
    """Channels of each stage; one more than strides."""
    strides: tuple[int, ...] = (6, 4, 4)
    depths: tuple[int, ...] = (1, 1, 1, 2)
    """Units in each stage; one more than strides."""
    unit: UnitConfig = field(default_factory=UnitConfig)

    def __post_init__(self) -> None:
        _check_types(self, "encoder")
        _check_stages(self, "encoder")
        _check_spectral(self, "encoder", "front", "stft", "tconv")

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.hop * math.prod(self.strides)


@dataclass(frozen=True)
class TransformerConfig:
    """Local attention on both sides of the quantizer, which may also reduce the rate."""

    encoder_depth: int = 1
    """Layers at the token rate before the quantizer."""
    decoder_depth: int = 1
    encoder_frame_depth: int = 0
    """Layers at the frame rate, before the rate is reduced; 0 unless rate_reduction > 1."""
    decoder_frame_depth: int = 0
    rate_reduction: int = 1
    """Frames per token."""
    tokens_per_frame: int = 1
    """Tokens per frame of a frame-rate network; 1 where rate_reduction > 1."""
    window: int = 200
    """Tokens of a window. At the frame rate: window x rate_reduction frames."""
    heads: int = 6
    head_dim: int = 64
    """Channels of a head. Frame-rate networks divide their channels by `heads` instead and ignore it."""
    ff_mult: float = 4.0
    position: Literal["dynamic_bias", "rotary", "alibi", "distance_bias"] = "dynamic_bias"
    exact_window: bool = True
    """True: each token sees the last `window` tokens, itself among them. False: as published, it sees its
    own bucket of `window` tokens, up to itself, and the whole bucket before."""
    qk_norm: bool = False

    def __post_init__(self) -> None:
        _check_types(self, "transformer")
        for name in ("encoder_depth", "decoder_depth", "encoder_frame_depth", "decoder_frame_depth"):
            _require(getattr(self, name) >= 0, f"transformer.{name}", getattr(self, name), "0 or more")
        for name in ("rate_reduction", "tokens_per_frame", "window", "heads", "head_dim"):
            _require(getattr(self, name) >= 1, f"transformer.{name}", getattr(self, name), "1 or more")
        _require(self.ff_mult > 0, "transformer.ff_mult", self.ff_mult, "a positive number")
        if self.position == "rotary":
            _require(self.head_dim % 2 == 0, "transformer.head_dim", self.head_dim, "even for rotary")
        if self.rate_reduction > 1 and self.tokens_per_frame > 1:
            raise ValueError("transformer.rate_reduction and tokens_per_frame cannot both be above 1")
        if self.rate_reduction == 1 and (self.encoder_frame_depth or self.decoder_frame_depth):
            raise ValueError(
                "transformer.encoder_frame_depth and decoder_frame_depth must be 0 when rate_reduction is 1: "
                "frames are tokens then, so put those layers in encoder_depth and decoder_depth"
            )


SCALAR_KINDS = ("fsq", "fsp")
SEVERAL_KINDS = ("rvq", "pvq", "msrvq")
BINARY_KINDS = ("lfq", "bsq")


@dataclass(frozen=True)
class QuantizerOptions:
    """Options of the quantizers that are there for comparison; fsq, fsp, vp and none have none of them."""

    decay: float = 0.99
    """Of moving averages: vq, rotation, rvq, pvq, msrvq, nsvq."""
    commitment: float = 0.25
    """Weight of the commitment loss."""
    kmeans_init: bool = False
    """vq and its kin: the codebook starts at k-means of the first batch."""
    restart_below: float = 0.0
    """vq and its kin: a code whose moving count a batch is below this restarts at a latent; 0 never does."""
    direction_variance: float = 5e-3
    """Variance of the noise on the direction of directional."""
    transform: Literal["linear", "low_rank", "mlp"] = "linear"
    """Of the codebook of gritvq."""
    radius: Literal["identity", "log", "sqrt", "tanh"] = "identity"
    """The radius function f of gritvq."""
    entropy_weight: float = 0.1
    """Of the entropy loss of lfq and bsq."""
    prior_weight: float = 0.01
    """Of the terms of sqvae, gmvq and vaevq that come from their evidence bound."""
    transport_weight: float = 1.0
    """Of the Wasserstein distance of vqwae."""
    temperature: float = 1.0
    """Of drawing codes (sqvae, gmvq, hypervq), of the kernel (nsvq), of the entropy (lfq, bsq); the pull l of scq."""
    final_temperature: float = 0.1
    """Where nsvq, sqvae, gmvq and hypervq end, geometrically, after ``anneal_steps``."""
    anneal_steps: int = 200

    def __post_init__(self) -> None:
        _check_types(self, "quantizer.options")
        _require(0 <= self.decay < 1, "quantizer.options.decay", self.decay, "at least 0 and below 1")
        for name in ("commitment", "restart_below", "direction_variance", "entropy_weight", "prior_weight",
                     "transport_weight", "anneal_steps"):
            _require(getattr(self, name) >= 0, f"quantizer.options.{name}", getattr(self, name), "0 or more")
        for name in ("temperature", "final_temperature"):
            _require(getattr(self, name) > 0, f"quantizer.options.{name}", getattr(self, name), "a positive number")

    def annealed(self, step: int) -> float:
        """The temperature of a step."""
        share = min(1.0, step / max(1, self.anneal_steps))
        return self.temperature * (self.final_temperature / self.temperature) ** share


@dataclass(frozen=True)
class QuantizerConfig:
    """The one quantizer: finite scalar quantisation (fsq), perturbation (fsp) or vector perturbation (vp).

    The other kinds are there to be compared with (docs/quantizers.md); "none" passes features without quantisation.
    """

    kind: Literal[
        "fsq", "fsp", "vp", "none", "vq", "rotation", "directional", "simvq", "gritvq", "rvq", "pvq", "msrvq", "lfq",
        "bsq", "nsvq", "transvq", "fvq", "sqvae", "gmvq", "vaevq", "scq", "hypervq", "vqwae",
    ] = "fsp"
    levels: tuple[int, ...] = (7, 7, 7, 7, 7, 7)
    """Levels of each scalar (fsq, fsp), codes of each codebook (rvq, pvq, msrvq); empty for the others."""
    variant: Literal["sqcodec", "l3ac"] = "sqcodec"
    """Arithmetic of fsq: SQCodec's "taae_fsq" or L3AC's "super_fsq"."""
    activation: Literal["tanh", "normal", "sigmoid", "laplace", "cauchy"] = "tanh"
    """The distribution function g of fsp."""
    noise_rate: float = 0.5
    """Share of the latents that see noise instead of rounding in training (fsq, fsp)."""
    dim: int = 0
    """Dimensions d of code vectors; left out for fsq and fsp."""
    size: int = 0
    """Codes K of one codebook; left out for kinds with levels and for none."""
    strides: tuple[int, ...] = ()
    """Tokens that share a code of each codebook of msrvq, such as [2, 1]."""
    options: QuantizerOptions = field(default_factory=QuantizerOptions)

    def __post_init__(self) -> None:
        _check_types(self, "quantizer")
        _require(0 <= self.noise_rate <= 1, "quantizer.noise_rate", self.noise_rate, "between 0 and 1")
        has_levels = self.kind in SCALAR_KINDS + SEVERAL_KINDS
        if has_levels:
            _require(len(self.levels) > 0, "quantizer.levels", self.levels, "at least one number of levels")
            _require(min(self.levels) >= 2, "quantizer.levels", self.levels, "2 or more each")
        else:
            _require(not self.levels, "quantizer.levels", self.levels, f"empty ([]) for {self.kind}: give dim and size")
        if self.kind in SCALAR_KINDS:
            _require(self.dim == 0 and self.size == 0, "quantizer.dim/size", (self.dim, self.size),
                     f"left out for {self.kind}: its levels say them")
        else:
            _require(1 <= self.dim <= 64, "quantizer.dim", self.dim, "between 1 and 64")
        if has_levels or self.kind == "none":
            _require(self.size == 0, "quantizer.size", self.size, f"left out for {self.kind}")
        else:
            _require(2 <= self.size <= 2**31, "quantizer.size", self.size, "between 2 and 2^31")
        if self.kind in BINARY_KINDS:
            _require(self.size == 2**self.dim, "quantizer.size", self.size, f"2^dim ({2**self.dim}) for {self.kind}")
        if self.kind == "pvq":
            _require(self.dim % len(self.levels) == 0, "quantizer.dim", self.dim,
                     f"a multiple of the number of codebooks ({len(self.levels)})")
        if self.kind == "msrvq":
            _require(len(self.strides) == len(self.levels) and min(self.strides, default=0) >= 1, "quantizer.strides",
                     self.strides, f"one number of tokens for each of {len(self.levels)} codebooks")
        else:
            _require(not self.strides, "quantizer.strides", self.strides, f"left out for {self.kind}")
        _require(self.codebook_size < 2**62, "quantizer.levels", self.levels, "a product below 2^62")

    @property
    def codebook_size(self) -> int:
        """Number of tokens K that there are: codes, or the product over several codebooks; 1 for none."""
        return self.size or math.prod(self.levels)

    @property
    def token_bits(self) -> float:
        """Nominal bits a token: log2(K), less where tokens share codes; infinite for none."""
        if self.kind == "none":
            return math.inf
        if self.kind == "msrvq":
            return sum(math.log2(size) / stride for size, stride in zip(self.levels, self.strides, strict=True))
        return math.log2(self.codebook_size)


@dataclass(frozen=True)
class DecoderConfig:
    """Features at the frame rate to samples: stages of units with upsampling, then a head."""

    head: Literal["waveform", "istft"] = "waveform"
    n_fft: int = 0
    """FFT size of an "istft" head (samples)."""
    hop: int = 1
    """Hop of an "istft" head (samples); 1 for "waveform"."""
    subframes: int = 1
    """Inverse-FFT frames per feature frame of an "istft" head, hop / subframes samples apart."""
    dims: tuple[int, ...] = (256, 192, 96, 48)
    strides: tuple[int, ...] = (4, 4, 6)
    depths: tuple[int, ...] = (3, 2, 1, 1)
    """Units in each stage. A waveform head ends in its own output block instead of units, so there the
    last number is not used (as published)."""
    gate: bool = True
    """A TConv gate before each upsampling."""
    gate_norm: bool = False
    """Instance norm over all time in the gates (as published; never causal)."""
    output_dilations: tuple[int, ...] = (1, 3, 9)
    """Dilations of the residual units of a waveform head."""
    unit: UnitConfig = field(default_factory=UnitConfig)

    def __post_init__(self) -> None:
        _check_types(self, "decoder")
        _check_stages(self, "decoder")
        _require(self.subframes >= 1 and self.hop % self.subframes == 0, "decoder.subframes", self.subframes,
                 f"a divisor of hop ({self.hop})")
        _check_spectral(self, "decoder", "head", "istft", "waveform")

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.hop * math.prod(self.strides)


@dataclass(frozen=True)
class ModelConfig:
    """A whole codec network. Raises ValueError where the parts do not fit."""

    name: str = ""
    sample_rate: int = 16000
    """Hz."""
    feature_dim: int = 256
    """Channels C between encoder, quantizer and decoder."""
    causal: bool = True
    """Every layer sees only the past."""
    lookahead: int = 0
    """Samples by which the output of a causal network lags its input, so how far ahead it may hear."""
    pad_to: Literal["hop", "window"] = "hop"
    """What the input is padded to a multiple of; "window" only to repeat the published SQCodec."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        _check_types(self, "model")
        _require(self.sample_rate >= 1, "sample_rate", self.sample_rate, "a number of Hz, 1 or more")
        _require(self.feature_dim >= 2, "feature_dim", self.feature_dim, "2 or more")
        _require(self.lookahead >= 0, "lookahead", self.lookahead, "0 or more samples")
        if self.lookahead and not self.causal:
            raise ValueError("lookahead is for causal networks: set causal = true, or lookahead = 0")
        if self.causal and self.decoder.gate and self.decoder.gate_norm:
            raise ValueError("decoder.gate_norm norms over all time: set it to false in a causal network")
        if self.causal and not self.transformer.exact_window:
            raise ValueError(
                "transformer.exact_window = false makes tokens depend on where a recording starts: "
                "set it to true in a causal network"
            )
        for stride in self.quantizer.strides:
            _require(self.transformer.tokens_per_frame % stride == 0, "quantizer.strides", self.quantizer.strides,
                     f"divisors of transformer.tokens_per_frame ({self.transformer.tokens_per_frame})")
        if self.encoder.hop_length != self.decoder.hop_length:
            raise ValueError(
                "encoder and decoder disagree on the samples per frame: "
                f"{self.encoder.hop_length} (hop {self.encoder.hop} x strides {self.encoder.strides}) and "
                f"{self.decoder.hop_length} (hop {self.decoder.hop} x strides {self.decoder.strides})"
            )

    @property
    def hop_length(self) -> int:
        """Samples per token."""
        return self.encoder.hop_length * self.transformer.rate_reduction // self.transformer.tokens_per_frame

    @property
    def token_rate(self) -> float:
        """Tokens per second (Hz)."""
        return self.sample_rate / self.hop_length

    @property
    def codebook_size(self) -> int:
        """Number of codes K."""
        return self.quantizer.codebook_size

    @property
    def bit_rate(self) -> float:
        """Nominal bit/s: log2(K) bits a token (see ``QuantizerConfig.token_bits``)."""
        return self.token_rate * self.quantizer.token_bits

    @property
    def pad_multiple(self) -> int:
        """Samples that the padded input is a multiple of."""
        per = self.transformer.window if self.pad_to == "window" else self.transformer.tokens_per_frame
        return self.hop_length * per

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Build from plain tables, as TOML or JSON gives them; an unknown key is a ValueError."""
        return _from_table(cls, values, "the configuration")

    def to_dict(self) -> dict[str, Any]:
        """Plain tables and lists; `from_dict` reads them back."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_toml(cls, source: str | Path) -> ModelConfig:
        """Read TOML text, or the file that a Path or a one-line string ending in .toml names."""
        if isinstance(source, Path) or ("\n" not in source and source.endswith(".toml")):
            text, where = Path(source).read_text(encoding="utf-8"), str(source)
        else:
            text, where = source, "the configuration"
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{where} is not valid TOML: {error}") from error
        return _from_table(cls, values, where)

    def to_toml(self, path: str | Path | None = None) -> str:
        """The configuration as TOML text, also written to `path` where one is given."""
        text = tomli_w.dumps(self.to_dict())
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text


def published_names() -> list[str]:
    """Names of the published configurations that `published_config` reads."""
    return sorted(path.stem for path in PUBLISHED_DIR.glob("*.toml"))


def published_config(name: str) -> ModelConfig:
    """The published SQCodec or L3AC configuration of this name, such as "l3ac-3kbps"."""
    if name not in published_names():
        raise ValueError(f"Unknown published model {name!r}. Choose one of: {', '.join(published_names())}")
    return ModelConfig.from_toml(PUBLISHED_DIR / f"{name}.toml")


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{name} is {value!r}: it must be {allowed}")


def _check_stages(config: EncoderConfig | DecoderConfig, table: str) -> None:
    dims, strides, depths = config.dims, config.strides, config.depths
    if not len(dims) == len(depths) == len(strides) + 1:
        raise ValueError(
            f"{table} has {len(strides)} strides, {len(dims)} dims and {len(depths)} depths: "
            f"dims and depths need one entry more than strides ({len(strides) + 1})"
        )
    _require(min(dims) >= 1, f"{table}.dims", dims, "1 or more each")
    _require(min(strides, default=1) >= 1, f"{table}.strides", strides, "1 or more each")
    _require(min(depths) >= 0, f"{table}.depths", depths, "0 or more each")


def _check_spectral(config: EncoderConfig | DecoderConfig, table: str, key: str, on: str, off: str) -> None:
    if getattr(config, key) == on:
        _require(config.hop >= 1, f"{table}.hop", config.hop, "1 sample or more")
        _require(config.n_fft >= config.hop and config.n_fft % 2 == 0, f"{table}.n_fft", config.n_fft,
                 f"an even number of at least hop ({config.hop})")
    else:
        _require(config.n_fft == 0 and config.hop == 1, f"{table}.n_fft/hop", (config.n_fft, config.hop),
                 f"left out when {key} is {off!r}")


def _from_table(cls: type[Table], values: dict[str, Any], where: str) -> Table:
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            close = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)
            raise ValueError(
                f"Unknown key {key!r} in {where}. Did you mean {close[0]!r}? Allowed: {', '.join(hints)}"
            )
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(value, dict):
                raise ValueError(f"{key!r} in {where} must be a table, not {value!r}")
            value = _from_table(hints[key], value, f"[{key}] of {where}")
        elif isinstance(value, list):
            value = tuple(value)
        arguments[key] = value
    return cls(**arguments)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _check_types(config: Any, table: str) -> None:
    """Check each field against its annotation; a list becomes a tuple and an int a float where asked."""
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        where = f"{table}.{name}"
        if get_origin(hint) is Literal:
            allowed = get_args(hint)
            _require(value in allowed, where, value, "one of: " + ", ".join(allowed))
        elif get_origin(hint) is tuple:
            _require(isinstance(value, (list, tuple)) and all(type(item) is int for item in value),
                     where, value, "a list of whole numbers")
            object.__setattr__(config, name, tuple(value))
        elif hint is float:
            _require(type(value) in (int, float) and math.isfinite(value), where, value, "a number")
            object.__setattr__(config, name, float(value))
        else:
            _require(type(value) is hint, where, value, f"of type {hint.__name__}")

"""The waveform family: SQCodec and L3AC as published (arXiv 2504.04949), strided convolutions over the waveform."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from sqcodec.config.frame import Channels, Depth, KernelSize, LayerScale
from sqcodec.config.model import ModelConfig
from sqcodec.tables import Length, Range, Table, fail, join

Dims = Annotated[tuple[Channels, ...], Length(1, 16)]
Strides = Annotated[tuple[Annotated[int, Range(1, 1024)], ...], Length(0, 15)]
Depths = Annotated[tuple[Depth, ...], Length(1, 16)]


@dataclass(frozen=True)
class UnitConfig(Table):
    """Options of the residual units and convolutions of one side (encoder or decoder)."""

    TABLE: ClassVar[str] = "unit"
    norm: bool = True
    """Layer norm over the channels, in units and after each change of rate."""
    grn: bool = False
    """Per-channel affine map after the activation (what the published "GRN" amounts to)."""
    activation: Literal["snake", "gelu"] = "snake"
    weight_norm: bool = False
    layer_scale: LayerScale = 0.0
    """Initial value of a learned scale on each residual branch; 0 leaves it out."""
    kernel_size: KernelSize = 7
    epsilon: Annotated[float, Range(1e-30, 1.0)] = 1e-6
    """Added in norms and Snake against division by zero."""


@dataclass(frozen=True)
class EncoderConfig(Table):
    """Samples to features at the frame rate: a TConv front, then stages of units with a strided convolution each."""

    TABLE: ClassVar[str] = "encoder"
    dims: Dims = (24, 48, 96, 192)
    """Channels of each stage; one more than strides."""
    strides: Strides = (6, 4, 4)
    depths: Depths = (1, 1, 1, 2)
    """Units in each stage; one more than strides."""
    unit: UnitConfig = field(default_factory=UnitConfig)

    def check(self) -> None:
        _check_stages(self)

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.strides)


@dataclass(frozen=True)
class TransformerConfig(Table):
    """Local attention on both sides of the quantizer, which may also reduce the rate."""

    TABLE: ClassVar[str] = "transformer"
    encoder_depth: Depth = 1
    """Layers at the token rate before the quantizer."""
    decoder_depth: Depth = 1
    """Layers at the token rate after it."""
    encoder_frame_depth: Depth = 0
    """Layers at the frame rate, before the rate is reduced; 0 unless rate_reduction > 1."""
    decoder_frame_depth: Depth = 0
    """Layers at the frame rate, after it is raised again; 0 unless rate_reduction > 1."""
    rate_reduction: Annotated[int, Range(1, 1024)] = 1
    """Frames per token."""
    window: Annotated[int, Range(1, 65536)] = 200
    """Tokens of a window. At the frame rate: window x rate_reduction frames."""
    heads: Annotated[int, Range(1, 256)] = 6
    head_dim: Annotated[int, Range(1, 1024)] = 64
    """Channels of a head."""
    ff_mult: Annotated[float, Range(0.01, 64)] = 4.0
    """Width of the feed-forward part; GEGLU has 2/3 of it."""
    position: Literal["dynamic_bias", "rotary", "alibi", "none"] = "dynamic_bias"
    exact_window: bool = True
    """True: each token sees the last `window` tokens, itself among them. False: as published, it sees its
    own bucket of `window` tokens, up to itself, and the whole bucket before."""
    qk_norm: bool = False

    def check(self) -> None:
        self.require(self.position != "rotary" or self.head_dim % 2 == 0, "head_dim", "even for rotary")
        if self.rate_reduction == 1 and (self.encoder_frame_depth or self.decoder_frame_depth):
            raise ValueError(
                "transformer.encoder_frame_depth and decoder_frame_depth must be 0 when rate_reduction is 1: "
                "frames are tokens then, so put those layers in encoder_depth and decoder_depth"
            )


@dataclass(frozen=True)
class DecoderConfig(Table):
    """Features at the frame rate to samples: stages of units with upsampling, then a waveform head."""

    TABLE: ClassVar[str] = "decoder"
    dims: Dims = (256, 192, 96, 48)
    strides: Strides = (4, 4, 6)
    depths: Depths = (3, 2, 1, 1)
    """Units in each stage. The head has its own output block instead of units, so the last number is not used (as
    published)."""
    gate: bool = True
    """A TConv gate before each upsampling."""
    gate_norm: bool = False
    """Instance norm over all time in the gates (as published; never causal)."""
    output_dilations: Annotated[tuple[Annotated[int, Range(1, 1024)], ...], Length(0, 16)] = (1, 3, 9)
    """Dilations of the residual units of the head."""
    unit: UnitConfig = field(default_factory=UnitConfig)

    def check(self) -> None:
        _check_stages(self)

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.strides)


@dataclass(frozen=True, kw_only=True)
class WaveformConfig(ModelConfig):
    """A network whose layers run at rates from the waveform's down to the tokens'."""

    family: ClassVar[str] = "waveform"
    causal: bool = True
    """Every layer sees only the past."""
    pad_to: Literal["hop", "window"] = "hop"
    """What the input is padded to a multiple of; "window" only to repeat the published SQCodec."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def check(self) -> None:
        if self.lookahead and not self.causal:
            raise ValueError("lookahead is for causal networks: set causal = true, or lookahead = 0")
        if self.causal and self.decoder.gate and self.decoder.gate_norm:
            raise ValueError("decoder.gate_norm norms over all time: set it to false in a causal network")
        if self.causal and not self.transformer.exact_window:
            raise ValueError(
                "transformer.exact_window = false makes tokens depend on where a recording starts: "
                "set it to true in a causal network"
            )
        if self.encoder.hop_length != self.decoder.hop_length:
            raise ValueError(
                "encoder and decoder disagree on the samples per frame: "
                f"{self.encoder.hop_length} (strides {list(self.encoder.strides)}) and "
                f"{self.decoder.hop_length} (strides {list(self.decoder.strides)})"
            )
        if self.hop_length > 65536:
            fail("encoder.strides", list(self.encoder.strides), "a product, with rate_reduction, of at most 65536")
        self.quantizer.check_frame(1)

    @property
    def frame_length(self) -> int:
        return self.encoder.hop_length

    @property
    def hop_length(self) -> int:
        return self.frame_length * self.transformer.rate_reduction

    @property
    def pad_multiple(self) -> int:
        return self.hop_length * (self.transformer.window if self.pad_to == "window" else 1)


def _check_stages(config: EncoderConfig | DecoderConfig) -> None:
    dims, strides, depths = config.dims, config.strides, config.depths
    if not len(dims) == len(depths) == len(strides) + 1:
        raise ValueError(
            f"{join(config.TABLE)} has {len(strides)} strides, {len(dims)} dims and {len(depths)} depths: "
            f"dims and depths need one entry more than strides ({len(strides) + 1})"
        )

"""The frame family: this project's own causal networks, which it trains, streams and ships."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from sqcodec.config.model import ModelConfig
from sqcodec.tables import Length, Range, Table

Channels = Annotated[int, Range(1, 8192)]
Depth = Annotated[int, Range(0, 128)]
FFTSize = Annotated[int, Range(2, 65536, even=True)]
KernelSize = Annotated[int, Range(1, 255, odd=True)]
LayerScale = Annotated[float, Range(0, 100)]


@dataclass(frozen=True)
class FrameEncoder(Table):
    """Samples to features of each frame: a front, then units.

    The front is SQCodec's TConv over trends of the waveform ("tconv"), a short-time spectrum ("stft"), or both.
    """

    TABLE: ClassVar[str] = "encoder"
    front: Literal["tconv", "stft", "tconv+stft"] = "stft"
    n_fft: FFTSize = 512
    """FFT size of an stft front (samples)."""
    trend_scales: Annotated[tuple[Annotated[int, Range(1, 4095, odd=True)], ...], Length(1, 16)] = (1, 5, 11, 21, 45)
    """Samples of the trends of a tconv front; 1 is the signal itself."""
    trend_hop: Annotated[int, Range(1, 1024)] = 16
    """Samples that its convolutions step by: a divisor of frame_length, best a multiple of 4."""
    trend_width: Channels = 96
    """Channels of its convolutions."""
    dim: Channels = 256
    depth: Depth = 2
    """Units."""
    kernel_size: KernelSize = 7
    """Frames that a unit sees."""
    layer_scale: LayerScale = 0.3
    """Initial value of the learned scale on each unit's residual branch."""


@dataclass(frozen=True)
class FrameTransformer(Table):
    """Local attention on both sides of the quantizer, a learned bias for each distance."""

    TABLE: ClassVar[str] = "transformer"
    encoder_depth: Depth = 1
    """Layers before the quantizer."""
    decoder_depth: Depth = 2
    """Layers after it."""
    window: Annotated[int, Range(1, 65536)] = 48
    """Frames that a layer sees, the present one among them."""
    heads: Annotated[int, Range(1, 256)] = 4
    """Both sides' channels are divided by them."""
    layer_scale: LayerScale = 0.3
    """Initial value of the learned scale on each residual branch."""


@dataclass(frozen=True)
class FrameDecoder(Table):
    """Features of each frame to samples: units, then an inverse STFT head."""

    TABLE: ClassVar[str] = "decoder"
    n_fft: FFTSize = 384
    """FFT size of the head (samples)."""
    subframes: Annotated[int, Range(1, 1024)] = 2
    """Inverse-FFT frames per frame, frame_length / subframes samples apart."""
    dim: Channels = 336
    depth: Depth = 3
    """Units."""
    kernel_size: KernelSize = 7
    """Frames that a unit sees."""
    layer_scale: LayerScale = 0.3
    """Initial value of the learned scale on each unit's residual branch."""
    gate: bool = False
    """A TConv gate before the units and before the head."""


@dataclass(frozen=True, kw_only=True)
class FrameConfig(ModelConfig):
    """A causal network whose layers all run once a frame."""

    family: ClassVar[str] = "frame"
    feature_dim: Annotated[int, Range(2, 8192)] = 128
    """Channels C of a token between encoder, quantizer and decoder."""
    lookahead: Annotated[int, Range(0, 1_000_000)] = 480
    """Samples by which the output lags the input: the head's overlap (n_fft - frame_length / subframes) at least."""
    frame_length: Annotated[int, Range(1, 65536)] = 192
    """Samples per frame."""
    tokens_per_frame: Annotated[int, Range(1, 1024)] = 2
    conceals: bool = False
    """Trained with lost tokens (``train.lost_rate`` sets it): the decoder fills them in."""
    encoder: FrameEncoder = field(default_factory=FrameEncoder)
    transformer: FrameTransformer = field(default_factory=FrameTransformer)
    decoder: FrameDecoder = field(default_factory=FrameDecoder)

    def check(self) -> None:
        frame, encoder, decoder = self.frame_length, self.encoder, self.decoder
        self.require(frame % self.tokens_per_frame == 0, "tokens_per_frame", f"a divisor of frame_length ({frame})")
        decoder.require(frame % decoder.subframes == 0, "subframes", f"a divisor of frame_length ({frame})")
        if "stft" in encoder.front:
            encoder.require(encoder.n_fft >= frame, "n_fft", f"at least frame_length ({frame})")
        if "tconv" in encoder.front:
            hop = encoder.trend_hop
            encoder.require(frame % hop == 0, "trend_hop", f"a divisor of frame_length ({frame})")
        hop = frame // decoder.subframes
        decoder.require(decoder.n_fft % hop == 0 and decoder.n_fft >= 4 * hop, "n_fft",
                        f"a multiple of frame_length / subframes ({hop}), 4 times that or more")
        overlap = decoder.n_fft - hop
        self.require(self.lookahead >= overlap, "lookahead", f"at least the overlap of the head ({overlap})")
        for side in (encoder, decoder):
            side.require(side.dim % self.transformer.heads == 0, "dim",
                         f"a multiple of transformer.heads ({self.transformer.heads})")
        self.quantizer.check_frame(self.tokens_per_frame)
        self.require(not self.conceals or self.quantizer.kind == "nested", "conceals", "false, or the quantizer nested")

    @property
    def causal(self) -> bool:
        return True

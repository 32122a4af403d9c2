"""The frame-rate codec network: STFT front, causal units and local attention, one quantizer, iSTFT head.

All heavy layers run once a frame; a frame carries ``tokens_per_frame`` tokens of the one quantizer and
``decoder.subframes`` inverse-FFT frames. Everything is causal: after F * n input samples, frame n - 1 is known, and
with it the output up to sample F * n. Output sample t is the recording's sample t - ``lookahead``: the head's
overlap and what the encoder hears ahead of it.

Letters: B batch, T samples, F samples a frame, N frames, Q tokens a frame, C channels.
"""

from __future__ import annotations

from torch import Tensor, nn

from sqcodec.config import FrameConfig, FrameDecoder, FrameEncoder, FrameTransformer
from sqcodec.nn.base import CodecNetwork
from sqcodec.nn.frame import FrameTransformerLayer, FrameUnit
from sqcodec.nn.spectral import ISTFTHead, STFTFront
from sqcodec.quantizers import QuantizerOutput, build_quantizer


class FrameNetwork(CodecNetwork):
    """The causal network of this project's own models."""

    config: FrameConfig

    def __init__(self, config: FrameConfig) -> None:
        super().__init__(config)
        encoder, decoder, transformer = config.encoder, config.decoder, config.transformer
        self.frame_length = config.frame_length
        self.tokens_per_frame = config.tokens_per_frame
        self.subframes = decoder.subframes
        self.front = STFTFront(encoder.n_fft, config.frame_length)
        self.front_project = nn.Linear(self.front.num_features, encoder.dim)
        self.encoder = nn.Sequential(
            *_units(encoder.dim, encoder.depth, encoder),
            *_transformer_layers(encoder.dim, transformer.encoder_depth, transformer),
            nn.LayerNorm(encoder.dim),
        )
        self.split = nn.Linear(encoder.dim, self.tokens_per_frame * config.feature_dim)
        self.quantizer = build_quantizer(config.quantizer, config.feature_dim)
        self.join = nn.Linear(self.tokens_per_frame * config.feature_dim, decoder.dim)
        self.decoder = nn.Sequential(
            *_transformer_layers(decoder.dim, transformer.decoder_depth, transformer),
            *_units(decoder.dim, decoder.depth, decoder),
            nn.LayerNorm(decoder.dim),
        )
        self.head_project = nn.Linear(decoder.dim, self.subframes * (decoder.n_fft + 2))
        self.head = ISTFTHead(decoder.n_fft, config.frame_length // self.subframes)

    @property
    def encoder_context(self) -> int:
        """Samples of the past that a token depends on, beyond its own frame."""
        encoder, transformer = self.config.encoder, self.config.transformer
        frames = encoder.depth * (encoder.kernel_size - 1)
        frames += transformer.encoder_depth * (transformer.window - 1)
        return frames * self.frame_length + self.front.overlap

    @property
    def decoder_context(self) -> int:
        """Samples' worth of past tokens that a frame's output depends on, beyond its own tokens."""
        decoder, transformer = self.config.decoder, self.config.transformer
        frames = decoder.depth * (decoder.kernel_size - 1)
        frames += transformer.decoder_depth * (transformer.window - 1)
        return frames * self.frame_length + self.head.overlap

    def spectra(self, samples: Tensor) -> Tensor:
        """Samples [B, N * F], as if zeros came before, to front features [B, N, C']."""
        return self.front(nn.functional.pad(samples, (self.front.overlap, 0)))

    def encode_spectra(self, spectra: Tensor) -> Tensor:
        """Front features [B, N, C'] to quantizer features [B, N * Q, C]."""
        hidden = self.split(self.encoder(self.front_project(spectra)))
        return hidden.view(hidden.shape[0], -1, self.config.feature_dim)

    def decode_spectra(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Quantized features [B, N * Q, C] to magnitude and phase of the subframes, float32 [B, N * S, bins]."""
        batch, count, dim = features.shape
        hidden = self.join(features.reshape(batch, count // self.tokens_per_frame, self.tokens_per_frame * dim))
        hidden = self.head_project(self.decoder(hidden))
        return self.head.polar(hidden.view(batch, hidden.shape[1] * self.subframes, -1))

    def encode_features(self, samples: Tensor) -> Tensor:
        """Samples [B, 1, N * F] to quantizer features [B, N * Q, C]."""
        return self.encode_spectra(self.spectra(samples[:, 0]))

    def decode_features(self, features: Tensor) -> Tensor:
        """Quantized features [B, N * Q, C] to samples [B, 1, N * F]."""
        return self.synthesise(*self.decode_spectra(features))[:, None]

    def synthesise(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Polar spectra [B, N * S, bins] to samples [B, N * F]."""
        output = self.head.overlap_add(self.head.frames(magnitude, phase))
        return output[:, : output.shape[1] - self.head.overlap]

    def core(self, spectra: Tensor, blend: Tensor | None) -> tuple[Tensor, Tensor, QuantizerOutput]:
        """What training compiles: front features to polar spectra, without any FFT."""
        quantized = self.quantizer(self.encode_spectra(spectra), blend)
        magnitude, phase = self.decode_spectra(quantized.features)
        return magnitude, phase, quantized


def _units(dim: int, depth: int, side: FrameEncoder | FrameDecoder) -> list[nn.Module]:
    return [FrameUnit(dim, side.kernel_size, layer_scale=side.layer_scale) for _ in range(depth)]


def _transformer_layers(dim: int, depth: int, config: FrameTransformer) -> list[nn.Module]:
    return [
        FrameTransformerLayer(dim, config.heads, config.window, layer_scale=config.layer_scale) for _ in range(depth)
    ]

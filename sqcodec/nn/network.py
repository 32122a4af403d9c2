"""The causal SQCodec: TConv and STFT front, causal units and local attention, one quantizer, gates, iSTFT head.

All heavy layers run once a frame; a frame carries ``tokens_per_frame`` tokens of the one quantizer and
``decoder.subframes`` inverse-FFT frames. Everything is causal: after F * n input samples, frame n - 1 is known, and
with it the output up to sample F * n. Output sample t is the recording's sample t - ``lookahead``: the head's
overlap and what the encoder hears ahead of it.

Letters: B batch, T samples, F samples a frame, N frames, Q tokens a frame, C channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sqcodec.config import FrameConfig, FrameDecoder, FrameEncoder, FrameTransformer
from sqcodec.nn.base import CodecNetwork, Forward
from sqcodec.nn.layers import FrameTransformerLayer, FrameUnit
from sqcodec.nn.spectral import ISTFTHead, STFTFront
from sqcodec.nn.tconv import GATE_CONTEXT, TrendFront, TrendGate, Trends
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
        self.front: STFTFront | None = None
        self.trends: Trends | None = None
        if "stft" in encoder.front:
            self.front = STFTFront(encoder.n_fft, config.frame_length)
            self.front_project = nn.Linear(self.front.num_features, encoder.dim)
        if "tconv" in encoder.front:
            self.trends = Trends(encoder.trend_scales, config.frame_length, encoder.trend_hop)
            self.trend_front = TrendFront(self.trends, encoder.trend_width, encoder.dim, alone=self.front is None)
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
        # Beside the layers, whose names then stay the same with and without gates.
        self.gates = nn.ModuleList(TrendGate(decoder.dim) for _ in range(2 if decoder.gate else 0))
        self.head_project = nn.Linear(decoder.dim, self.subframes * (decoder.n_fft + 2))
        self.head = ISTFTHead(decoder.n_fft, config.frame_length // self.subframes)

    @property
    def encoder_context(self) -> int:
        """Samples of the past that a token depends on, beyond its own frame."""
        encoder, transformer = self.config.encoder, self.config.transformer
        frames = encoder.depth * (encoder.kernel_size - 1)
        frames += transformer.encoder_depth * (transformer.window - 1)
        return frames * self.frame_length + self.front_overlap

    @property
    def decoder_context(self) -> int:
        """Samples' worth of past tokens that a frame's output depends on, beyond its own tokens."""
        decoder, transformer = self.config.decoder, self.config.transformer
        frames = decoder.depth * (decoder.kernel_size - 1)
        frames += transformer.decoder_depth * (transformer.window - 1) + 2 * GATE_CONTEXT * decoder.gate
        return frames * self.frame_length + self.head.overlap

    def decoder_layers(self) -> list[nn.Module]:
        """The decoder's layers in their order, gates before the units and before the last norm included."""
        layers, first_unit = list(self.decoder), self.config.transformer.decoder_depth
        if not len(self.gates):
            return layers
        return [*layers[:first_unit], self.gates[0], *layers[first_unit:-1], self.gates[1], layers[-1]]

    @property
    def front_overlap(self) -> int:
        """Samples of the past that the front sees beyond the frame."""
        return max(part.overlap for part in (self.front, self.trends) if part is not None)

    def spectra(self, samples: Tensor) -> Tensor:
        """Samples [B, N * F], as if zeros came before, to what the front is computed from [B, N, C'], without
        parameters: the spectra of the frames, then the windows of the trends."""
        batch, count = samples.shape[0], samples.shape[1] // self.frame_length
        padded = nn.functional.pad(samples, (self.front_overlap, 0))
        parts = []
        for part in (self.front, self.trends):
            if part is not None:
                parts.append(part(padded[:, self.front_overlap - part.overlap :]).reshape(batch, count, -1))
        return torch.cat(parts, dim=2)

    def encode_spectra(self, spectra: Tensor) -> Tensor:
        """What ``spectra`` gives [B, N, C'] to quantizer features [B, N * Q, C]."""
        hidden: Tensor | None = None
        if self.front is not None:
            hidden = self.front_project(spectra[..., : self.front.num_features])
            spectra = spectra[..., self.front.num_features :]
        if self.trends is not None:
            trend = self.trend_front(spectra.reshape(spectra.shape[0], -1, self.trends.num_features))
            hidden = trend if hidden is None else hidden + trend
        hidden = self.split(self.encoder(hidden))
        return hidden.view(hidden.shape[0], -1, self.config.feature_dim)

    def decode_spectra(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Quantized features [B, N * Q, C] to magnitude and phase of the subframes, float32 [B, N * S, bins]."""
        batch, count, dim = features.shape
        hidden = self.join(features.reshape(batch, count // self.tokens_per_frame, self.tokens_per_frame * dim))
        for layer in self.decoder_layers():
            hidden = layer(hidden)
        hidden = self.head_project(hidden)
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

    def compiled(self) -> Forward:
        """``forward`` with all but the FFTs compiled: complex numbers are not compiled to anything faster."""
        core = torch.compile(self.core, dynamic=False)

        def forward(samples: Tensor, blend: Tensor | None = None) -> tuple[Tensor, QuantizerOutput]:
            magnitude, phase, quantized = core(self.spectra(samples[:, 0]), blend)
            return self.synthesise(magnitude, phase)[:, None], quantized

        return forward

    def compiled_encoder(self) -> Callable[[Tensor], Tensor]:
        encode = torch.compile(self.encode_spectra, dynamic=False)
        return lambda samples: encode(self.spectra(samples[:, 0]))

    def core(self, spectra: Tensor, blend: Tensor | None) -> tuple[Tensor, Tensor, QuantizerOutput]:
        """What ``compiled`` compiles: front features to polar spectra, without any FFT."""
        quantized = self.quantize(self.encode_spectra(spectra), blend)
        magnitude, phase = self.decode_spectra(quantized.features)
        return magnitude, phase, quantized


def _units(dim: int, depth: int, side: FrameEncoder | FrameDecoder) -> list[nn.Module]:
    return [FrameUnit(dim, side.kernel_size, layer_scale=side.layer_scale) for _ in range(depth)]


def _transformer_layers(dim: int, depth: int, config: FrameTransformer) -> list[nn.Module]:
    return [
        FrameTransformerLayer(dim, config.heads, config.window, layer_scale=config.layer_scale) for _ in range(depth)
    ]

"""The whole codec network: samples to features, one quantizer, features to samples (arXiv 2504.04949).

    samples -> encoder -> encoder transformer -> quantizer -> decoder transformer -> decoder -> samples

Letters: B batch, T samples, C channels, N tokens. A causal network sees only the past: its output up to
sample n hop depends on the first n hop input samples alone.
"""

from __future__ import annotations

from torch import Tensor

from sqcodec.config import WaveformConfig
from sqcodec.nn.base import CodecNetwork, Forward
from sqcodec.nn.published.decoder import Decoder, DecoderTransformer
from sqcodec.nn.published.encoder import Encoder, EncoderTransformer
from sqcodec.nn.published.tconv import FRONT_CONTEXT, GATE_CONTEXT
from sqcodec.nn.published.time_major import TimeMajorNetwork
from sqcodec.quantizers import Quantizer, QuantizerOutput, build_quantizer

PROJECT_CONTEXT = 2
"""Steps before its own that the last convolution of the encoder, and the first of the decoder, see."""


class WaveformNetwork(CodecNetwork):
    """The network that a `WaveformConfig` describes, with random weights."""

    config: WaveformConfig

    def __init__(self, config: WaveformConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config)
        self.encoder_transformer = EncoderTransformer(config)
        self.quantizer: Quantizer = build_quantizer(config.quantizer, config.feature_dim)
        self.decoder_transformer = DecoderTransformer(config)
        self.decoder = Decoder(config)

    def encode_features(self, samples: Tensor) -> Tensor:
        """Samples [B, 1, T], T a multiple of the hop length (see `pad`), to features [B, N, C]."""
        if samples.dim() != 3 or samples.shape[1] != 1 or samples.shape[2] % self.config.hop_length:
            raise ValueError(
                f"Samples have shape {tuple(samples.shape)}: [batch, 1, a multiple of "
                f"{self.config.hop_length}] is needed; WaveformNetwork.pad makes the length fit"
            )
        return self.encoder_transformer(self.encoder(samples))

    def decode_features(self, features: Tensor) -> Tensor:
        """Features [B, N, C] to samples [B, 1, N hop]."""
        return self.decoder(self.decoder_transformer(features))

    def compiled(self) -> Forward:
        """``forward``, faster, for any batch: on a CPU with channels last and a few compiled loops, some seconds, where
        compiling all of it takes longer than half an hour; on a GPU compiled as a whole."""
        whole, on_cpu = super().compiled(), TimeMajorNetwork(self)

        def forward(samples: Tensor, blend: Tensor | None = None) -> tuple[Tensor, QuantizerOutput]:
            return (on_cpu if samples.device.type == "cpu" else whole)(samples, blend)

        return forward

    @property
    def encoder_context(self) -> int:
        encoder, transformer = self.config.encoder, self.config.transformer
        reach = encoder.unit.kernel_size - 1
        samples, step = FRONT_CONTEXT, 1
        for depth, stride in zip(encoder.depths, (*encoder.strides, 1), strict=True):
            samples += depth * reach * step
            step *= stride
        samples += PROJECT_CONTEXT * step
        samples += transformer.encoder_frame_depth * (transformer.window * transformer.rate_reduction - 1) * step
        return samples + transformer.encoder_depth * (transformer.window - 1) * self.config.hop_length

    @property
    def decoder_context(self) -> int:
        decoder, transformer = self.config.decoder, self.config.transformer
        reach = decoder.unit.kernel_size - 1
        hop, step = self.config.hop_length, decoder.hop_length
        samples = (transformer.decoder_depth * (transformer.window - 1) + 1) * hop  # upsampling: 1 token
        samples += transformer.decoder_frame_depth * (transformer.window * transformer.rate_reduction - 1) * step
        samples += PROJECT_CONTEXT * step
        for depth, stride in zip(decoder.depths[:-1], decoder.strides, strict=True):
            samples += (depth * reach + GATE_CONTEXT + 1) * step  # upsampling: 1 step
            step //= stride
        return samples + (sum(decoder.output_dilations) + 1) * reach

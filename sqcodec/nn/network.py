"""The whole codec network: samples to features, one quantizer, features to samples (arXiv 2504.04949).

    samples -> encoder -> encoder transformer -> quantizer -> decoder transformer -> decoder -> samples

Letters: B batch, T samples, C channels, N tokens. A causal network sees only the past: its output up to
sample n hop depends on the first n hop input samples alone. `config.lookahead` delays the output: sample t
of the input comes back as sample t + lookahead, so `pad` adds that much silence behind and `crop` drops it
in front.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from sqcodec.config import ModelConfig
from sqcodec.nn.decoder import Decoder, DecoderTransformer
from sqcodec.nn.encoder import Encoder, EncoderTransformer
from sqcodec.quantizers import QuantizerOutput, build_quantizer


class Network(nn.Module):
    """The network that a `ModelConfig` describes, with random weights."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.encoder_transformer = EncoderTransformer(config)
        self.quantizer = build_quantizer(config.quantizer, config.feature_dim)
        self.decoder_transformer = DecoderTransformer(config)
        self.decoder = Decoder(config)

    def encode_features(self, samples: Tensor) -> Tensor:
        """Samples [B, 1, T], T a multiple of the hop length (see `pad`), to features [B, N, C]."""
        if samples.dim() != 3 or samples.shape[1] != 1 or samples.shape[2] % self.config.hop_length:
            raise ValueError(
                f"Samples have shape {tuple(samples.shape)}: [batch, 1, a multiple of "
                f"{self.config.hop_length}] is needed; Network.pad makes the length fit"
            )
        return self.encoder_transformer(self.encoder(samples))

    def decode_features(self, features: Tensor) -> Tensor:
        """Features [B, N, C] to samples [B, 1, N hop]."""
        return self.decoder(self.decoder_transformer(features))

    def forward(self, samples: Tensor, blend: Tensor | None = None) -> tuple[Tensor, QuantizerOutput]:
        """Samples [B, 1, T] through the quantizer to samples [B, 1, T]; `blend` as in `Quantizer.forward`."""
        output = self.quantizer(self.encode_features(samples), blend)
        return self.decode_features(output.features), output

    def token_count(self, length: int) -> int:
        """Tokens that `length` samples need (without the padding to whole windows of `pad_to`)."""
        return -(-(length + self.config.lookahead) // self.config.hop_length) if length else 0

    def pad_length(self, length: int) -> int:
        """Length that `length` samples are padded to, lookahead included."""
        multiple = self.config.pad_multiple
        return -(-(length + self.config.lookahead) // multiple) * multiple if length else 0

    def pad(self, samples: Tensor) -> Tensor:
        """Samples [..., T] with zeros behind, to `pad_length(T)`."""
        return F.pad(samples, (0, self.pad_length(samples.shape[-1]) - samples.shape[-1]))

    def crop(self, samples: Tensor, length: int) -> Tensor:
        """The `length` samples that were encoded, out of what `decode_features` gives for them."""
        start = self.config.lookahead
        return samples[..., start : start + length]

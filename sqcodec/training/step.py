"""One forward pass and its loss terms."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sqcodec.losses.intelligibility import IntelligibilityLoss
from sqcodec.losses.loudness import LoudnessLoss
from sqcodec.losses.perceptual import PerceptualLoss
from sqcodec.losses.resolution import MultiResolutionSTFTLoss
from sqcodec.losses.semantic import SemanticHead, consistency_loss, heard_otherwise, semantic_loss
from sqcodec.losses.spectral import MultiScaleSpectralLoss
from sqcodec.losses.waveform import si_sdr_loss
from sqcodec.nn.base import CodecNetwork, Forward
from sqcodec.quantizers import NestedFSP, QuantizerOutput
from sqcodec.training.encoders import load_encoder
from sqcodec.training.recipe import LossRecipe, TrainRecipe


@dataclass
class StepOutput:
    """``terms``: named scalars, unweighted. ``output``, ``target``: float32 [B, T - lookahead]."""

    terms: dict[str, Tensor]
    output: Tensor
    target: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Step(nn.Module):
    """Computes the named loss terms of a batch.

    The network's output lags its input by the lookahead, so the last ``lookahead`` samples of a segment have no
    output yet and do not count.
    """

    def __init__(
        self, network: CodecNetwork, sample_rate: int, loss: LossRecipe, train: TrainRecipe, teacher_dim: int = 0
    ) -> None:
        super().__init__()
        self.network, self.loss, self.train_recipe = network, loss, train
        self.lookahead = network.config.lookahead
        self.spectral = MultiScaleSpectralLoss(sample_rate, tuple(loss.fft_sizes), tuple(loss.mel_bands))
        self.resolution = MultiResolutionSTFTLoss(tuple(loss.resolution_sizes)) if loss.resolution > 0 else None
        self.loudness = LoudnessLoss(sample_rate) if loss.loudness > 0 else None
        self.intelligibility = IntelligibilityLoss(sample_rate) if loss.intelligibility > 0 else None
        self.perceptual: PerceptualLoss | None = None
        if loss.perceptual > 0:
            if not loss.perceptual_encoder:
                raise ValueError("loss.perceptual needs an encoder: set loss.perceptual_encoder.")
            encoder, rate = load_encoder(loss.perceptual_encoder, loss.perceptual_rate)
            self.perceptual = PerceptualLoss(encoder, sample_rate, rate)
        self.semantic: SemanticHead | None = None
        if teacher_dim:
            _check_bits(network, loss)
            width, context = loss.semantic_width, loss.semantic_context
            self.semantic = SemanticHead(network.config.feature_dim, teacher_dim, width, context)
        self.encode = network.compiled_encoder() if train.compile else network.encode_features
        self.run: Forward = network.compiled() if train.compile else network.forward

    def forward(self, samples: Tensor, step: int, teacher: Tensor | None = None) -> StepOutput:
        """``samples`` float32 [B, T], whole frames; ``teacher`` [B, N, D], standardised features, NaN where unknown."""
        train = self.train_recipe
        blend = None
        if train.continuous_steps or train.blend_steps:
            progress = (step - train.continuous_steps) / max(1, train.blend_steps)
            blend = torch.tensor(min(1.0, max(0.0, progress)), device=samples.device)
        with self._autocast(samples):
            output, quantized = self.run(samples[:, None], blend)
        output = output[:, 0]
        end = samples.shape[-1] - self.lookahead
        output, target = output[:, self.lookahead :].float(), samples[:, :end]
        distance = self.spectral(output, target)
        terms = {
            "mel": distance.mel,
            "stft": distance.stft,
            "waveform": (output - target).abs().mean(),
            "norm": quantized.loss,
        }
        if self.loss.si_sdr > 0:
            terms["si_sdr"] = si_sdr_loss(output, target)
        if self.resolution is not None:
            terms["resolution"] = self.resolution(output, target)
        if self.loudness is not None:
            terms["loudness"] = self.loudness(output, target)
        if self.intelligibility is not None:
            terms["intelligibility"] = self.intelligibility(output, target)
        if self.perceptual is not None:
            with self._autocast(samples):
                terms["perceptual"] = self.perceptual(output, target)
        assert quantized.source is not None
        if self.semantic is not None and teacher is not None:
            terms["semantic"] = semantic_loss(self.semantic(self._read(quantized).float()), teacher)
        if self.loss.consistency > 0:
            with self._autocast(samples):
                others = self.encode(heard_otherwise(samples, self.network.config.hop_length)[:, None])
            latents = self.network.quantizer.latents
            terms["consistency"] = consistency_loss(latents(quantized.source), latents(others))
        return StepOutput(terms, output, target, quantized.metrics)

    def _read(self, quantized: QuantizerOutput) -> Tensor:
        """What the head reads [B, N, C]."""
        assert quantized.source is not None
        if self.loss.semantic_bits:
            assert isinstance(self.network.quantizer, NestedFSP)
            return self.network.quantizer.cut(quantized.source, self.loss.semantic_bits)
        return quantized.source if self.loss.semantic_from == "features" else quantized.features

    def _autocast(self, samples: Tensor) -> torch.autocast:
        train = self.train_recipe
        half = torch.float16 if train.fp16 else torch.bfloat16
        return torch.autocast(samples.device.type, half, enabled=train.bf16 or train.fp16)


def _check_bits(network: CodecNetwork, loss: LossRecipe) -> None:
    """Raises ValueError where tokens have not the bits that the head is to read."""
    bits, quantizer = loss.semantic_bits, network.quantizer
    if not bits:
        return
    if not isinstance(quantizer, NestedFSP):
        raise ValueError(f"loss.semantic_bits is {bits}: only tokens of the quantizer nested can be cut; use 0.")
    if loss.semantic_from == "features":
        raise ValueError(f"loss.semantic_bits is {bits}: features before the quantizer have no bits; use 0.")
    if not quantizer.lowest <= bits <= quantizer.highest:
        raise ValueError(f"loss.semantic_bits is {bits}: this model's tokens have {quantizer.lowest} to "
                         f"{quantizer.highest}.")  # fmt: skip

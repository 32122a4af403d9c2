"""One forward pass and its loss terms."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sqcodec.losses.perceptual import PerceptualLoss
from sqcodec.losses.resolution import MultiResolutionSTFTLoss
from sqcodec.losses.spectral import MultiScaleSpectralLoss
from sqcodec.losses.waveform import si_sdr_loss
from sqcodec.nn.base import CodecNetwork, Forward
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

    def __init__(self, network: CodecNetwork, sample_rate: int, loss: LossRecipe, train: TrainRecipe) -> None:
        super().__init__()
        self.network, self.loss, self.train_recipe = network, loss, train
        self.lookahead = network.config.lookahead
        self.spectral = MultiScaleSpectralLoss(sample_rate, tuple(loss.fft_sizes), tuple(loss.mel_bands))
        self.resolution = MultiResolutionSTFTLoss(tuple(loss.resolution_sizes)) if loss.resolution > 0 else None
        self.perceptual: PerceptualLoss | None = None
        if loss.perceptual > 0:
            if not loss.perceptual_encoder:
                raise ValueError("loss.perceptual needs an encoder: set loss.perceptual_encoder.")
            encoder, rate = load_encoder(loss.perceptual_encoder, loss.perceptual_rate)
            self.perceptual = PerceptualLoss(encoder, sample_rate, rate)
        self.run: Forward = network.compiled() if train.compile else network.forward

    def forward(self, samples: Tensor, step: int) -> StepOutput:
        """``samples`` float32 [B, T], whole frames."""
        train = self.train_recipe
        blend = None
        if train.continuous_steps or train.blend_steps:
            progress = (step - train.continuous_steps) / max(1, train.blend_steps)
            blend = torch.tensor(min(1.0, max(0.0, progress)), device=samples.device)
        half = torch.float16 if train.fp16 else torch.bfloat16
        with torch.autocast(samples.device.type, half, enabled=train.bf16 or train.fp16):
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
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(output, target)
        return StepOutput(terms, output, target, quantized.metrics)

"""One forward pass and its loss terms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sqcodec.losses.spectral import MultiScaleSpectralLoss
from sqcodec.nn.base import CodecNetwork
from sqcodec.training.recipe import LossRecipe, TrainRecipe


@dataclass
class StepOutput:
    """``terms``: scalars, ``total`` their weighted sum. ``output``, ``target``: float32 [B, T - lookahead]."""

    terms: dict[str, Tensor]
    output: Tensor
    target: Tensor


class Step:
    """Computes the named loss terms of a batch; ``total`` is their weighted sum.

    The network's output lags its input by the lookahead, so the last ``lookahead`` samples of a segment have no
    output yet and do not count.
    """

    def __init__(
        self, network: CodecNetwork, spectral: MultiScaleSpectralLoss, loss: LossRecipe, train: TrainRecipe
    ) -> None:
        self.network, self.spectral, self.loss, self.train = network, spectral, loss, train
        self.lookahead = network.config.lookahead
        # Only the part without FFTs is compiled: complex numbers are not compiled to anything faster.
        self.core = getattr(network, "core", None)
        if train.compile:
            if self.core is None:
                raise ValueError("train.compile is for frame-rate networks (stft front, istft head): set it to false.")
            self.core = torch.compile(self.core, dynamic=False)

    def __call__(self, samples: Tensor, step: int) -> StepOutput:
        """``samples`` float32 [B, T], whole frames."""
        train = self.train
        blend = None
        if train.continuous_steps or train.blend_steps:
            progress = (step - train.continuous_steps) / max(1, train.blend_steps)
            blend = torch.tensor(min(1.0, max(0.0, progress)), device=samples.device)
        with torch.autocast(samples.device.type, torch.bfloat16, enabled=train.bf16):
            if self.core is None:
                output, quantized = self.network(samples[:, None], blend)
                output = output[:, 0]
            else:
                magnitude, phase, quantized = self.core(self.network.spectra(samples), blend)
                output = self.network.synthesise(magnitude, phase)
        end = samples.shape[-1] - self.lookahead
        output, target = output[:, self.lookahead :].float(), samples[:, :end]
        distance = self.spectral(output, target)
        terms = {
            "mel": distance.mel,
            "stft": distance.stft,
            "waveform": (output - target).abs().mean(),
            "norm": quantized.loss,
        }
        loss = self.loss
        terms["total"] = (
            loss.mel * terms["mel"] + loss.stft * terms["stft"] + loss.waveform * terms["waveform"] + terms["norm"]
        )
        return StepOutput(terms, output, target)

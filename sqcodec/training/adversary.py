"""The discriminators' side of training: their updates, and the terms that they give the generator.

Letters: B batch, T samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from sqcodec.checkpoint import load_weights, write_atomically
from sqcodec.discriminators import DiscriminatorConfig, Discriminators
from sqcodec.losses.adversarial import (
    check_objective,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from sqcodec.training.distributed import wrap
from sqcodec.training.recipe import AdversarialRecipe, TrainRecipe

FOLDER = "discriminator"
WEIGHTS_NAME = "discriminator.safetensors"
LEVEL_FLOOR = 1e-2
"""Segments quieter than this (RMS) are not raised to unit power."""


class Adversary:
    """Discriminators with their optimizer.

    They hear crops of ``crop_seconds`` out of ``crop_batch`` segments of the batch, at a common level: real and
    decoded audio of a segment are scaled by the same factor. Crops derive from (seed, step).
    """

    def __init__(
        self, recipe: AdversarialRecipe, train: TrainRecipe, sample_rate: int, device: torch.device | str = "cpu"
    ) -> None:
        check_objective(recipe.objective)
        self.recipe, self.train, self.device = recipe, train, torch.device(device)
        names = {field.name for field in dataclasses.fields(DiscriminatorConfig)}
        config = DiscriminatorConfig(**{name: getattr(recipe, name) for name in names})
        self.network = Discriminators(config).to(self.device)
        self.judge = wrap(self.network)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=recipe.learning_rate,
            betas=(recipe.betas[0], recipe.betas[1]),
            weight_decay=train.weight_decay,
        )
        self.crop_length = round(recipe.crop_seconds * sample_rate)
        if self.crop_length < self.network.shortest_input:
            raise ValueError(
                f"adversarial.crop_seconds is {recipe.crop_seconds}: these discriminators need "
                f"{self.network.shortest_input / sample_rate:.3f} or more."
            )

    def ramp(self, step: int) -> float:
        """Share of the adversarial weights at a step: 0 for ``alone_steps``, then up to 1 in ``ramp_steps``."""
        alone = self.recipe.start_step + self.recipe.alone_steps
        return min(1.0, max(0.0, (step + 1 - alone) / max(1, self.recipe.ramp_steps)))

    def crop(self, output: Tensor, target: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The same random stretch of decoded and real audio [B, T], at unit power: [B', crop_length] each."""
        random = np.random.default_rng((self.train.seed, step, 1))
        length = min(self.crop_length, output.shape[-1])
        start = int(random.integers(0, output.shape[-1] - length + 1))
        count = min(self.recipe.crop_batch or len(output), len(output))
        rows = torch.from_numpy(random.permutation(len(output))[:count]).to(output.device)
        output = output[rows, start : start + length]
        target = target[rows, start : start + length]
        gain = 1.0 / target.square().mean(-1, keepdim=True).sqrt().clamp_min(LEVEL_FLOOR)
        return output * gain, target * gain

    def update(self, output: Tensor, target: Tensor, step: int) -> dict[str, float]:
        """One step of the discriminators on cropped audio, every ``update_every`` generator steps."""
        if step % self.recipe.update_every:
            return {}
        self.network.requires_grad_(True)
        with self._autocast():
            judged = self.judge(torch.cat([target, output.detach()]))
        real = [scores[: len(target)] for scores in judged.scores]
        fake = [scores[len(target) :] for scores in judged.scores]
        loss = discriminator_loss(real, fake, self.recipe.objective)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        with torch.no_grad():
            correct = [((r > t).float().mean() + (f <= t).float().mean()) / 2 for r, f, t in self._halfway(real, fake)]
        return {
            "discriminator": float(loss.detach()),
            "discriminator_norm": float(norm),
            "discriminator_accuracy": float(torch.stack(correct).mean()),
        }

    def terms(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What the generator minimises: ``adversarial`` and ``feature_matching``, unweighted."""
        self.network.requires_grad_(False)
        with self._autocast():
            with torch.no_grad():
                real = self.network(target)
            fake = self.network(output)
            matching = feature_matching_loss(real.features, fake.features)
        return {
            "adversarial": generator_loss(fake.scores, self.recipe.objective),
            "feature_matching": matching,
        }

    def set_learning_rate(self, share: float) -> None:
        """``share`` of the recipe's learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * share

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        load_weights(self.network, state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    def save(self, folder: Path) -> None:
        """Weights for others to fine-tune with, in ``folder/discriminator``."""
        target = folder / FOLDER
        target.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        write_atomically(target / WEIGHTS_NAME, safetensors.torch.save(tensors, metadata={"format": "pt"}))

    def initialise_from(self, folder: Path) -> bool:
        """Takes the weights that ``save`` wrote beside a model, if there are any."""
        path = folder / FOLDER / WEIGHTS_NAME
        if not path.is_file():
            return False
        load_weights(self.network, safetensors.torch.load_file(path))
        return True

    def _halfway(self, real: list[Tensor], fake: list[Tensor]) -> list[tuple[Tensor, Tensor, float]]:
        """Scores with the threshold between the two targets of the objective."""
        threshold = 0.5 if self.recipe.objective == "lsgan" else 0.0
        return [(r, f, threshold) for r, f in zip(real, fake, strict=True)]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.train.bf16)

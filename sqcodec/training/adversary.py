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
import tomli_w
import torch
from torch import Tensor, nn

from sqcodec.checkpoint import load_weights
from sqcodec.config import CONFIG_NAME
from sqcodec.discriminators import DiscriminatorConfig, Discriminators
from sqcodec.distributed import world, wrap
from sqcodec.files import write_atomically
from sqcodec.losses.adversarial import (
    check_objective,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from sqcodec.tables import read_toml
from sqcodec.training.recipe import AdversarialRecipe, TrainRecipe

FOLDER = "discriminator"
WEIGHTS_NAME, OPTIMIZER_NAME = "discriminator.safetensors", "optimizer.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of a parameter."""
LEVEL_FLOOR = 1e-2
"""Segments quieter than this (RMS) are not raised to unit power."""


def discriminator_config(recipe: AdversarialRecipe) -> DiscriminatorConfig:
    """The networks of a recipe."""
    names = {field.name for field in dataclasses.fields(DiscriminatorConfig)}
    return DiscriminatorConfig(**{name: getattr(recipe, name) for name in names})


class Adversary:
    """Discriminators with their optimizer.

    They hear crops of ``crop_seconds`` out of ``crop_batch`` segments of the batch, at a common level: real and
    decoded audio of a segment are scaled by the same factor. Crops derive from (seed, step), and are the same on any
    number of processes.
    """

    def __init__(
        self, recipe: AdversarialRecipe, train: TrainRecipe, sample_rate: int, device: torch.device | str = "cpu"
    ) -> None:
        check_objective(recipe.objective)
        self.recipe, self.train, self.device = recipe, train, torch.device(device)
        self.network = Discriminators(discriminator_config(recipe)).to(self.device)
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

    def ramp(self, step: float) -> float:
        """Share of the adversarial weights at a step: 0 for ``alone_steps``, then up to 1 in ``ramp_steps``."""
        alone = self.recipe.start_step + self.recipe.alone_steps
        return min(1.0, max(0.0, (step + 1 - alone) / max(1, self.recipe.ramp_steps)))

    def crop(self, output: Tensor, target: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The same random stretch of decoded and real audio [B, T], at unit power: [B', crop_length] each.

        Of the global batch ``crop_batch`` rows, evenly spaced, are heard: each process, and each part of a batch that
        is accumulated, has its share.
        """
        random = np.random.default_rng((self.train.seed, step, 1))
        length = min(self.crop_length, output.shape[-1])
        start = int(random.integers(0, output.shape[-1] - length + 1))
        wanted = self.recipe.crop_batch / (world()[1] * self.train.accumulate) or len(output)
        count = min(max(1, round(wanted)), len(output))
        spread = random.random() * len(output) / count + np.arange(count) * len(output) / count
        rows = torch.from_numpy(spread.astype(np.int64)).to(output.device)
        output = output[rows, start : start + length]
        target = target[rows, start : start + length]
        gain = 1.0 / target.square().mean(-1, keepdim=True).sqrt().clamp_min(LEVEL_FLOOR)
        return output * gain, target * gain

    def update(self, output: Tensor, target: Tensor, step: int, part: int = 0) -> dict[str, float]:
        """One step of the discriminators on cropped audio, every ``update_every`` generator steps.

        Of a batch that comes in several parts the gradients are summed; the last part makes the step.
        """
        if step % self.recipe.update_every:
            return {}
        parts = self.train.accumulate
        if part == 0:
            self.optimizer.zero_grad(set_to_none=True)
        self.network.requires_grad_(True)
        with self._autocast():
            judged = self.judge(torch.cat([target, output.detach()]))
        real = [scores[: len(target)] for scores in judged.scores]
        fake = [scores[len(target) :] for scores in judged.scores]
        loss = discriminator_loss(real, fake, self.recipe.objective)
        (loss / parts).backward()
        with torch.no_grad():
            correct = [((r > t).float().mean() + (f <= t).float().mean()) / 2 for r, f, t in self._halfway(real, fake)]
        row = {
            "discriminator": float(loss.detach()),
            "discriminator_accuracy": float(torch.stack(correct).mean()),
        }
        if part == parts - 1:
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
            if torch.isfinite(norm):
                self.optimizer.step()
            row["discriminator_norm"] = float(norm)
        return row

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
        """What others fine-tune with, in ``folder/discriminator``: configuration, weights, state of the optimizer."""
        target = folder / FOLDER
        target.mkdir(parents=True, exist_ok=True)
        write_atomically(target / CONFIG_NAME, tomli_w.dumps(self.network.config.to_dict()).encode("utf-8"))
        for name, tensors in ((WEIGHTS_NAME, self.network.state_dict()), (OPTIMIZER_NAME, self._moments())):
            plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            write_atomically(target / name, safetensors.torch.save(plain, metadata={"format": "pt"}))

    def initialise_from(self, folder: Path) -> bool:
        """Takes what ``save`` wrote beside a model, if it is there.

        Raises:
            ValueError: those discriminators are others than the recipe's; the message says in what.
        """
        source = folder / FOLDER
        if not (source / WEIGHTS_NAME).is_file():
            return False
        self._check(source)
        load_weights(self.network, safetensors.torch.load_file(source / WEIGHTS_NAME))
        if (source / OPTIMIZER_NAME).is_file():
            moments = safetensors.torch.load_file(source / OPTIMIZER_NAME)
            for name, parameter in self.network.named_parameters():
                state = {kind: moments[f"{name}:{kind}"] for kind in MOMENTS if f"{name}:{kind}" in moments}
                if state:
                    device = {"step": "cpu"}
                    self.optimizer.state[parameter] = {
                        kind: value.to(device.get(kind, self.device)) for kind, value in state.items()
                    }
        return True

    def _check(self, source: Path) -> None:
        if not (source / CONFIG_NAME).is_file():  # written before there was one: the tensors' shapes decide
            return
        theirs = read_toml(source / CONFIG_NAME)
        for key, own in self.network.config.to_dict().items():
            if theirs.get(key) != own:
                raise ValueError(
                    f"The discriminators in '{source}' have {key} = {theirs.get(key)}, the recipe {own}: set "
                    f"adversarial.{key} to theirs, or start from a folder without discriminators."
                )

    def _moments(self) -> dict[str, Tensor]:
        """The optimizer's averages, by the name of their parameter."""
        return {
            f"{name}:{kind}": self.optimizer.state[parameter][kind]
            for name, parameter in self.network.named_parameters()
            for kind in MOMENTS
            if kind in self.optimizer.state.get(parameter, {})
        }

    def _halfway(self, real: list[Tensor], fake: list[Tensor]) -> list[tuple[Tensor, Tensor, float]]:
        """Scores with the threshold between the two targets of the objective."""
        threshold = 0.5 if self.recipe.objective == "lsgan" else 0.0
        return [(r, f, threshold) for r, f in zip(real, fake, strict=True)]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.train.bf16)

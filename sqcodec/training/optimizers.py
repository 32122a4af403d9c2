"""Optimizers and the learning-rate schedule."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from sqcodec.schedule import half_cosine
from sqcodec.training.recipe import TrainRecipe

BACKBONE = ("encoder.", "decoder.", "split.", "join.", "trend_front.project")
"""Where Muon applies: hidden matrices, not the maps from spectra, to spectra, or around the quantizer."""


def build_optimizers(
    network: nn.Module, recipe: TrainRecipe, head: nn.Module | None = None
) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the backbone's matrices and AdamW for the rest.

    ``head`` is trained along, by AdamW.

    Muon: momentum whose matrices are orthogonalised by Newton-Schulz iterations (Jordan et al. 2024), scaled to
    AdamW's update size (arXiv 2502.16982).
    """
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_matrix = name.startswith(BACKBONE) and parameter.ndim == 2 and min(parameter.shape) >= 32
        (matrices if is_matrix and recipe.optimizer == "muon" else rest).append(parameter)
    rest += [] if head is None else head.parameters()
    betas = recipe.betas[0], recipe.betas[1]
    adamw = torch.optim.AdamW(
        rest, lr=recipe.learning_rate, betas=betas, weight_decay=recipe.weight_decay, fused=True
    )  # fmt: skip
    if not matrices:
        return [adamw]
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(f"train.optimizer 'muon' needs torch 2.9 or later; this is {torch.__version__}. Use adamw.")
    muon = torch.optim.Muon(
        matrices,
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        ns_steps=recipe.newton_schulz_steps,
        adjust_lr_fn="match_rms_adamw",
    )
    return [muon, adamw]


def learning_rate(step: int, recipe: TrainRecipe, place: float | None = None) -> float:
    """The learning rate of a step, or, after warm-up, of another place in the schedule.

    hold_cosine: warm-up, constant, then a half cosine to 2 % over the last ``decay_steps`` of ``steps``.
    one_cycle (arXiv 1708.07120, three phases): from 10 % up, down again in as many steps, then to 1 %.
    """
    place = step if place is None else place
    if recipe.schedule == "hold_cosine":
        warm = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
        progress = (place - (recipe.steps - recipe.decay_steps)) / max(1, recipe.decay_steps)
        return recipe.learning_rate * warm * half_cosine(1.0, 0.02, progress)
    share, up = place / max(1, recipe.steps), recipe.up_share
    if share < up:
        return recipe.learning_rate * half_cosine(0.1, 1.0, share / up)
    if share < 2 * up:
        return recipe.learning_rate * half_cosine(1.0, 0.1, share / up - 1.0)
    return recipe.learning_rate * half_cosine(0.1, 0.01, (share - 2 * up) / max(1e-9, 1.0 - 2 * up))


def set_learning_rate(optimizers: list[torch.optim.Optimizer], value: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = value


def parameters(optimizers: list[torch.optim.Optimizer]) -> Iterator[nn.Parameter]:
    """Every parameter that the optimizers update."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            yield from group["params"]

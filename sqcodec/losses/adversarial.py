"""Adversarial losses: least squares (LSGAN, arXiv 1611.04076), hinge (arXiv 1705.02894), feature matching.

All are means over the parts of the discriminator, so that their scale does not depend on how many there are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu

from sqcodec.distributed import shared_sum, world

OBJECTIVES = ("lsgan", "hinge")


def discriminator_loss(real: list[Tensor], fake: list[Tensor], objective: str = "lsgan") -> Tensor:
    """What the discriminator minimises; ``real`` and ``fake`` are score maps, one for each part.

    lsgan: mean (real - 1)² + mean fake²: 0.5 where it cannot tell, 0 where it always can.
    hinge: mean max(0, 1 - real) + mean max(0, 1 + fake): 2 where it cannot tell, 0 where it always can.
    """
    check_objective(objective)
    losses = []
    for real_scores, fake_scores in zip(real, fake, strict=True):
        real_scores, fake_scores = real_scores.float(), fake_scores.float()
        if objective == "lsgan":
            losses.append((real_scores - 1).square().mean() + fake_scores.square().mean())
        else:
            losses.append(relu(1 - real_scores).mean() + relu(1 + fake_scores).mean())
    return torch.stack(losses).mean()


def generator_loss(fake: list[Tensor], objective: str = "lsgan") -> Tensor:
    """What the generator minimises: lsgan: mean (fake - 1)²; hinge: -mean fake."""
    check_objective(objective)
    losses = []
    for scores in fake:
        scores = scores.float()
        losses.append((scores - 1).square().mean() if objective == "lsgan" else -scores.mean())
    return torch.stack(losses).mean()


def feature_matching_loss(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """Mean over layers of mean |fake - real| / mean |real| (relative, as in EnCodec, arXiv 2210.13438, eq. 2).

    Processes that train together divide by the mean over all of them, so that they have the loss of the whole batch.
    """
    targets = [target.detach() for features in real for target in features]
    outputs = [output for features in fake for output in features]
    scales = torch.stack([target.abs().mean().float() for target in targets])
    scales = shared_sum(scales) / world()[1]
    distances = torch.stack([
        (output - target).abs().mean().float() for output, target in zip(outputs, targets, strict=True)
    ])  # fmt: skip
    return (distances / (scales + 1e-5)).mean()


def check_objective(objective: str) -> None:
    """Raises ValueError for a name that is none."""
    if objective not in OBJECTIVES:
        raise ValueError(f"adversarial.objective is '{objective}'. Choose one of: {', '.join(OBJECTIVES)}.")

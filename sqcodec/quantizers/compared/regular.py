"""VQ with a learned codebook and one more idea each: VAEVQ, VQ-WAE, SCQ.

Letters: B batch, N tokens, M points, C feature channels, D code dimensions, K codebook size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from sqcodec.distributed import shared_mean, shared_randn
from sqcodec.quantizers.base import project, straight_through
from sqcodec.quantizers.compared.learned import (
    CodebookQuantizer,
    CommittedConfig,
    Learned,
    Weight,
    assign,
    random_codes,
    squared_distances,
    vq_loss,
)
from sqcodec.tables import Range


class LearnedVQ(CodebookQuantizer):
    """A codebook learned by gradient."""

    def __init__(self, feature_dim: int, config: CommittedConfig) -> None:
        super().__init__(feature_dim, config)
        self.options: Any = config
        self.codes = nn.Parameter(random_codes(config.size, config.dim))

    def codebook(self) -> Tensor:
        return self.codes.float()


@dataclass(frozen=True)
class VariationalConfig(CommittedConfig):
    """VAEVQ."""

    kind: Literal["vaevq"] = "vaevq"
    prior_weight: Weight = 0.01
    """Of the terms that come from the evidence bound."""


class VariationalVQ(LearnedVQ, kinds=("vaevq",), settings=VariationalConfig):
    """VAEVQ (arXiv 2511.06863): a variational latent, coherence and distribution consistency.

    Variational latent: z = mu + s n with s from the features too, and the divergence from N(0, 1); evaluation takes mu.
    Coherence: latent and code are drawn together the less the noisier a dimension is, weight 1 / (1 + s²).
    Distribution consistency: mean and covariance of the whole codebook follow those of the latents. The full text was
    not used; our reading of the abstract: the weight's form, and moments for the distance of distributions.
    """

    def __init__(self, feature_dim: int, config: CommittedConfig) -> None:
        super().__init__(feature_dim, config)
        self.spread = nn.Linear(feature_dim, config.dim)
        nn.init.zeros_(self.spread.weight)
        nn.init.constant_(self.spread.bias, -4.0)

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        log_variance = project(features, self.spread).clamp(-10, 4)
        variance = log_variance.exp()
        drawn = latents + variance.sqrt() * shared_randn(*latents.shape, device=latents.device)
        divergence = 0.5 * (latents.square() + variance - 1 - log_variance).mean()
        book = self.codebook()
        indices = assign(drawn, book)
        codes = book[indices]
        weight = 1 / (1 + variance.detach())
        coherence = (weight * (codes - drawn.detach()).square()).mean()
        coherence = coherence + self.options.commitment * (weight * (drawn - codes.detach()).square()).mean()
        loss = coherence + moment_distance(book, drawn.detach().flatten(0, -2))
        loss = loss + self.options.prior_weight * divergence
        metrics = {"deviation": variance.detach().sqrt().mean()}
        return Learned(straight_through(codes, drawn), indices, loss, metrics)


@dataclass(frozen=True)
class WassersteinConfig(CommittedConfig):
    """VQ-WAE."""

    kind: Literal["vqwae"] = "vqwae"
    transport_weight: Weight = 1.0
    """Of the Wasserstein distance."""


class WassersteinVQ(LearnedVQ, kinds=("vqwae",), settings=WassersteinConfig):
    """VQ-WAE (arXiv 2302.05917): the Wasserstein distance between uniformly weighted codes and latents is a loss.

    Straight-through from the nearest code. The distance is entropic optimal transport by Sinkhorn iterations
    (Cuturi 2013) over a batch's latents; our reading: the plan is held fixed for the gradient, which flows to codes
    and latents through the cost |z - e|², and takes the place of the loss of VQ-VAE except for the commitment.
    """

    ITERATIONS, SHARPNESS = 12, 20.0

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        book, points = self.codebook(), latents.flatten(0, -2)
        indices = assign(latents, book)
        codes = book[indices]
        cost = squared_distances(points, book)
        transport = (sinkhorn_plan(cost.detach(), self.SHARPNESS, self.ITERATIONS) * cost).sum()
        commitment = self.options.commitment * (latents - codes.detach()).square().mean()
        loss = self.options.transport_weight * transport / latents.shape[-1] + commitment
        return Learned(straight_through(codes, latents), indices, loss, {"transport": transport.detach()})


@dataclass(frozen=True)
class ConvexConfig(CommittedConfig):
    """SCQ."""

    kind: Literal["scq"] = "scq"
    temperature: Annotated[float, Range(1e-6, 1e6)] = 1.0
    """The pull l to the nearest code."""


class ConvexVQ(LearnedVQ, kinds=("scq",), settings=ConvexConfig):
    """SCQ, soft convex quantisation (arXiv 2310.03004): the decoder sees a convex combination of codes.

    In training the weights solve min |z - C p|² + l |p - p0|² over the simplex, p0 one-hot at the nearest code;
    here by a few steps of mirror descent from a softmax of distances, over each latent's ``NEAREST`` nearest codes.
    The paper keeps the combination in inference too, which is no token: here evaluation takes the nearest code, so
    that the bit rate is what it says. The loss of VQ-VAE keeps codes and latents together.
    """

    NEAREST, STEPS = 16, 6

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        book, points = self.codebook(), latents.flatten(0, -2)
        distances = squared_distances(points, book)
        near = distances.detach().topk(min(self.NEAREST, len(book)), dim=-1, largest=False)
        codes = book[near.indices]  # [M, nearest, D]
        gaps = (points[:, None] - codes).square().sum(-1)
        scale = shared_mean(near.values.mean()).clamp_min(1e-8)
        logits = -gaps / scale
        for _ in range(self.STEPS):
            weights = logits.softmax(-1)
            error = (weights[:, None] @ codes)[:, 0] - points
            slope = 2 * (codes @ error[:, :, None])[..., 0] / scale
            pull = torch.zeros_like(weights)
            pull[:, 0] = -self.options.temperature  # gradient of l |p - p0|², but for l p
            logits = logits - 0.5 * (slope + self.options.temperature * weights + pull)
        mixed = (logits.softmax(-1)[:, None] @ codes)[:, 0].view_as(latents)
        indices = near.indices[:, 0].view(latents.shape[:-1])
        nearest = codes[:, 0].view_as(latents)
        return Learned(mixed, indices, vq_loss(latents, nearest, self.options.commitment))


def moment_distance(codes: Tensor, points: Tensor) -> Tensor:
    """Squared difference of means plus that of covariances, per dimension; codes [K, D], points [M, D] of the batch."""
    mean = shared_mean(points.mean(0))
    covariance = shared_mean((points - mean).T @ (points - mean) / len(points))
    centred = codes - codes.mean(0)
    gap = (codes.mean(0) - mean).square().sum() + (centred.T @ centred / len(codes) - covariance).square().sum()
    return gap / codes.shape[-1]


@torch.no_grad()
def sinkhorn_plan(cost: Tensor, sharpness: float, iterations: int) -> Tensor:
    """Transport plan [M, K] between uniform weights, entropic with 1 / sharpness of the mean cost."""
    kernel = -cost * (sharpness / cost.mean().clamp_min(1e-12))
    rows, columns = cost.new_zeros(len(cost)), cost.new_zeros(cost.shape[1])
    for _ in range(iterations):
        rows = -(kernel + columns).logsumexp(1) - math.log(len(cost))
        columns = -(kernel + rows[:, None]).logsumexp(0) - math.log(cost.shape[1])
    return (kernel + rows[:, None] + columns).exp()

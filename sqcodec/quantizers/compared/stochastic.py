"""Quantizers that draw codes in training: SQ-VAE, GM-VQ, HyperVQ. In evaluation all take the likeliest code.

Their full texts were not at hand: they are written from abstracts and what is said of them, and the docstrings name
what is our reading. Losses of these papers are terms of an evidence bound of the whole model; here they are
weighed against the reconstruction by ``prior_weight``.

Letters: B batch, N tokens, D code dimensions, K codebook size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sqcodec.distributed import shared_mean, shared_rand
from sqcodec.quantizers.compared.learned import (
    CodebookConfig,
    CodebookQuantizer,
    Learned,
    Weight,
    random_codes,
    squared_distances,
)
from sqcodec.tables import Range

Temperature = Annotated[float, Range(1e-6, 1e6)]


@dataclass(frozen=True)
class AnnealedConfig(CodebookConfig):
    """Settings of a codebook with a temperature that falls with the steps."""

    temperature: Temperature = 1.0
    """Of drawing codes, or of the kernel."""
    final_temperature: Temperature = 0.1
    """Where it ends, geometrically, after ``anneal_steps``."""
    anneal_steps: Annotated[int, Range(0, 10**9)] = 200

    def annealed(self, step: int) -> float:
        """The temperature of a step."""
        share = min(1.0, step / max(1, self.anneal_steps))
        return self.temperature * (self.final_temperature / self.temperature) ** share


class StochasticQuantizer(CodebookQuantizer):
    """Draws codes by Gumbel-softmax (arXiv 1611.01144) at a temperature that falls with the steps."""

    steps: Tensor

    def __init__(self, feature_dim: int, config: AnnealedConfig) -> None:
        super().__init__(feature_dim, config)
        self.options: Any = config
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def draw(self, logits: Tensor, hard: bool) -> tuple[Tensor, Tensor]:
        """Weights over the codes [B, N, K] and the drawn tokens [B, N]; ``hard`` weights are one-hot in value."""
        uniform = shared_rand(*logits.shape, device=logits.device).clamp(1e-9, 1 - 1e-7)
        noisy = (logits - (-uniform.log()).log()) / self.options.annealed(int(self.steps))
        self.steps += 1
        soft, indices = noisy.softmax(-1), noisy.argmax(-1)
        if not hard:
            return soft, indices
        one_hot = F.one_hot(indices, logits.shape[-1]).to(soft.dtype)
        return one_hot + (soft - soft.detach()), indices


@dataclass(frozen=True)
class StochasticConfig(AnnealedConfig):
    """SQ-VAE and GM-VQ."""

    kind: Literal["sqvae", "gmvq"] = "sqvae"
    prior_weight: Weight = 0.01
    """Of the terms that come from the evidence bound."""


class StochasticVQ(StochasticQuantizer, kinds=("sqvae",), settings=StochasticConfig):
    """SQ-VAE (arXiv 2205.07547), the layer of HQ-VAE (arXiv 2401.00365): p(k | z) ~ exp(-|z - e_k|² / 2 s²).

    The variance s² is learned and shrinks by itself as codes and latents come together; the decoder sees the
    Gumbel-softmax mean of the codes. Loss: E|z - e|² / 2 s² - H(p), the bound's two terms of the latent, per dimension.
    Our reading: one variance for all latents, and the weight of these terms (above).
    """

    def __init__(self, feature_dim: int, config: AnnealedConfig) -> None:
        super().__init__(feature_dim, config)
        self.codes = nn.Parameter(random_codes(config.size, config.dim))
        self.log_variance = nn.Parameter(torch.tensor(-1.0))

    def codebook(self) -> Tensor:
        return self.codes.float()

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        book, dim = self.codebook(), latents.shape[-1]
        distances = squared_distances(latents.flatten(0, -2), book).unflatten(0, latents.shape[:-1])
        precision = 0.5 * (-self.log_variance).exp()
        logits = -precision * distances
        weights, indices = self.draw(logits, hard=False)
        codes = weights @ book
        chances, logs = logits.softmax(-1), logits.log_softmax(-1)
        misfit = precision * (latents - codes).square().sum(-1) + 0.5 * dim * self.log_variance
        loss = (misfit + (chances * logs).sum(-1)).mean() / dim
        metrics = {"variance": self.log_variance.detach().exp()}
        return Learned(codes, indices, self.options.prior_weight * loss, metrics)


class GaussianMixtureVQ(StochasticQuantizer, kinds=("gmvq",), settings=StochasticConfig):
    """GM-VQ (arXiv 2410.10180): codes are means of a Gaussian mixture with a variance each.

    Codes are drawn one-hot (straight-through Gumbel-softmax) from p(c | z). Loss (ALBO): E[|z - mu_c|² / 2 s_c² +
    (D/2) log s_c²] - H(mean p), the entropy being that of the aggregated posterior over the batch, which asks for
    balanced use and not for undecided tokens. Our reading: the posterior is that of the mixture itself, and the
    decoder sees mu_c without further noise.
    """

    def __init__(self, feature_dim: int, config: AnnealedConfig) -> None:
        super().__init__(feature_dim, config)
        self.codes = nn.Parameter(random_codes(config.size, config.dim))
        self.log_variance = nn.Parameter(torch.full((config.size,), -1.5))

    def codebook(self) -> Tensor:
        return self.codes.float()

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        book, dim = self.codebook(), latents.shape[-1]
        distances = squared_distances(latents.flatten(0, -2), book).unflatten(0, latents.shape[:-1])
        energy = 0.5 * distances * (-self.log_variance).exp() + 0.5 * dim * self.log_variance
        chances = (-energy).softmax(-1)
        weights, indices = self.draw(-energy, hard=True)
        codes = weights @ book
        mean = shared_mean(chances.mean((0, 1)))
        entropy = -(mean * (mean + 1e-12).log()).sum()
        loss = ((chances * energy).sum(-1).mean() - entropy) / dim
        return Learned(codes, indices, self.options.prior_weight * loss, {"entropy": entropy.detach()})

    def nearest(self, latents: Tensor) -> Tensor:
        """The component with the highest density at each latent, in order of D so that it does not depend on N."""
        precision = (-self.log_variance.detach().float()).exp()
        energy = latents.new_zeros(*latents.shape[:-1], self.codebook_size)
        for dimension in range(latents.shape[-1]):
            energy += (latents[..., dimension, None] - self.codebook().detach()[:, dimension]).square_()
        energy = 0.5 * energy * precision - 0.5 * latents.shape[-1] * precision.log()
        return energy.argmin(-1)


@dataclass(frozen=True)
class HyperbolicConfig(AnnealedConfig):
    """HyperVQ."""

    kind: Literal["hypervq"] = "hypervq"


class HyperbolicVQ(StochasticQuantizer, kinds=("hypervq",), settings=HyperbolicConfig):
    """HyperVQ (arXiv 2403.13015): codes are decided by hyperbolic logistic regression, not by distance.

    Latents are mapped to the Poincaré ball; the logit of code k is the signed distance to a hyperplane with unit
    normal a_k at distance b_k from the origin, 2 g_k asinh(l <x, a_k> cosh 2 b_k - (l - 1) sinh 2 b_k) with
    l = 2 / (1 - |x|²) (hyperbolic neural networks++, arXiv 2006.08210); the code is the hyperplane's point nearest to
    the origin, in the tangent space b_k a_k. Codes are drawn one-hot by Gumbel-softmax. Our reading: curvature 1,
    no further loss, the decoder sees the tangent vector.
    """

    def __init__(self, feature_dim: int, config: AnnealedConfig) -> None:
        super().__init__(feature_dim, config)
        codes = random_codes(config.size, config.dim)
        self.normal = nn.Parameter(codes / codes.norm(dim=-1, keepdim=True))
        self.offset = nn.Parameter(codes.norm(dim=-1))
        self.gain = nn.Parameter(torch.zeros(config.size))

    def codebook(self) -> Tensor:
        return self.offset.float()[:, None] * F.normalize(self.normal.float(), dim=-1)

    def logits(self, latents: Tensor) -> Tensor:
        """[B, N, D] to [B, N, K]; products are summed dimension by dimension, so that N changes nothing."""
        norm = latents.square().sum(-1, keepdim=True).add(1e-12).sqrt()
        ball = latents * (torch.tanh(norm).clamp_max(1 - 1e-4) / norm)
        scale = 2 / (1 - ball.square().sum(-1, keepdim=True))
        normal, offset = F.normalize(self.normal.float(), dim=-1), 2 * self.offset.float().clamp(-4, 4)
        product = sum(ball[..., d, None] * normal[:, d] for d in range(1, ball.shape[-1])) + (
            ball[..., 0, None] * normal[:, 0]
        )
        inner = scale * product * offset.cosh() - (scale - 1) * offset.sinh()
        return 2 * self.gain.float().exp() * torch.asinh(inner)

    def learn(self, latents: Tensor, features: Tensor) -> Learned:
        weights, indices = self.draw(self.logits(latents), hard=True)
        return Learned(weights @ self.codebook(), indices, torch.zeros((), device=latents.device))

    def nearest(self, latents: Tensor) -> Tensor:
        return self.logits(latents).detach().argmax(-1)

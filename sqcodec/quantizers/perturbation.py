"""Vector perturbation (VP-VAE, arXiv 2602.17133): training a vector quantizer without a codebook.

A first-in first-out queue S of past latents stands for their distribution. A latent z is moved within a ball about
the size of the cell that it would have among K codes; Metropolis-Hastings acceptance keeps the distribution of the
moved latents that of the latents, so that the decoder learns the very inputs that a codebook will give it.

Letters: B batch, N tokens, D dimensions d, K codes, M = |S| / K neighbours a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from sqcodec.distributed import gather_rows, shared_rand, shared_randn
from sqcodec.quantizers.neighbours import Neighbours, neighbour_distances
from sqcodec.tables import Range, Table

SMOOTHING_NEIGHBOURS = 12
"""In a sample of the queue the cell of one code holds few latents. The radius is then taken from this many, scaled by
volume: ratios of so many distances scatter as they do in the whole queue, so that acceptance stays the same."""

MOST_NEIGHBOURS = 64
"""The same for the large cells of small codebooks, where sizes are drawn: to search for more takes long."""

CALIBRATION_ROUNDS = 4
HIGHEST_ETA = 4.0
"""A bound for latents that no calibration suits, such as those of a collapsed encoder."""


@dataclass(frozen=True)
class PerturbationOptions(Table):
    """How a "vp" quantizer trains; the paper's values are M = 16 d and all of the queue as reference."""

    TABLE: ClassVar[str] = "vp"
    neighbours_per_code: Annotated[int, Range(0, 65536)] = 0
    """M: the queue holds K M latents; 0 is the paper's 16 d."""
    reference_per_code: Annotated[int, Range(0, 65536)] = 4
    """Neighbours are searched in an evenly spaced sample of the queue of K times this many (0: all of it)."""
    density_neighbours: Annotated[int, Range(1, 65536)] = 8
    """k of the density estimate."""
    eta: Annotated[float, Range(1e-6, 1e6)] = 1.0
    """Radius in units of the distance to the M-th neighbour, before calibration."""
    calibrate_every: Annotated[int, Range(0, 10**9)] = 0
    """Steps between calibrations of eta, the first as soon as the queue is full (``training.vp.calibration_due``); 0
    keeps eta."""
    enqueue_rate: Annotated[float, Range(0, 1)] = 0.01
    """Share of each batch that enters the queue, once it is full."""
    moments: bool = False
    """L_norm also penalises skewness and excess kurtosis."""


@dataclass(frozen=True)
class Move:
    """``offset`` [M, D]: what is added to each latent, 0 where the proposal was rejected. ``accepted`` bool [M]."""

    offset: Tensor
    accepted: Tensor

    def accepted_size(self) -> Tensor:
        """Mean length of the accepted moves; 0 where there are none."""
        return self.offset.norm(dim=-1).sum() / self.accepted.sum().clamp_min(1)


def ball_noise(normal: Tensor, uniform: Tensor) -> Tensor:
    """Points uniform in the unit ball [M, D], from standard normals [M, D] and uniforms [M]."""
    direction = normal / normal.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return direction * uniform.pow(1.0 / normal.shape[-1])[:, None]


def perturb(
    latents: Tensor, reference: Tensor, noise: Tensor, chance: Tensor, k: int, m: int | Tensor, eta: float | Tensor
) -> Move:
    """One Metropolis-Hastings step from each latent (arXiv 2602.17133, sections 3.2 and 3.3).

    Args:
        latents: float32 [M, D].
        reference: float32 [R, D], samples of the latents' distribution.
        noise: uniform in the unit ball [M, D] (``ball_noise``).
        chance: uniform in (0, 1) [M].
        k: neighbour of the density estimate p(z) ~ D_k(z)^-d.
        m: neighbour of the radius R(z) = eta D_m(z); or one for each latent, int64 [M, 1].
        eta: see m; float32 [M, 1].
    """
    dim = latents.shape[-1]
    neighbours = Neighbours(reference)
    distinct, column = torch.as_tensor(m).unique(return_inverse=True)
    ranks = tuple(distinct.tolist())

    def distances(points: Tensor) -> Tensor:
        """D_k and D_m [M, 2]."""
        found = neighbours.distances(points, (k, *ranks))
        return torch.cat([found[:, :1], found[:, 1:].gather(1, column.expand(len(found), 1).to(found.device))], dim=1)

    here = distances(latents)
    step = noise * (eta * here[:, 1:])
    there = distances(latents + step)
    # p(z') q(z | z') / (p(z) q(z' | z)), with q ~ R^-d within the ball.
    log_ratio = dim * (here.clamp_min(1e-12).log().sum(-1) - there.clamp_min(1e-12).log().sum(-1))
    reversible = step.norm(dim=-1) <= (eta * there[:, 1:]).squeeze(1)
    accepted = (chance.log() < log_ratio) & reversible
    return Move(step * accepted[:, None], accepted)


class VectorPerturbation:
    """The queue of latents and the perturbation drawn from it. Its state belongs in the training state.

    Until the queue is full all of each batch enters it and nothing is perturbed: no noise stands in for latents.
    """

    def __init__(self, dim: int, codebook_size: int, options: PerturbationOptions) -> None:
        per_code = options.neighbours_per_code or 16 * dim
        self.options, self.codebook_size = options, codebook_size
        self.queue = torch.zeros(codebook_size * per_code, dim)
        self.position, self.filled, self.eta, self.calibrated = 0, 0, options.eta, False
        self.calibrated_at = 0
        """The step at which the trainer calibrated eta last."""
        # Here and not as a decorator: it imports the compiler, a second that only training has.
        self._run = torch.compiler.disable(self._perturbed)
        if self.reference_count < options.density_neighbours:
            raise ValueError(
                f"{self.reference_count} reference latents cannot have {options.density_neighbours} neighbours: "
                "raise vp.reference_per_code or lower vp.density_neighbours."
            )

    @property
    def full(self) -> bool:
        return self.filled == len(self.queue)

    @property
    def reference_count(self) -> int:
        per_code = self.options.reference_per_code
        return min(len(self.queue), per_code * self.codebook_size) if per_code else len(self.queue)

    def __call__(self, latents: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The offset to add to detached latents [B, N, D], and metrics. The batch then (partly) enters the queue.

        ``sizes`` int64 [B]: codes that each segment is perturbed as among; None: ``codebook_size``.
        """
        return self._run(latents, sizes)

    def _perturbed(self, latents: Tensor, sizes: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        latents = latents.detach()
        self.queue = self.queue.to(latents.device)
        if self.full:
            move = self._move(latents, sizes)
            offset = move.offset.view_as(latents)
            metrics = {"perturbation": move.accepted_size(), "acceptance": move.accepted.float().mean()}
        else:
            offset, metrics = torch.zeros_like(latents), {}
        self._enqueue(latents)
        return offset, metrics

    def _move(self, latents: Tensor, sizes: Tensor | None) -> Move:
        batch, count, dim = latents.shape
        normal = shared_randn(batch, count, dim, device=latents.device)
        uniform = shared_rand(batch, count, 2, device=latents.device)
        reference = self.reference()
        noise = ball_noise(normal.view(-1, dim), uniform[..., 0].reshape(-1))
        chance = uniform[..., 1].reshape(-1)
        flat, k = latents.reshape(-1, dim), self.options.density_neighbours
        if sizes is None:
            m, scale = self.radius_neighbour(len(reference))
            return perturb(flat, reference, noise, chance, k, m, self.eta * scale)
        found = [self.radius_neighbour(len(reference), size) for size in sizes.tolist()]
        each = torch.tensor(found, dtype=torch.float64).to(latents.device).repeat_interleave(count, dim=0)  # [M, 2]
        return perturb(flat, reference, noise, chance, k, each[:, :1].long(), self.eta * each[:, 1:].float())

    def radius_neighbour(self, count: int, size: int | None = None) -> tuple[int, float]:
        """(m, s): the radius of a cell is s times the distance to the m-th neighbour among ``count`` latents."""
        wanted = count / (size or self.codebook_size)
        m = min(count, max(SMOOTHING_NEIGHBOURS, round(wanted if size is None else min(wanted, MOST_NEIGHBOURS))))
        return m, (wanted / m) ** (1.0 / self.queue.shape[1])

    def reference(self) -> Tensor:
        """Every n-th latent of the queue, from a random one on."""
        stride = len(self.queue) / self.reference_count
        start = torch.rand(()).item()
        index = ((torch.arange(self.reference_count, dtype=torch.float64) + start) * stride).long()
        return self.queue[index.clamp_max(len(self.queue) - 1).to(self.queue.device)]

    def _enqueue(self, latents: Tensor) -> None:
        rows = gather_rows(latents).flatten(0, 1)
        if self.full:
            count = max(1, round(self.options.enqueue_rate * len(rows)))
            rows = rows[torch.randperm(len(rows))[:count].to(rows.device)]
        rows = rows[: len(self.queue)]
        target = (self.position + torch.arange(len(rows), device=rows.device)) % len(self.queue)
        self.queue[target] = rows.to(self.queue.dtype)
        self.position = (self.position + len(rows)) % len(self.queue)
        self.filled = min(len(self.queue), self.filled + len(rows))

    def calibrate(self, codes: Tensor, sample: Tensor) -> float:
        """Sets eta so that the accepted moves of ``sample`` [M, D] are, in the mean, as long as the distance from a
        sample to the nearest of ``codes`` [K, D]: the quantisation error. Returns the new eta.

        Rejected moves don't count: with them the mean is not monotone in eta, since longer moves are rejected more
        often. The mean of the accepted ones grows more slowly than eta, so that dividing by the ratio of the two
        converges in a few rounds (the rule of the authors' code, July 2026, repeated).
        """
        target = float(neighbour_distances(sample, codes, (1,)).mean())
        reference = self.reference()
        m, scale = self.radius_neighbour(len(reference))
        noise = ball_noise(torch.randn_like(sample), torch.rand(len(sample), device=sample.device))
        chance = torch.rand(len(sample), device=sample.device)
        eta = self.options.eta
        for _ in range(CALIBRATION_ROUNDS):
            move = perturb(sample, reference, noise, chance, self.options.density_neighbours, m, eta * scale)
            size = float(move.accepted_size())
            eta = min(HIGHEST_ETA, eta * target / size) if size > 0 else eta / 2
        self.eta, self.calibrated = eta, True
        return self.eta

    def state_dict(self) -> dict[str, Any]:
        return {
            "queue": self.queue, "position": self.position, "filled": self.filled, "eta": self.eta,
            "calibrated": self.calibrated, "calibrated_at": self.calibrated_at,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError where the queue has another shape."""
        if state["queue"].shape != self.queue.shape:
            raise ValueError(
                f"The saved queue is {list(state['queue'].shape)}, the recipe's is {list(self.queue.shape)}: "
                "quantizer.dim, quantizer.size and vp.neighbours_per_code must stay as they were."
            )
        self.queue = state["queue"].clone()
        self.position, self.filled, self.eta = int(state["position"]), int(state["filled"]), float(state["eta"])
        self.calibrated, self.calibrated_at = bool(state["calibrated"]), int(state.get("calibrated_at", 0))

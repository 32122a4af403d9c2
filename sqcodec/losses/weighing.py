"""How loss terms add up: weights, limits, and a gradient balancer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sqcodec.distributed import shared_sum, world


def limit(loss: Tensor, most: float) -> Tensor:
    """A loss above ``most`` rescaled to it, which bounds its gradient (L3AC's "limited to m")."""
    return loss * (most / loss.detach().clamp_min(1e-12)).clamp_max(1.0)


class Balancer:
    """Gradient balancer of EnCodec (arXiv 2210.13438, section 3.4).

    The gradient of each term at the decoder's output is scaled to a share of ``total`` in proportion to its weight,
    whatever the term's own scale: sum of total w_i / (sum w) g_i / <|g_i|>, with <> a moving average.
    """

    def __init__(self, decay: float = 0.99, total: float = 1.0) -> None:
        self.decay, self.total = decay, total
        self.norms: dict[str, list[float]] = {}

    def __call__(self, terms: Mapping[str, Tensor], weights: Mapping[str, float], output: Tensor) -> Tensor:
        """A scalar whose gradient at ``output`` is the balanced one; terms of weight 0 are left out."""
        used = {name: term for name, term in terms.items() if weights.get(name, 0.0) > 0}
        whole = sum(weights[name] for name in used)
        mixed = torch.zeros_like(output)
        for name, term in used.items():
            (gradient,) = torch.autograd.grad(term, output, retain_graph=True)
            share = self.total * weights[name] / whole
            mixed = mixed + gradient * (share / self._average(name, _norm(gradient)))
        return (output * mixed.detach()).sum()

    def _average(self, name: str, norm: float) -> float:
        value, mass = self.norms.get(name, [0.0, 0.0])
        value = self.decay * value + (1 - self.decay) * norm
        mass = self.decay * mass + (1 - self.decay)
        self.norms[name] = [value, mass]
        return value / mass + 1e-12

    def state_dict(self) -> dict[str, list[float]]:
        return dict(self.norms)

    def load_state_dict(self, state: Mapping[str, list[float]]) -> None:
        self.norms = {name: list(values) for name, values in state.items()}


def _norm(gradient: Tensor) -> float:
    """The norm of the whole batch's gradient, of which each process holds its rows times the number of processes."""
    return float(shared_sum(gradient.double().square().sum()).sqrt()) / world()[1]

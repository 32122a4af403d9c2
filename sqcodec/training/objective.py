"""From named terms to the one number that is minimised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sqcodec.losses.weighing import Balancer, limit
from sqcodec.training.recipe import Recipe
from sqcodec.training.step import StepOutput

RECONSTRUCTION = ("mel", "stft", "waveform", "si_sdr", "resolution", "loudness", "intelligibility", "perceptual")
ADVERSARIAL = ("adversarial", "feature_matching")
TOKENS = ("semantic", "consistency")
"""Of the tokens alone: no gradient of theirs passes through the output."""


class Objective:
    """Weighs the terms of a step as the recipe says: a plain sum, with limits, or balanced by gradients."""

    def __init__(self, recipe: Recipe) -> None:
        loss = recipe.loss
        self.weights = {name: getattr(loss, name) for name in RECONSTRUCTION}
        self.adversarial_weights = {
            "adversarial": recipe.adversarial.weight, "feature_matching": recipe.adversarial.feature_matching,
        }  # fmt: skip
        self.token_weights = {name: getattr(loss, name) for name in TOKENS}
        self.limits = loss.limits
        known = (*self.weights, *ADVERSARIAL, *TOKENS, "reconstruction", "discrimination")
        for name in self.limits:
            if name not in known:
                raise ValueError(f"Unknown term 'loss.limits.{name}'. Choose one of: {', '.join(known)}.")
        if self.limits and loss.balancer:
            raise ValueError(
                f"loss.limits is {self.limits} and loss.balancer is true: a balancer scales gradients, whatever a term "
                "counts. Set loss.balancer=false, or loss.limits={}."
            )
        self.balancer = Balancer() if loss.balancer else None

    def total(self, result: StepOutput, ramp: float = 1.0) -> Tensor:
        """The scalar to go backward from. ``ramp`` scales the adversarial weights."""
        terms = result.terms
        fixed = terms["norm"]
        for name, weight in self.token_weights.items():
            if name in terms:
                fixed = fixed + self._limited(name, weight * terms[name])
        weights = self.weights | {name: ramp * weight for name, weight in self.adversarial_weights.items()}
        if self.balancer is not None:
            counted = {name: term for name, term in terms.items() if name in weights}
            return fixed + self.balancer(counted, weights, result.output)
        weighted = {name: self._limited(name, weights[name] * terms[name]) for name in weights if name in terms}
        reconstruction = sum(term for name, term in weighted.items() if name not in ADVERSARIAL)
        total = fixed + self._limited("reconstruction", reconstruction)  # type: ignore[arg-type]
        judged = [weighted[name] for name in ADVERSARIAL if name in weighted]
        return total + self._limited("discrimination", sum(judged[1:], judged[0])) if judged else total

    def state_dict(self) -> dict[str, Any]:
        return self.balancer.state_dict() if self.balancer else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.balancer:
            self.balancer.load_state_dict(state)

    def _limited(self, name: str, value: Tensor) -> Tensor:
        return limit(value, self.limits[name]) if name in self.limits else value

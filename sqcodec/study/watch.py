"""What is watched while a run trains: gradients, time, and whether the codebook collapses."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sqcodec.training.loop import Trainer

INTERVAL = 20
"""Steps whose tokens are counted together."""
COLLAPSED_SHARE = 0.02
"""A codebook counts as collapsed where the perplexity is below this share of what it could be, ..."""
COLLAPSED_DROP = 0.5
"""... or below this share of the highest one before."""


class WatchedTrainer(Trainer):
    """Trains as ``sqcodec train`` does, and keeps per-step numbers. It scores nothing itself."""

    fits_codebook = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.encoder_norms: list[float] = []
        self.seconds: list[float] = []
        self.quantizer_seconds: list[float] = []
        self.perplexities: list[float] = []
        self.most_tokens = 1
        self._tokens: list[Tensor] = []
        self._has_codes = self.recipe.model.quantizer.kind not in ("vp", "vp_tree", "none")  # in training
        self.network.quantizer.register_forward_pre_hook(self._enter)
        self.network.quantizer.register_forward_hook(self._leave)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """All that the gradient reaches through the quantizer only."""
        own = ("decoder.", "join.", "head", "quantizer.")
        found = [p for name, p in self.network.named_parameters() if not name.startswith(own)]
        return found + list(self.network.quantizer.project_in.parameters())

    def gradient(self, step: int) -> Tensor:
        """The encoder's gradient on the batch of a step, one vector; nothing is updated."""
        torch.manual_seed(1_000_003 + step)
        self.network.zero_grad(set_to_none=True)
        result = self.forward(torch.from_numpy(self.sampler.batch(step)).to(self.device), step)
        self.objective.total(result).backward()
        found = [p.grad.detach().flatten() for p in self.encoder_parameters() if p.grad is not None]
        self.network.zero_grad(set_to_none=True)
        return torch.cat(found).float()

    def _enter(self, module: nn.Module, arguments: Any) -> None:
        self._entered = time.process_time()

    def _leave(self, module: nn.Module, arguments: Any, output: Any) -> None:
        if module.training:
            self.quantizer_seconds.append(time.process_time() - self._entered)
            if self._has_codes:
                self._tokens.append(output.indices.detach().flatten())

    def _train_step(self) -> dict[str, float] | None:
        started = time.process_time()
        row = super()._train_step()
        self.seconds.append(time.process_time() - started)
        if len(self._tokens) >= INTERVAL:
            tokens = torch.cat(self._tokens)
            self.perplexities.append(perplexity(tokens))
            self.most_tokens = len(tokens)
            self._tokens = []
        return row

    def _update(self) -> float:
        gradients = [p.grad for p in self.encoder_parameters() if p.grad is not None]
        self.encoder_norms.append(float(nn.utils.get_total_norm(gradients)))
        return super()._update()

    def _validate(self) -> None:
        pass

    def numbers(self, codebook_size: int) -> dict[str, Any]:
        """Gradients of the second half of the run, CPU seconds a step (median), and collapse."""
        possible = min(codebook_size, self.most_tokens)
        late = np.array(self.encoder_norms[len(self.encoder_norms) // 2 :])
        return {
            "gradient_norm": float(late.mean()),
            "gradient_norm_spread": float(late.std() / late.mean()),
            "step_seconds": float(np.median(self.seconds)),
            "quantizer_seconds": float(np.median(self.quantizer_seconds)),
            "perplexities": [round(value, 1) for value in self.perplexities],
            "collapses": collapses(self.perplexities, possible) if self._has_codes else None,
        }


def perplexity(tokens: Tensor) -> float:
    """exp(entropy) of the histogram of tokens [M]."""
    _, counts = tokens.unique(return_counts=True)
    share = counts.double() / counts.sum()
    return float((-(share * share.log()).sum()).exp())


def collapses(perplexities: list[float], most: int) -> int:
    """How often the perplexity of an interval fell below 2 % of ``most``, or below half of its highest before."""
    count, highest, was_low = 0, 0.0, False
    for value in perplexities:
        is_low = value < max(COLLAPSED_SHARE * most, COLLAPSED_DROP * highest)
        count += is_low and not was_low
        was_low, highest = is_low, max(highest, value)
    return count


def gradient_variance(trainer: WatchedTrainer, first: int, batches: int = 6) -> float:
    """Variance of the encoder's gradient over batches and noise at the same weights: the trace of its covariance.

    Batches are those of steps from ``first`` on. It holds what batches differ by and what the quantizer draws.
    """
    trainer.network.train()
    vectors = torch.stack([trainer.gradient(first + number) for number in range(batches)])
    return float((vectors - vectors.mean(0)).square().sum() / (batches - 1))

"""Guard-rails: what to do about numbers that are none, and about discriminators or codebooks that collapse."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger(__name__)

COLLAPSED_DISCRIMINATOR, WON_ACCURACY = 0.02, 0.995
COLLAPSED_CODES = 0.02


@dataclass
class Rollbacks:
    """Steps that gave no finite gradient: they are left out after the run went back to its last saved state.

    The learning rate is halved each time, since the same step with the same weights would do the same again.
    """

    most: int
    skipped: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Share of the learning rate that is left."""
        return 0.5 ** len(self.skipped)

    def add(self, step: int, folder: object) -> None:
        """Notes a bad step. Raises FloatingPointError after too many."""
        if len(self.skipped) >= self.most:
            raise FloatingPointError(
                f"The gradient is not finite at step {step}, after {self.most} rollbacks (steps {self.skipped}). "
                f"The last good state is in '{folder}': lower train.learning_rate and start the command again."
            )
        self.skipped.append(step)
        log.warning(
            "step %d gave no finite gradient: back to the last saved state, this step left out, learning rate halved "
            "(rollback %d of %d)", step, len(self.skipped), self.most,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": list(self.skipped)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.skipped = list(state["skipped"])


def alarms(row: Mapping[str, float], codebook_size: int) -> list[str]:
    """What is wrong with an interval's or a validation's numbers, in words."""
    found = []
    loss = row.get("discriminator")
    if loss is not None and loss < COLLAPSED_DISCRIMINATOR and row.get("discriminator_accuracy", 0) > WON_ACCURACY:
        found.append(
            f"the discriminators always win (loss {loss:.3g}): the generator learns nothing from them. Lower "
            "adversarial.learning_rate or raise adversarial.update_every"
        )
    used, tokens = row.get("validation_perplexity"), row.get("validation_tokens")
    if used is not None and tokens is not None and used < COLLAPSED_CODES * min(codebook_size, tokens):
        found.append(
            f"the codebook collapses: {used:.0f} codes in effect among {tokens:.0f} tokens of {codebook_size} "
            "possible codes. Lower train.learning_rate, or lengthen train.blend_steps"
        )
    return found

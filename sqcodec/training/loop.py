"""The training loop: a generator, with or without discriminators, resumable bit for bit.

Every source of randomness derives from (seed, step), so a run continues from its state file exactly as if it had
not stopped.
"""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path

import torch
from torch import nn

from sqcodec.checkpoint import (
    load_model,
    load_training_state,
    load_weights,
    save_model,
    save_training_state,
    write_atomically,
)
from sqcodec.data.cache import AudioCache, build_cache
from sqcodec.data.manifest import hold_out_speakers, read_manifest
from sqcodec.data.segments import SegmentSampler
from sqcodec.losses.spectral import MultiScaleSpectralLoss
from sqcodec.nn import build_network
from sqcodec.training.adversary import Adversary
from sqcodec.training.optimizers import build_optimizers, learning_rate, parameters, set_learning_rate
from sqcodec.training.recipe import Recipe
from sqcodec.training.step import Step, StepOutput
from sqcodec.training.validation import validate

log = logging.getLogger(__name__)

STATE_NAME = "state.pt"


class Trainer:
    """One run: its folder holds ``recipe.json``, ``metrics.jsonl``, ``state.pt`` and ``model/`` (the EMA weights)."""

    def __init__(self, recipe: Recipe, folder: str | Path, cache_folder: str | Path | None = None) -> None:
        self.recipe, self.folder = recipe, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        data, train = recipe.data, recipe.train
        clips, held_out = hold_out_speakers(
            read_manifest(data.manifest, data.split or None), data.validation_speakers
        )
        cache_folder = Path(cache_folder or self.folder / "cache")
        rate = recipe.model.sample_rate
        corpus = build_cache(clips, cache_folder, rate)
        self.validation: AudioCache | None = build_cache(held_out, cache_folder, rate) if held_out else None
        torch.manual_seed(train.seed)
        self.network = build_network(recipe.model)
        self.average = build_network(recipe.model)
        self.average.load_state_dict(self.network.state_dict())
        self.average.requires_grad_(False).eval()
        frame = recipe.model.hop_length * recipe.model.transformer.tokens_per_frame
        length = math.ceil(data.segment_seconds * rate / frame) * frame
        self.sampler = SegmentSampler(corpus, data.batch_size, length, (data.gain_db[0], data.gain_db[1]), train.seed)
        spectral = MultiScaleSpectralLoss(rate, tuple(recipe.loss.fft_sizes), tuple(recipe.loss.mel_bands))
        self.step_fn = Step(self.network, spectral, recipe.loss, train)
        self.optimizers = build_optimizers(self.network, train)
        self.adversary: Adversary | None = None
        if recipe.adversarial.enabled:
            self.adversary = Adversary(recipe.adversarial, train, rate)
        self.step = 0
        count = sum(p.numel() for p in self.network.parameters())
        log.info("%.2f M parameters, %.2f h of speech", count / 1e6, corpus.seconds / 3600)

    def initialise_from(self, folder: str | Path) -> None:
        """Starts from the weights of a model or run folder, and its discriminators where it has some."""
        folder = Path(folder)
        if self.adversary is not None and self.adversary.initialise_from(folder):
            log.info("discriminators from '%s'", folder)
        _, tensors, _ = load_model(folder / "model" if (folder / "model").is_dir() else folder)
        load_weights(self.network, tensors)
        load_weights(self.average, tensors)

    def resume(self) -> bool:
        """Loads the run's state, if it has one."""
        path = self.folder / STATE_NAME
        if not path.exists():
            return False
        state = load_training_state(path)
        load_weights(self.network, state["network"])
        load_weights(self.average, state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if self.adversary is not None and "adversary" in state:
            self.adversary.load_state_dict(state["adversary"])
        self.step = state["step"]
        log.info("resumed at step %d", self.step)
        return True

    def save(self) -> None:
        save_training_state(
            self.folder / STATE_NAME,
            {
                "step": self.step,
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            }
            | ({"adversary": self.adversary.state_dict()} if self.adversary else {}),
        )
        if self.adversary:
            self.adversary.save(self.folder)
        save_model(self.folder / "model", self.recipe.model, self.average.state_dict(), {"step": str(self.step)})

    def run(self) -> None:
        """Trains from the current step to ``train.steps``."""
        train = self.recipe.train
        write_atomically(self.folder / "recipe.json", json.dumps(self.recipe.to_dict(), indent=1).encode())
        sums: dict[str, list[float]] = {}
        started, first = time.monotonic(), self.step
        while self.step < train.steps:
            for name, value in self._train_step().items():
                sums.setdefault(name, []).append(value)
            self.step += 1
            if self.step % train.log_every == 0:
                self._log(sums, self.step - first, time.monotonic() - started)
                sums, started, first = {}, time.monotonic(), self.step
            if self.step % train.save_every == 0 or self.step == train.steps:
                self.save()
            if self.validation and (self.step % train.validate_every == 0 or self.step == train.steps):
                scores = validate(self.average, self.validation, self.recipe.data)
                self._write({"step": self.step, **scores})
                log.info("step %d validation %s", self.step, _format(scores))

    def _train_step(self) -> dict[str, float]:
        train = self.recipe.train
        set_learning_rate(self.optimizers, learning_rate(self.step, train))
        torch.manual_seed((train.seed << 32) + self.step)
        result = self.step_fn(torch.from_numpy(self.sampler.batch(self.step)), self.step)
        terms, row = result.terms, {}
        if self.adversary is not None:
            row = self._adversarial_step(self.adversary, result)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        norm = nn.utils.clip_grad_norm_(list(parameters(self.optimizers)), train.clip_norm)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"The gradient is not finite at step {self.step}. Lower train.learning_rate and start the command "
                f"again: it resumes from the last saved state in '{self.folder}'."
            )
        for optimizer in self.optimizers:
            optimizer.step()
        decay = min(train.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1.0 - decay)
        return row | {name: float(term.detach()) for name, term in terms.items()} | {"grad_norm": float(norm)}

    def _adversarial_step(self, adversary: Adversary, result: StepOutput) -> dict[str, float]:
        """Updates the discriminators and adds their terms to ``result``."""
        recipe = self.recipe.adversarial
        output, target = adversary.crop(result.output, result.target, self.step)
        adversary.set_learning_rate(learning_rate(self.step, self.recipe.train) / self.recipe.train.learning_rate)
        row = adversary.update(output, target, self.step)
        ramp = adversary.ramp(self.step)
        if ramp > 0:
            terms = adversary.terms(output, target)
            result.terms |= terms
            extra = recipe.weight * terms["adversarial"] + recipe.feature_matching * terms["feature_matching"]
            result.terms["total"] = result.terms["total"] + ramp * extra
        return row

    def _log(self, sums: dict[str, list[float]], steps: int, seconds: float) -> None:
        row = {name: sum(values) / len(values) for name, values in sums.items()}
        audio = steps * self.sampler.batch_size * self.sampler.segment_length / self.recipe.model.sample_rate
        row["audio_seconds_per_second"] = audio / seconds
        row["learning_rate"] = learning_rate(self.step - 1, self.recipe.train)
        remaining = (self.recipe.train.steps - self.step) * seconds / steps
        log.info("step %d %s eta %.0f min", self.step, _format(row), remaining / 60)
        self._write({"step": self.step, **row})

    def _write(self, row: dict[str, float]) -> None:
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _format(row: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in row.items())

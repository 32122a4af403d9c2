"""The training loop: a generator, with or without discriminators, resumable bit for bit.

Every source of randomness derives from (seed, step), so a run continues from its state file exactly as if it had
not stopped, on one process or several.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sqcodec.checkpoint import load_model, load_weights, save_model
from sqcodec.data.cache import AudioCache
from sqcodec.data.loader import Batches
from sqcodec.distributed import alone, barrier, mean_over_processes, shared_sum, world, wrap
from sqcodec.files import write_atomically
from sqcodec.nn import build_network
from sqcodec.nn.base import CodecNetwork
from sqcodec.quantizers import NestedFSP, VectorPerturbation, VectorQuantizer
from sqcodec.runs import Interruption, has_state, load_state, save_state, trainer_lock
from sqcodec.training import vp
from sqcodec.training.adversary import Adversary
from sqcodec.training.corpus import build_data
from sqcodec.training.objective import Objective
from sqcodec.training.optimizers import build_optimizers, learning_rate, parameters, set_learning_rate
from sqcodec.training.recipe import Recipe
from sqcodec.training.rollback import Rollbacks, alarms
from sqcodec.training.step import Step, StepOutput
from sqcodec.training.tracker import Tracker
from sqcodec.training.validation import validate

log = logging.getLogger(__name__)

NEUTRAL = ("trend_front.", "gates.")
"""Parts of a network that change nothing before they are trained."""
QUANTIZER_MAPS = tuple(f"quantizer.{name}" for name in (
    "project_in.weight", "project_in.bias", "project_out.weight", "project_out.bias",
))  # fmt: skip


class Trainer:
    """One run: its folder holds ``recipe.json``, ``metrics.jsonl``, ``state.pt`` and ``model/`` (the EMA weights).

    With discriminators also ``discriminator/``, with TensorBoard ``tensorboard/``. ``state.previous.pt`` is the state
    before the newest. A trainer holds the folder's lock from its making to the end of ``run``.

    Raises:
        ValueError: another process trains in the folder, or the recipe does not fit; FileNotFoundError: no corpus.
    """

    fits_codebook = True
    """At the end, after vector perturbation."""

    def __init__(
        self,
        recipe: Recipe,
        folder: str | Path,
        cache_folder: str | Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if recipe.train.lost_rate and recipe.model.quantizer.kind == "nested":
            recipe = replace(recipe, model=recipe.model.changed(conceals=True))
        self.recipe, self.folder, self.device = recipe, Path(folder), torch.device(device)
        self.rank, self.processes = world()
        data, train = recipe.data, recipe.train
        if data.batch_size % (self.processes * train.accumulate):
            raise ValueError(
                f"data.batch_size is {data.batch_size}: it must be a multiple of processes x train.accumulate "
                f"({self.processes} x {train.accumulate})."
            )
        rate = recipe.model.sample_rate
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = contextlib.ExitStack()
        if self.rank == 0:
            self.lock.enter_context(trainer_lock(self.folder))
        self.sampler, self.validation = build_data(recipe, cache_folder or self.folder / "cache")
        self.batches = Batches(self.sampler, data.workers, self.device, self.rank, self.processes)
        torch.manual_seed(train.seed)
        self.network = build_network(recipe.model).to(self.device)
        self.average = build_network(recipe.model).to(self.device)
        self.average.load_state_dict(self.network.state_dict())
        self.average.requires_grad_(False).eval()
        self.perturbation: VectorPerturbation | None = None
        if isinstance(self.network.quantizer, VectorQuantizer):
            size, dim = self.network.quantizer.codebook.shape
            self.perturbation = VectorPerturbation(dim, size, recipe.vp)
            self.network.quantizer.perturbation = self.perturbation
        if isinstance(self.network.quantizer, NestedFSP):
            self.network.quantizer.lost_rate = train.lost_rate
            self.network.quantizer.lost_burst = max(1, round(train.lost_ms / 1000 * recipe.model.token_rate))
        targets = self.sampler.targets
        teacher_dim = targets.dim if targets else 0
        self.step_fn = Step(self.network, rate, recipe.loss, train, teacher_dim).to(self.device)
        self.forward = wrap(self.step_fn)
        self.objective = Objective(recipe)
        self.optimizers = build_optimizers(self.network, train, self.step_fn.semantic)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=train.fp16)
        self.adversary: Adversary | None = None
        if recipe.adversarial.enabled:
            self.adversary = Adversary(recipe.adversarial, train, rate, self.device)
        self.rollbacks = Rollbacks(train.most_rollbacks)
        self.tracker = Tracker(self.folder, train.steps, train.tensorboard, speaks=self.rank == 0)
        self.step = self.saved_step = 0
        self.scores_start = False
        self.spent = self.began = 0.0  # s: over all resumptions, by `train.minutes`; when the clock was last read
        count = sum(p.numel() for p in self.network.parameters())
        log.info("%.2f M parameters, %.2f h of speech", count / 1e6, self.sampler.seconds / 3600)

    def initialise_from(self, folder: str | Path) -> None:
        """Starts from the weights of a model or run folder, and its discriminators where it has some.

        Trends and gates that the folder's network lacks start as what changes nothing. The maps of a quantizer of
        another kind or size start from what fits of the folder's.
        """
        folder = Path(folder)
        if self.adversary is not None and self.adversary.initialise_from(folder):
            log.info("discriminators from '%s'", folder)
        config, tensors, _ = load_model(folder / "model" if (folder / "model").is_dir() else folder)
        own = self.network.state_dict()
        if config.quantizer != self.recipe.model.quantizer:
            log.info("another quantizer than that of '%s', which has %s", folder, config.quantizer)
            maps = {name: tensors[name] for name in QUANTIZER_MAPS if name in tensors and name in own}
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("quantizer.")}
            tensors |= {name: tensor for name, tensor in own.items() if name.startswith("quantizer.")}
            tensors |= {name: _laid_over(own[name], tensor) for name, tensor in maps.items()}
        fresh = {name: tensor for name, tensor in own.items() if name.startswith(NEUTRAL) and name not in tensors}
        if fresh:
            log.info("'%s' has no %s: they start as what changes nothing", folder, ", ".join(fresh))
        tensors |= fresh
        load_weights(self.network, tensors)
        load_weights(self.average, tensors)
        self.scores_start = True
        log.info("starting from '%s'", folder)

    def resume(self) -> bool:
        """Loads the run's state, if it has one: the newest that is whole.

        Raises:
            ValueError: it is damaged, as is the one before it; or it is of another recipe or another corpus.
        """
        state = self._read_state()
        if state is None:
            return False
        if state.get("corpus", self.sampler.digest) != self.sampler.digest:
            self._corpus_changed()
        self._load(state)
        self.spent = state.get("seconds", 0.0)
        log.info("resumed at step %d", self.step)
        return True

    def _corpus_changed(self) -> None:
        text = f"The clips to train on are not those that the run in '{self.folder}' was trained on until now"
        if not self.recipe.data.may_change:
            raise ValueError(
                f"{text}: bring them back, give another --out (with --init-from '{self.folder}' to start from its "
                "weights), or go on with the new ones by --set data.may_change=true."
            )
        log.warning("%s; going on, as data.may_change says", text)

    def _read_state(self) -> dict[str, Any] | None:
        """The first process first: it puts a damaged state aside."""
        if self.rank:
            barrier()
        state = load_state(self.folder)
        if not self.rank:
            barrier()
        return state

    def _load(self, state: dict[str, Any]) -> None:
        load_weights(self.network, state["network"])
        load_weights(self.average, state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for name, part in self._parts().items():
            if name in state:
                part.load_state_dict(state[name])
        self.step = self.saved_step = state["step"]

    def _parts(self) -> dict[str, Any]:
        """What else has a state; states from before a part existed lack it."""
        parts = {
            "adversary": self.adversary,
            "perturbation": self.perturbation,
            "objective": self.objective if self.recipe.loss.balancer else None,
            "scaler": self.scaler if self.recipe.train.fp16 else None,
            "semantic": self.step_fn.semantic,
            "rollbacks": self.rollbacks,
            "tracker": self.tracker,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def save(self) -> None:
        """Writes the state and the model; the first process does, the others wait."""
        if self.rank == 0:
            state = {
                "step": self.step,
                "corpus": self.sampler.digest,
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            }
            if self.recipe.train.minutes:
                state["seconds"] = self.spent
            state |= {name: part.state_dict() for name, part in self._parts().items()}
            save_state(self.folder, state)
            self._save_model()
        self.saved_step = self.step
        barrier()

    def _save_model(self) -> None:
        if self.adversary:
            self.adversary.save(self.folder)
        progress = {"step": str(self.step), "steps": str(self.planned)}
        save_model(self.folder / "model", self.recipe.model, self.average.state_dict(), progress)

    @property
    def place(self) -> float:
        """Where in the schedule of ``train.steps`` the run is: at the step, or at the share of ``train.minutes``."""
        train = self.recipe.train
        return min(1.0, self.spent / 60 / train.minutes) * train.steps if train.minutes else self.step

    @property
    def done(self) -> bool:
        return self.place >= self.recipe.train.steps

    @property
    def planned(self) -> int:
        """Steps of the whole run; by ``train.minutes`` what they come to at the speed until now."""
        train = self.recipe.train
        return round(self.step * train.steps / max(self.place, 1e-9)) if train.minutes and self.step else train.steps

    def _look_at_the_clock(self) -> None:
        """All processes go by that of the first. Time counts from the first step on, over all resumptions."""
        now = time.monotonic()
        passed, self.began = now - self.began, now
        if self.processes > 1:
            passed = float(shared_sum(torch.tensor(passed if self.rank == 0 else 0.0, device=self.device)))
        self.spent += passed

    def run(self) -> None:
        """Trains from the current step to ``train.steps``, or for ``train.minutes``. Whatever ends it early, the log's
        last line says where.

        Ctrl-C and SIGTERM end it after the step and a save; a second one ends it at once.
        """
        with self.lock, Interruption(lambda: self.processes == 1 and self.step == self.saved_step) as interruption:
            try:
                self._run(interruption)
            except BaseException as error:
                self.tracker.end()
                log.error(
                    "stopped at step %d of %d (%s). The last saved state is that of step %d in '%s': the same command "
                    "continues from there.", self.step, self.planned, _in_words(error), self.saved_step,
                    self.folder,
                )  # fmt: skip
                raise
            self.tracker.end()

    def _run(self, interruption: Interruption) -> None:
        train = self.recipe.train
        if self.rank == 0:
            write_atomically(self.folder / "recipe.json", json.dumps(self.recipe.to_dict(), indent=1))
        if not has_state(self.folder) and train.steps:
            self.save()  # what a rollback goes back to
        elif self.rank == 0 and self._model_step() != self.step:
            self._save_model()  # a crash came between the state and the model
        audio = self.sampler.batch_size * self.sampler.segment_length / self.recipe.model.sample_rate
        self.began = time.monotonic()
        self.tracker.begin(self.step)
        self._announce(audio)
        if self._validation_due() and not self.tracker.has(self.step, "validation_stoi"):
            self._validate()
        while not self.done:
            row = self._train_step() if self.step not in self.rollbacks.skipped else {}
            if row is None:
                self._roll_back()
                continue
            self.tracker.add(row)
            self.step += 1
            if train.minutes:
                self._look_at_the_clock()
            if self.step % train.log_every == 0:
                self._log(audio)
            asked = self._asked_to_end(interruption)
            if self.step % train.save_every == 0 or self.done or asked:
                self.save()
            if asked and not self.done:
                interruption.end(asked)
            if self._validation_due():
                self._validate()
        if self.fits_codebook and self.perturbation is not None and self.step and not vp.is_finished(self.folder):
            log.info("fitting the codebook")
            vp.finish(self.folder, self.sampler, self.device, train.seed)
        self.tracker.draw()
        log.info("done: %d steps, the model is in '%s'", self.step, self.folder)

    def _announce(self, audio_seconds: float) -> None:
        """Says what is going to happen."""
        train, corpus = self.recipe.train, self.sampler.seconds
        heard = (train.steps - self.step) * audio_seconds
        if self.done:
            return
        if train.minutes:
            left = train.minutes - self.spent / 60
            log.info("%.3g of %.3g minutes left, %.1f s of speech a step", left, train.minutes, audio_seconds)
        else:
            log.info(
                "%d steps of %.1f s of speech: %.1f h, %.2g times the corpus; a line every %d steps, scores every %d",
                train.steps - self.step, audio_seconds, heard / 3600, heard / corpus, train.log_every,
                train.validate_every if self.validation else 0,
            )  # fmt: skip
        if train.compile:
            log.info("compiling: the first step may take minutes (train.compile=false goes without, slower)")

    def _asked_to_end(self, interruption: Interruption) -> int:
        """The signal that asked any process to end, or 0: all stop after the same step."""
        if self.processes == 1:
            return interruption.asked
        total = int(shared_sum(torch.tensor(interruption.asked, device=self.device)))
        return total and (interruption.asked or signal.SIGTERM)

    def _validation_due(self) -> bool:
        train = self.recipe.train
        due = self.step % train.validate_every == 0 or self.done if self.step else self.scores_start
        return bool(self.validation and due)

    def _model_step(self) -> int:
        """The step whose weights the model folder holds; -1 where there is none."""
        try:
            return int(load_model(self.folder / "model")[2].get("step", -1))
        except (OSError, ValueError):
            return -1

    def _train_step(self) -> dict[str, float] | None:
        """One update; None where the gradient is not finite and loss scaling does not account for it."""
        train = self.recipe.train
        share = learning_rate(self.step, train, self.place) * self.rollbacks.rate / train.learning_rate
        set_learning_rate(self.optimizers, train.learning_rate * share)
        torch.manual_seed((train.seed << 32) + self.step)
        if self.perturbation is not None:
            self._calibrate(self.perturbation)
        samples = self.batches.get(self.step).to(self.device, non_blocking=True)
        parts = samples.chunk(train.accumulate)
        taught: Sequence[Tensor | None] = [None] * len(parts)
        features = self.sampler.taught(self.step, self.rank, self.processes)
        if features is not None:
            taught = torch.from_numpy(features).to(self.device, non_blocking=True).chunk(train.accumulate)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        row: dict[str, float] = {}
        for number, (part, teacher) in enumerate(zip(parts, taught, strict=True)):
            result: StepOutput = self.forward(part, self.step, teacher)
            ramp = 1.0
            if self.adversary is not None and self.place >= self.recipe.adversarial.start_step:
                self.adversary.set_learning_rate(share)
                ramp = self.adversary.ramp(self.place)
                row |= self._adversarial_terms(self.adversary, result, ramp, number)
            total = self.objective.total(result, ramp)
            self.scaler.scale(total / train.accumulate).backward()
            for name, term in (result.terms | {"total": total} | result.metrics).items():
                row[name] = row.get(name, 0.0) + float(term.detach()) / train.accumulate
        norm = self._update()
        # The loss scaling of float16 finds its scale by steps that overflow; far below 1 it is not the scale.
        if not math.isfinite(norm) and (not train.fp16 or self.scaler.get_scale() < 1.0):
            return None
        return row | {"grad_norm": norm}

    def _update(self) -> float:
        """Clips, steps and averages; the gradient's norm. Nothing changes where that is not finite."""
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = float(nn.utils.clip_grad_norm_(list(parameters(self.optimizers)), self.recipe.train.clip_norm))
        if not math.isfinite(norm) and not self.recipe.train.fp16:
            return norm
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        decay = min(self.recipe.train.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1.0 - decay)
            for kept, own in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(own)  # codebooks of moving averages
        return norm

    def _adversarial_terms(
        self, adversary: Adversary, result: StepOutput, ramp: float, part: int
    ) -> dict[str, float]:
        """Updates the discriminators and adds their terms to ``result``."""
        output, target = adversary.crop(result.output, result.target, self.step)
        row = adversary.update(output, target, self.step, part)
        if ramp > 0:
            result.terms |= adversary.terms(output, target)
        return row

    def _calibrate(self, perturbation: VectorPerturbation) -> None:
        if vp.calibration_due(perturbation, self.step):
            log.info("eta calibrated to %.3f", vp.calibrate(perturbation, self.recipe.train.seed))
            perturbation.calibrated_at = self.step

    def _roll_back(self) -> None:
        """Back to the last saved state, without the step that broke; the state remembers it."""
        bad, earlier = self.step, list(self.rollbacks.skipped)
        state = self._read_state()
        assert state is not None
        self._load(state)
        self.rollbacks.skipped = earlier
        self.rollbacks.add(bad, self.folder)
        barrier()
        self.save()
        self.tracker.begin(self.step)

    def _log(self, audio_seconds: float) -> None:
        self.tracker.sums = {
            name: [value] for name, value in mean_over_processes(self.tracker.means(), self.device).items()
        }
        self.tracker.steps = self.planned
        rate = self.optimizers[0].param_groups[0]["lr"]
        row = self.tracker.interval(self.step, audio_seconds, learning_rate=rate)
        self._warn(row)

    def _validate(self) -> None:
        """The first process scores, the others wait."""
        if self.rank == 0 and self.validation is not None:
            with alone():
                self._score(self.validation)
        barrier()

    def _score(self, validation: AudioCache) -> None:
        network: CodecNetwork = self.average
        if self.perturbation is not None:
            copied = vp.with_quick_codes(self.average, self.perturbation, self.recipe.train.seed)
            if copied is None:
                log.info("no validation before the queue of latents is full")
                return
            network = copied
        scores = validate(network, validation, self.recipe.data, self._sample)
        self.tracker.write(self.step, scores)
        self.tracker.draw()
        self._warn(scores)

    def _sample(self, name: str, samples: Tensor) -> None:
        self.tracker.sample(self.step, name, samples, self.recipe.model.sample_rate)

    def _warn(self, row: dict[str, float]) -> None:
        if self.rank == 0:
            for text in alarms(row, self.recipe.model.codebook_size):
                log.warning("step %d: %s", self.step, text)


def _laid_over(below: Tensor, above: Tensor) -> Tensor:
    """``below`` with the leading part that both have taken from ``above``."""
    merged, part = below.clone(), tuple(slice(0, min(sizes)) for sizes in zip(below.shape, above.shape, strict=True))
    merged[part] = above[part]
    return merged


def _in_words(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SystemExit):
        return "terminated"
    return f"{type(error).__name__}: {error}"

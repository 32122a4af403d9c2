"""Training of a speech language model, on one device, resumable.

    RUN/model/        config.json, model.safetensors: SpeechLM.from_pretrained(RUN/model)
    RUN/state.pt      optimizer and step, to go on from; RUN/state.previous.pt: those before
    RUN/metrics.jsonl one line for each report
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sqcodec.files import partial_path, published, write_atomically
from sqcodec.lm.data import Batches, Clips, divide_clips, text_prefixes
from sqcodec.lm.model import SpeechLM, SpeechLMConfig
from sqcodec.lm.recipe import LMRecipe
from sqcodec.runs import (
    Interruption,
    add_metrics,
    cut_metrics,
    has_metrics,
    load_state,
    save_state,
    trainer_lock,
)
from sqcodec.schedule import half_cosine
from sqcodec.tokens.dataset import TokenDataset
from sqcodec.tokens.ngrams import score_orders

_log = logging.getLogger(__name__)

MODEL = "model"


@dataclass(frozen=True)
class Scores:
    """Cross-entropy of validation clips in bits a token, beside n-gram models of the same training clips
    (``sqcodec.tokens.ngrams``); ``entropy``: of the training counts themselves."""

    bits: float
    unigram: float
    bigram: float
    trigram: float
    entropy: float
    tokens: int

    @property
    def perplexity(self) -> float:
        return 2.0**self.bits


def train(tokens: str | Path, run: str | Path, recipe: LMRecipe, device: str = "cpu") -> Scores:
    """Trains, or goes on with, a run, and scores it at the end. Ctrl-C and SIGTERM end it after the step and a save.

    Raises:
        ValueError: the run was begun with another recipe or other tokens, another process trains in its folder, its
            state is damaged, or there is too little to train on.
    """
    run = Path(run)
    run.mkdir(parents=True, exist_ok=True)
    with trainer_lock(run):
        return _train(TokenDataset(tokens), run, recipe, device)


def _train(dataset: TokenDataset, run: Path, recipe: LMRecipe, device: str) -> Scores:
    info = dataset.info
    clips = divide_clips(dataset, recipe.split, recipe.validation, recipe.text)
    begun = {"recipe": asdict(recipe), "codec_hash": info.weights_hash, "train_clips": len(clips.train)}
    _check_begun(run / "recipe.json", begun)
    torch.manual_seed(recipe.seed)
    config = SpeechLMConfig(
        levels=list(info.levels or (info.codebook_size,)),
        hidden_size=recipe.hidden_size,
        num_layers=recipe.num_layers,
        num_heads=recipe.num_heads,
        intermediate_size=recipe.intermediate_size,
        head_width=recipe.head_width,
        dropout=recipe.dropout,
        alphabet=clips.alphabet,
        codec=info.model,
        codec_hash=info.weights_hash,
    )
    model = SpeechLM(config)
    model.to(torch.device(device))  # type: ignore[arg-type]
    _log.info("%s parameters, %d training clips, %d validation clips, %d tokens",
              f"{sum(p.numel() for p in model.parameters()):,}", len(clips.train), len(clips.validation),
              int(dataset.lengths[clips.train].sum()))  # fmt: skip
    prefixes = text_prefixes(dataset, clips.train, clips.alphabet)
    batches = Batches(dataset, clips.train, prefixes, recipe.length, recipe.batch_size, recipe.seed)
    optimizer = torch.optim.AdamW(_groups(model, recipe.weight_decay), betas=(0.9, 0.95))
    step, spent = _resume(run, model, optimizer)
    saved = step
    begin = time.perf_counter() - spent
    cut_metrics(run, step)
    with Interruption(lambda: step == saved) as interruption:
        try:
            while (progress := _progress(step, recipe, time.perf_counter() - begin)) < 1:
                rate = _learning_rate(step, progress, recipe)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                torch.manual_seed(recipe.seed * 1_000_003 + step)  # dropout does not depend on where a run stopped
                loss = _step(model, optimizer, batches[step], recipe)
                step += 1
                elapsed = time.perf_counter() - begin
                if step % recipe.report == 0 or step == recipe.steps:
                    done = step * recipe.batch_size * recipe.length
                    line = {
                        "step": step,
                        "bits": round(loss / math.log(2), 4),
                        "epoch": round(step / batches.per_epoch, 3),
                        "learning_rate": rate,
                        "tokens_per_second": round(done / elapsed, 1),
                        "seconds": round(elapsed, 1),
                    }
                    _report(run, line)
                if step % recipe.score == 0:
                    bits, _ = score_model(model, dataset, clips.validation[:40])
                    _report(run, {"step": step, "validation_bits_of_40_clips": round(bits, 4)})
                asked = interruption.asked
                if asked or step % recipe.score == 0:
                    _save(run, model, optimizer, step, time.perf_counter() - begin)
                    saved = step
                if asked:
                    interruption.end(asked)
        except BaseException:
            _log.error("stopped at step %d of %d; step %d is saved in '%s': the same command continues from there.",
                       step, recipe.steps, saved, run)  # fmt: skip
            raise
    _save(run, model, optimizer, step, time.perf_counter() - begin)
    scores = score(model, dataset, clips)
    if not has_metrics(run, step, "final"):
        _report(run, {"step": step, "final": asdict(scores)})
    return scores


def score(model: SpeechLM, dataset: TokenDataset, clips: Clips) -> Scores:
    """The model and the n-grams on the validation clips: on every token but the first two of each clip."""
    bits, count = score_model(model, dataset, clips.validation)
    streams = [[dataset.tokens(int(index)) for index in part] for part in (clips.train, clips.validation)]
    ngrams = score_orders(streams[0], streams[1], model.config.levels)
    return Scores(bits, *ngrams.bits, ngrams.plug_in[0], count)


@torch.inference_mode()
def score_model(model: SpeechLM, dataset: TokenDataset, clips: np.ndarray) -> tuple[float, int]:
    """Bits a token, and tokens scored: each clip by itself, from its third token on, its end not counted."""
    model.eval()
    size, nats, count = model.config.codebook_size, 0.0, 0
    prefixes = text_prefixes(dataset, clips, model.config.alphabet)
    for place, index in enumerate(clips):
        prefix = np.zeros(0, np.int64) if prefixes is None else prefixes[place]
        tokens = dataset.tokens(int(index))[: model.config.max_positions - len(prefix) - 1]
        ids = torch.from_numpy(np.concatenate([prefix, [size], tokens]))[None].to(model.device)
        values = model(ids).nats[0, len(prefix) + 2 :]
        nats, count = nats + float(values.sum()), count + len(values)
    return nats / math.log(2) / max(count, 1), count


def load_lm(run: str | Path) -> SpeechLM:
    """The model of a run folder (or a model folder), in evaluation mode. FileNotFoundError where there is none."""
    folder = Path(run) / MODEL if (Path(run) / MODEL).is_dir() else Path(run)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"'{run}' holds no language model: train one with 'sqcodec lm train'.")
    return SpeechLM.from_pretrained(folder).eval()


def _step(
    model: SpeechLM, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor], recipe: LMRecipe
) -> float:
    model.train()
    ids, clips = (part.to(model.device) for part in batch)
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=recipe.bfloat16):
        loss = model(ids, clips=clips).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def _progress(step: int, recipe: LMRecipe, elapsed: float) -> float:
    """Of the run, 0 to 1: by steps, or by time where that runs out first."""
    by_time = elapsed / (60 * recipe.minutes) if recipe.minutes else 0.0
    return max(step / recipe.steps, by_time)


def _learning_rate(step: int, progress: float, recipe: LMRecipe) -> float:
    """Linear warm-up, then a cosine down to a twentieth at the end."""
    warm = min(1.0, (step + 1) / max(recipe.warmup, 1))
    return recipe.learning_rate * warm * half_cosine(1.0, 0.05, progress)


def _groups(model: SpeechLM, weight_decay: float) -> list[dict]:
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _check_begun(path: Path, begun: dict) -> None:
    if not path.is_file():
        write_atomically(path, json.dumps(begun, indent=2) + "\n")
        return
    found = json.loads(path.read_text("utf-8"))
    if found != begun:
        old, new = found | found["recipe"], begun | begun["recipe"]
        changed = [name for name in new if name != "recipe" and old.get(name) != new[name]]
        raise ValueError(f"'{path.parent}' was begun with other values of {', '.join(changed)}: use another folder.")


def _resume(run: Path, model: SpeechLM, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    state = load_state(run)
    if state is None:
        return 0, 0.0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    _log.info("going on at step %d", state["step"])
    return state["step"], state["seconds"]


def _save(run: Path, model: SpeechLM, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}
    save_state(run, state)
    (run / MODEL).mkdir(exist_ok=True)
    partial = partial_path(run / MODEL)
    try:
        model.save_pretrained(partial)
        for path in sorted(partial.iterdir()):  # file by file: there is a whole model at every moment
            with published(run / MODEL / path.name) as target:
                path.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _report(run: Path, line: dict) -> None:
    add_metrics(run, line)
    _log.info("%s", ", ".join(f"{name} {value}" for name, value in line.items()))

"""One run of a study: train, fit where that is due, score."""

from __future__ import annotations

import copy
import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from sqcodec.evaluation.memory import peak_mib
from sqcodec.nn.base import CodecNetwork
from sqcodec.quantizers import VectorQuantizer, build_quantizer
from sqcodec.quantizers.kmeans import fit_codes
from sqcodec.study.plan import Job, Plan
from sqcodec.study.scores import codebook_numbers, quality, training_tokens
from sqcodec.study.watch import WatchedTrainer, gradient_variance
from sqcodec.training.vp import collect_latents

FIT_POINTS_PER_CODE, FIT_ITERATIONS = 8, 8
AFTER = 1_000_000
"""Batches beyond this step are never trained on: gradients and tokens are measured with them."""


def run_trial(plan: Plan, job: Job, folder: Path, cache: str | None, device: str) -> dict[str, Any]:
    """Trains and scores one job, beginning anew in ``folder``. Returns what the results store keeps."""
    recipe = plan.recipe(job)
    idle = peak_mib()
    started = time.process_time()
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
    trainer = WatchedTrainer(recipe, folder, cache, device)
    network, quantizer = trainer.network, recipe.model.quantizer
    if trainer.validation is None:
        raise ValueError("The base recipe of a study must hold out validation speakers (data.validation_speakers).")
    trainer.run()
    result: dict[str, Any] = {
        "key": job.key, "row": job.row, "size": job.size, "seed": job.seed, "steps": recipe.train.steps,
        "label": plan.rows[job.row].label, "quantizer": quantizer.to_dict(),
        "parameters": sum(p.numel() for p in network.parameters()),
        "quantizer_parameters": sum(p.numel() for p in network.quantizer.parameters()),
    }  # fmt: skip
    result |= trainer.numbers(recipe.model.codebook_size)
    result["memory_mib"] = peak_mib() - idle
    result["gradient_variance"] = gradient_variance(trainer, AFTER)
    result["train_seconds"] = time.process_time() - started
    fit(trainer, network, plan.tokens)
    result |= score(trainer, network, plan.tokens)
    if job.other_sizes and quantizer.kind in ("fsq", "fsp", "vp"):
        result["other_sizes"] = {
            size: score(trainer, other, plan.tokens)
            for size in job.other_sizes
            if size != job.size
            for other in [with_size(trainer, size, plan.tokens)]
        }
    result["cpu_seconds"] = time.process_time() - started
    return result


def fit(trainer: WatchedTrainer, network: CodecNetwork, points: int) -> None:
    """Fits the codebook of a quantizer that trains without one to at least ``points`` training latents."""
    quantizer = network.quantizer
    if not isinstance(quantizer, VectorQuantizer):
        return
    count = max(points, FIT_POINTS_PER_CODE * quantizer.codebook_size)
    latents = collect_latents(network, trainer.sampler, count, trainer.device)
    fits = fit_codes(latents, quantizer.codebook_size, FIT_ITERATIONS, trainer.recipe.train.seed)
    quantizer.set_codebook(list(fits)[-1].codes.to(trainer.device))


def score(trainer: WatchedTrainer, network: CodecNetwork, tokens: int) -> dict[str, Any]:
    """Quality and, where there are tokens, the use of the codebook over ``tokens`` of training and all validated."""
    assert trainer.validation is not None
    values, validation = quality(network, trainer.validation, trainer.recipe.data)
    config = network.config.quantizer
    if config.kind == "none":
        return dict(values)
    train = training_tokens(network, trainer.sampler, tokens, AFTER)
    return values | codebook_numbers(train, validation, config, network.config.token_rate)


def with_size(trainer: WatchedTrainer, size: int, points: int) -> CodecNetwork:
    """The trained network with about ``size`` codes: vp is fitted again, fsq and fsp get other levels.

    Each dimension keeps its share of the levels: round(L (size / K)^(1 / D)), at least 2.
    """
    network = trainer.network
    old = network.config.quantizer
    if old.kind == "vp":
        table: dict[str, Any] = {"size": size}
    else:
        factor = (size / old.codebook_size) ** (1 / len(old.levels))
        table = {"levels": tuple(max(2, round(level * factor)) for level in old.levels)}
    config = dataclasses.replace(network.config, quantizer=dataclasses.replace(old, **table))
    other = copy.copy(network)
    other._modules = dict(network._modules)
    other.config = config
    other.quantizer = build_quantizer(config.quantizer, config.feature_dim).to(trainer.device)
    for name in ("project_in", "project_out"):
        getattr(other.quantizer, name).load_state_dict(getattr(network.quantizer, name).state_dict())
    with torch.random.fork_rng(devices=[]):
        fit(trainer, other, points)
    return other

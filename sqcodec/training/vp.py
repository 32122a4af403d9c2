"""The trainer's part of vector perturbation: calibration, codebooks for validation, the codebook at the end.

Letters: M latents, D dimensions, K codes.
"""

from __future__ import annotations

import copy
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sqcodec.checkpoint import load_model, load_weights, save_model
from sqcodec.data.segments import SegmentSampler
from sqcodec.distributed import alone, barrier, first_of, world
from sqcodec.nn import build_network
from sqcodec.nn.base import CodecNetwork
from sqcodec.quantizers import VectorPerturbation, VectorQuantizer
from sqcodec.quantizers.kmeans import Fit, fit_codes
from sqcodec.runs import read_state, write_state

log = logging.getLogger(__name__)

QUICK_ITERATIONS, QUICK_POINTS_PER_CODE = 3, 16
SAMPLE = 4096
"""Latents that eta is calibrated on, at most a quarter of the queue."""
PER_CODE, ITERATIONS = 32, 20
"""Of the codebook at the end: latents for each code, and iterations of K-means."""


def quick_codes(perturbation: VectorPerturbation, seed: int) -> tuple[Tensor, Tensor]:
    """A codebook [K, D] from a part of the queue, good enough to calibrate or to validate with, and a sample [M, D] of
    the latents that it was not fitted to: to those that it was, it is nearer than to new ones."""
    generator = torch.Generator().manual_seed(seed)
    queue = perturbation.queue[: perturbation.filled]
    order = torch.randperm(len(queue), generator=generator).to(queue.device)
    held_out = min(SAMPLE, len(queue) // 4)
    part = order[held_out:][: perturbation.codebook_size * QUICK_POINTS_PER_CODE]
    fits = fit_codes(queue[part], perturbation.codebook_size, QUICK_ITERATIONS, seed)
    return list(fits)[-1].codes, queue[order[:held_out]]


def calibration_due(perturbation: VectorPerturbation, step: int) -> bool:
    """As soon as the queue is full, then every ``calibrate_every`` steps; before the first of those also each time that
    the run is four times as long, since the first latents are distributed quite unlike later ones."""
    every, last = perturbation.options.calibrate_every, perturbation.calibrated_at
    if not every or not perturbation.full:
        return False
    return not perturbation.calibrated or step % every == 0 or 0 < 4 * last <= step < every


def calibrate(perturbation: VectorPerturbation, seed: int) -> float:
    """Calibrates eta on latents of the queue, the same in all processes; the global random state is left as it was."""
    queue = perturbation.queue
    devices = [queue.device] if queue.is_cuda else []
    with torch.random.fork_rng(devices), alone():  # every process has the whole queue
        torch.manual_seed(seed)
        codes, sample = quick_codes(perturbation, seed)
        # Members of the queue are their own nearest neighbours: a hair's breadth keeps the density finite.
        perturbation.calibrate(codes, sample + 1e-3 * sample.std() * torch.randn_like(sample))
    perturbation.eta = float(first_of(torch.tensor(perturbation.eta, dtype=torch.float64, device=queue.device)))
    return perturbation.eta


def with_quick_codes(network: CodecNetwork, perturbation: VectorPerturbation, seed: int) -> CodecNetwork | None:
    """A copy of a network with a provisional codebook, or None before the queue is full."""
    if not perturbation.full:
        return None
    copied = copy.deepcopy(network)
    quantizer = copied.quantizer
    assert isinstance(quantizer, VectorQuantizer)
    quantizer.set_codebook(quick_codes(perturbation, seed)[0].to(quantizer.codebook.device))
    return copied


def finish(
    run: Path, sampler: SegmentSampler, device: torch.device, seed: int, per_code: int = PER_CODE,
    iterations: int = ITERATIONS,
) -> None:
    """Fits the codebook of a run and puts it into the run's model; started again it continues."""
    config, tensors, metadata = load_model(run / "model")
    network = build_network(config).to(device)
    load_weights(network, tensors)
    work = run / "codebook"
    fit = fit_codebook(network, sampler, work, per_code, iterations, seed)
    barrier()
    if world()[0] == 0:
        save_model(run / "model", config, network.state_dict(), metadata)
        shutil.rmtree(work)
        log.info("%d codes in '%s', mean distance %.5f", len(fit.codes), run / "model", fit.error)
    barrier()


def is_finished(run: Path) -> bool:
    """Whether a run's model has its codebook."""
    return bool(load_model(run / "model")[1]["quantizer.fitted"])


@torch.no_grad()
def collect_latents(network: CodecNetwork, sampler: SegmentSampler, count: int, device: torch.device) -> Tensor:
    """About ``count`` latents [M, D] of random training segments; processes take different ones."""
    rank, size = world()
    found: list[Tensor] = []
    step, total = 0, 0
    network.eval()
    while total < count:
        samples = torch.from_numpy(sampler.batch(step * size + rank)).to(device)
        latents = network.quantizer.latents(network.encode_features(samples[:, None])).flatten(0, -2)
        found.append(latents.cpu())
        total += len(latents)
        step += 1
        if step % 50 == 0:
            log.info("%d of %d latents", total, count)
    return torch.cat(found)[:count]


def fit_codebook(
    network: CodecNetwork, sampler: SegmentSampler, folder: Path, per_code: int, iterations: int, seed: int
) -> Fit:
    """Fits the codebook of a network on latents of its training set; started again it continues.

    Latents and the last iteration are kept in ``folder`` until it is done.
    """
    quantizer = network.quantizer
    if not isinstance(quantizer, VectorQuantizer):
        raise ValueError("This model has no vector quantizer: fsq and fsp need no codebook.")
    rank, size = world()
    folder.mkdir(parents=True, exist_ok=True)
    latents_path, fit_path = folder / f"latents.{rank}-of-{size}.pt", folder / "fit.pt"
    codes = len(quantizer.codebook)
    count = -(-per_code * codes // size)
    kept = _kept(latents_path)
    if kept is not None:
        latents = kept["latents"]
    else:
        latents = collect_latents(network, sampler, count, quantizer.codebook.device)
        write_state(latents_path, {"latents": latents})
    fit: Fit | None = None
    state = _kept(fit_path)
    if state is not None:
        fit = Fit(state["codes"], state["iteration"], state["error"])
        log.info("continuing behind iteration %d", fit.iteration)
    for better in fit_codes(latents, codes, iterations, seed, start=fit):
        fit = better
        if rank == 0:
            log.info("iteration %d of %d, mean distance %.5f", fit.iteration, iterations, fit.error)
            write_state(fit_path, {"codes": fit.codes, "iteration": fit.iteration, "error": fit.error})
    assert fit is not None
    quantizer.set_codebook(fit.codes.to(quantizer.codebook.device))
    return fit


def _kept(path: Path) -> dict[str, Any] | None:
    """What an interrupted fit left; None where there is nothing, or it is damaged."""
    try:
        return read_state(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("%s; it is made again", error)
        return None

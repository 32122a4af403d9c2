"""What a training step costs on the CPU: the share of vector perturbation, and our step against the l3ac package's.

    python benchmarks/training_step.py vp [--init-from RUN] [--compile] [--steps 8]
    python benchmarks/training_step.py l3ac [--config l3ac-3kbps] [--precision bfloat16] [--compile] [--batch 4]

``vp``: CPU time in the perturbation (both neighbour searches and the queue) out of that of whole steps, with a queue
full of real latents (``--init-from RUN``: of a trained network); and the acceptance with all of the queue as reference,
on the same latents and random numbers. ``l3ac`` (environment of scripts/parity.py): forward, the same loss, backward
and AdamW, of the authors' network in eager float32 and of ours, with the same weights and batch, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sqcodec.losses.spectral import MultiScaleSpectralLoss

ROOT = Path(__file__).resolve().parent.parent
SPEECH = ROOT / "tests" / "data"


def vp(arguments: argparse.Namespace) -> None:
    """Prints the share of the perturbation and both acceptances."""
    from sqcodec.quantizers.perturbation import VectorPerturbation
    from sqcodec.training.loop import Trainer
    from sqcodec.training.recipe import load_recipe
    from sqcodec.training.vp import collect_latents

    spent: list[float] = []
    plain = VectorPerturbation.__call__

    @torch.compiler.disable
    def timed(self: VectorPerturbation, latents: Tensor) -> Any:
        start = time.process_time()
        result = plain(self, latents)
        spent.append(time.process_time() - start)
        return result

    settings = [f"data.manifest={SPEECH}", "data.split=", "data.validation_speakers=[]", "vp.calibrate_every=0"]
    settings += arguments.set
    settings += [f"train.compile={str(arguments.compile).lower()}"]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(load_recipe(arguments.recipe, settings), folder)
        perturbation = trainer.perturbation
        assert perturbation is not None, f"{arguments.recipe} has no vp quantizer"
        if arguments.init_from:
            trainer.initialise_from(arguments.init_from)
        latents = collect_latents(trainer.network, trainer.sampler, len(perturbation.queue), torch.device("cpu"))
        trainer.network.train()
        perturbation.queue, perturbation.filled = latents.clone(), len(latents)
        fresh = latents.view(1, -1, latents.shape[1])[:, :2000] + 1e-3 * torch.randn(1, 2000, latents.shape[1])
        VectorPerturbation.__call__ = timed  # type: ignore[method-assign]
        trainer.step = train_from = 10_000  # behind the blending-in of the quantizer
        whole = []
        for step in range(train_from, train_from + arguments.steps + 2):
            trainer.step = step
            start = time.process_time()
            trainer._train_step()
            whole.append(time.process_time() - start)
        step_time, own_time = statistics.median(whole[2:]), statistics.median(spent[2:])
        print(
            f"K {perturbation.codebook_size}: {1000 * step_time:.0f} ms a step, of it {1000 * own_time:.0f} ms in the "
            f"perturbation: {100 * own_time / step_time:.1f} %"
        )
        perturbation.queue = latents.clone()
        for per_code in (perturbation.options.reference_per_code, 0):
            object.__setattr__(perturbation.options, "reference_per_code", per_code)
            torch.manual_seed(0)
            move = perturbation._move(fresh, perturbation.eta)
            name = f"{per_code} K of the queue" if per_code else "all of the queue"
            size = float(move.offset.norm(dim=-1).mean())
            accepted = float(move.accepted.float().mean())
            print(f"reference {name}: acceptance {accepted:.3f}, mean perturbation {size:.4f}")


def l3ac(arguments: argparse.Namespace) -> None:
    """Prints CPU times a step and their ratio."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from parity import build_reference, load_ours, read_speech

    from sqcodec.training.optimizers import build_optimizers
    from sqcodec.training.recipe import TrainRecipe
    from sqcodec.training.step import compiled

    speech = read_speech([str(SPEECH / "84-121123-0002.flac")], 16000, arguments.batch * arguments.seconds)
    theirs, toml = build_reference(arguments.config, 0, speech[:, :32000])
    ours = load_ours(theirs, toml, fold=False).train()
    network = theirs.network.train()
    length = round(arguments.seconds * 16000) // ours.config.hop_length * ours.config.hop_length
    batch = speech[0, : arguments.batch * length].view(arguments.batch, length).clone()
    spectral = MultiScaleSpectralLoss(16000)
    forward = compiled(ours) if arguments.compile else ours.forward
    optimizers = [torch.optim.AdamW(network.parameters(), 1e-4), *build_optimizers(ours, TrainRecipe())]

    def step(which: int) -> float:
        start = time.process_time()
        optimizers[which].zero_grad()
        if which == 0:
            output = network(batch)["generated_audio"]
        else:
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bfloat16"):
                output = forward(batch[:, None])[0][:, 0]
        output = output.float()
        distance = spectral(output, batch)
        (5 * distance.mel + 1.5 * distance.stft + 10 * (output - batch).abs().mean()).backward()
        optimizers[which].step()
        return time.process_time() - start

    times = [[step(which) for which in (0, 1)] for _ in range(arguments.steps + 1)][1:]
    ratios = sorted(first / second for first, second in times)
    medians = [statistics.median(values) for values in zip(*times, strict=True)]
    how = f"{'compiled' if arguments.compile else 'eager'} {arguments.precision}"
    print(
        f"{arguments.config}, batch {arguments.batch} x {arguments.seconds:g} s, {torch.get_num_threads()} thread(s): "
        f"l3ac eager float32 {medians[0]:.2f} s a step, ours {how} {medians[1]:.2f}; "
        f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["vp", "l3ac"])
    parser.add_argument("--recipe", default=str(ROOT / "recipes" / "mini_speech_vp.toml"))
    parser.add_argument("--init-from", metavar="RUN")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--config", default="l3ac-3kbps")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    {"vp": vp, "l3ac": l3ac}[arguments.what](arguments)


if __name__ == "__main__":
    main()

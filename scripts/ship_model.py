"""Puts a trained model into the package: fp16 weights, configuration, and its line in models/index.toml.

usage: python scripts/ship_model.py RUN_FOLDER NAME --summary TEXT

Discriminators of the run go along in fp16, for fine-tuning (`sqcodec train --init-from NAME`).
The model card (CARD.md) beside the weights is made with scripts/model_card.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import safetensors.torch
import tomli_w
import torch

from sqcodec.checkpoint import halved, load_model, save_model
from sqcodec.config import CONFIG_NAME, SHIPPED_DIR
from sqcodec.entropy import PREDICTOR_NAME, Predictor
from sqcodec.files import write_atomically
from sqcodec.identity import hash_file
from sqcodec.registry import find_model, read_index
from sqcodec.training.adversary import FOLDER, WEIGHTS_NAME, discriminator_config
from sqcodec.training.recipe import AdversarialRecipe

LARGEST_MIB = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("name")
    parser.add_argument("--summary", required=True)
    parser.add_argument("--licence", default="MIT; trained on CC BY 4.0, CC0 and Apache-2.0 speech, see its card")
    arguments = parser.parse_args()
    config, tensors, metadata = load_model(find_model(arguments.run))
    half = halved(tensors)
    overflow = [name for name, tensor in half.items() if not torch.isfinite(tensor).all()]
    if overflow:
        sys.exit(f"These tensors do not fit fp16: {', '.join(overflow)}")
    folder = SHIPPED_DIR / arguments.name
    config = dataclasses.replace(config, name=arguments.name)
    recipe = Path(arguments.run) / "recipe.json"
    if recipe.is_file() and json.loads(recipe.read_text(encoding="utf-8"))["train"].get("lost_rate"):
        config = config.changed(conceals=True)  # runs from before it was written
    metadata = {"licence": arguments.licence, "step": metadata.get("step", "")}
    model_hash = save_model(folder, config, half, metadata)
    digest = hash_file(folder / "model.safetensors")
    size = (folder / "model.safetensors").stat().st_size / 2**20
    if size > LARGEST_MIB:
        sys.exit(f"The weights are {size:.1f} MiB, more than {LARGEST_MIB}.")
    ship_discriminators(Path(arguments.run), folder)
    ship_predictor(find_model(arguments.run), folder)
    entry = {"summary": arguments.summary, "licence": arguments.licence, "sha256": digest, "hash": model_hash}
    former = read_index().get(arguments.name, {})
    entry["also"] = former["also"] if former.get("hash") == model_hash else []
    index = read_index() | {arguments.name: entry}
    write_atomically(SHIPPED_DIR / "index.toml", tomli_w.dumps(dict(sorted(index.items()))).encode("utf-8"))
    print(f"{folder}: {size:.1f} MiB, hash {model_hash}")


def ship_predictor(source: Path, folder: Path) -> None:
    """The predictor of the tokens that lies beside the weights; none stays that belongs to others."""
    if (source / PREDICTOR_NAME).is_file():
        Predictor.load(source / PREDICTOR_NAME).save(folder / PREDICTOR_NAME)
    else:
        (folder / PREDICTOR_NAME).unlink(missing_ok=True)


def ship_discriminators(run: Path, folder: Path) -> None:
    """The run's discriminators, if it has some, as fp16 with their configuration."""
    if not (run / FOLDER / WEIGHTS_NAME).is_file():
        return
    recipe = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    config = discriminator_config(AdversarialRecipe(**recipe["adversarial"]))
    half = halved(safetensors.torch.load_file(run / FOLDER / WEIGHTS_NAME))
    (folder / FOLDER).mkdir(exist_ok=True)
    write_atomically(folder / FOLDER / CONFIG_NAME, tomli_w.dumps(config.to_dict()).encode("utf-8"))
    write_atomically(folder / FOLDER / WEIGHTS_NAME, safetensors.torch.save(half, metadata={"format": "pt"}))


if __name__ == "__main__":
    main()

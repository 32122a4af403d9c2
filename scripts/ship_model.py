"""Puts a trained model into the package: fp16 weights, configuration, and its line in models/index.toml.

usage: python scripts/ship_model.py RUN_FOLDER NAME --summary TEXT

The model card (CARD.md) is written by hand beside the weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

import tomli_w
import torch

from sqcodec.checkpoint import load_model, save_model, write_atomically
from sqcodec.registry import SHIPPED_DIR, find_model, read_index

LARGEST_MIB = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("name")
    parser.add_argument("--summary", required=True)
    parser.add_argument("--licence", default="MIT; trained on CC BY 4.0, CC0 and Apache-2.0 speech, see its card")
    arguments = parser.parse_args()
    config, tensors, metadata = load_model(find_model(arguments.run))
    half = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    overflow = [name for name, tensor in half.items() if not torch.isfinite(tensor).all()]
    if overflow:
        sys.exit(f"These tensors do not fit fp16: {', '.join(overflow)}")
    folder = SHIPPED_DIR / arguments.name
    config = dataclasses.replace(config, name=arguments.name)
    metadata = {"licence": arguments.licence, "step": metadata.get("step", "")}
    digest = save_model(folder, config, half, metadata)
    size = (folder / "model.safetensors").stat().st_size / 2**20
    if size > LARGEST_MIB:
        sys.exit(f"The weights are {size:.1f} MiB, more than {LARGEST_MIB}.")
    entry = {"summary": arguments.summary, "licence": arguments.licence, "sha256": digest}
    index = read_index() | {arguments.name: entry}
    write_atomically(SHIPPED_DIR / "index.toml", tomli_w.dumps(dict(sorted(index.items()))).encode("utf-8"))
    print(f"{folder}: {size:.1f} MiB, sha256 {digest}")


if __name__ == "__main__":
    main()

"""What makes two models the same: one hash of their configuration and tensors, however the files were written.

docs/code-file.md specifies it. Code files, stream states and token corpora carry it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sqcodec.config import ModelConfig

SHORTEST = 16
"""Hex digits of a hash that are kept in a code file: the fewest that name a model."""

FIRST_DEFAULTS: dict[str, Any] = {
    "sample_rate": 16000, "feature_dim": 256, "causal": True, "lookahead": 0, "pad_to": "hop",
    "encoder.front": "tconv", "encoder.n_fft": 0, "encoder.hop": 1, "encoder.dims": [24, 48, 96, 192],
    "encoder.strides": [6, 4, 4], "encoder.depths": [1, 1, 1, 2], "encoder.unit.norm": True, "encoder.unit.grn": False,
    "encoder.unit.activation": "snake", "encoder.unit.weight_norm": False, "encoder.unit.layer_scale": 0.0,
    "encoder.unit.kernel_size": 7, "encoder.unit.epsilon": 1e-6,
    "transformer.encoder_depth": 1, "transformer.decoder_depth": 1, "transformer.encoder_frame_depth": 0,
    "transformer.decoder_frame_depth": 0, "transformer.rate_reduction": 1, "transformer.tokens_per_frame": 1,
    "transformer.window": 200, "transformer.heads": 6, "transformer.head_dim": 64, "transformer.ff_mult": 4.0,
    "transformer.position": "dynamic_bias", "transformer.exact_window": True, "transformer.qk_norm": False,
    "quantizer.kind": "fsp", "quantizer.levels": [7, 7, 7, 7, 7, 7], "quantizer.variant": "sqcodec",
    "quantizer.activation": "tanh", "quantizer.noise_rate": 0.5, "quantizer.dim": 0, "quantizer.size": 0,
    "quantizer.strides": [], "quantizer.options.decay": 0.99, "quantizer.options.commitment": 0.25,
    "quantizer.options.kmeans_init": False, "quantizer.options.restart_below": 0.0,
    "quantizer.options.direction_variance": 5e-3, "quantizer.options.transform": "linear",
    "quantizer.options.radius": "identity", "quantizer.options.entropy_weight": 0.1,
    "quantizer.options.prior_weight": 0.01, "quantizer.options.transport_weight": 1.0,
    "quantizer.options.temperature": 1.0, "quantizer.options.final_temperature": 0.1,
    "quantizer.options.anneal_steps": 200,
    "decoder.head": "waveform", "decoder.n_fft": 0, "decoder.hop": 1, "decoder.subframes": 1,
    "decoder.dims": [256, 192, 96, 48], "decoder.strides": [4, 4, 6], "decoder.depths": [3, 2, 1, 1],
    "decoder.gate": True, "decoder.gate_norm": False, "decoder.output_dilations": [1, 3, 9],
    "decoder.unit.norm": True, "decoder.unit.grn": False, "decoder.unit.activation": "snake",
    "decoder.unit.weight_norm": False, "decoder.unit.layer_scale": 0.0, "decoder.unit.kernel_size": 7,
    "decoder.unit.epsilon": 1e-6,
}  # fmt: skip
"""Defaults of the configuration's first version. Part of the hash's definition: never changed, never added to."""


def hash_model(config: ModelConfig, tensors: Mapping[str, Tensor]) -> str:
    """sha256 (hex) of a model: its settings (``canonical_settings``) and its tensors by name.

    Floating tensors count as the float32 that they are loaded as: a copy in another dtype that holds the same values
    is the same model.
    """
    digest = hashlib.sha256(canonical_settings(config).encode("ascii") + b"\n")
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        tensor = (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
        about = {"dtype": str(tensor.dtype).removeprefix("torch."), "name": name, "shape": list(tensor.shape)}
        digest.update(_dumps(about).encode("ascii") + b"\n")
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def canonical_settings(config: ModelConfig) -> str:
    """The settings as one line of JSON: keys such as ``encoder.unit.norm``, sorted, without the name and without what
    is at its default: that of ``FIRST_DEFAULTS``, or for a setting that came later, that of ``ModelConfig``."""
    defaults = dict(_flatten(ModelConfig().to_dict())) | FIRST_DEFAULTS
    settings = dict(_flatten(config.to_dict()))
    return _dumps({key: value for key, value in settings.items() if key != "name" and defaults.get(key) != value})


def hash_file(path: str | Path) -> str:
    """sha256 (hex) of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_same(known: str, hash: str) -> bool:
    """Whether two hashes (hex) of which one may be cut short, to 16 digits or more, name the same model."""
    length = min(len(known), len(hash))
    return length >= SHORTEST and known[:length].lower() == hash[:length].lower()


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _dumps(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"))

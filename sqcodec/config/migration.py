"""Tables of a network as earlier versions wrote them, in today's form: the same network, or an error.

Version 1 had one table for both families of networks; a frame-rate network took entries of it that it never read.
Those go. A table without ``family`` and ``version`` is of version 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqcodec.tables import overlay

VERSION = 2

FRAME_NAMES = {
    "encoder.hop": "frame_length",
    "encoder.dims": "encoder.dim",
    "encoder.depths": "encoder.depth",
    "encoder.unit.kernel_size": "encoder.kernel_size",
    "encoder.unit.layer_scale": "encoder.layer_scale",
    "transformer.tokens_per_frame": "tokens_per_frame",
    "decoder.hop": "frame_length",
    "decoder.dims": "decoder.dim",
    "decoder.depths": "decoder.depth",
    "decoder.unit.kernel_size": "decoder.kernel_size",
    "decoder.unit.layer_scale": "decoder.layer_scale",
}
"""Entries of a frame network in version 1, and their names since."""

FRAME_DEFAULTS = {
    "feature_dim": 256,
    "lookahead": 0,
    "encoder.unit.kernel_size": 7,
    "encoder.unit.layer_scale": 0.0,
    "decoder.unit.kernel_size": 7,
    "decoder.unit.layer_scale": 0.0,
    "decoder.subframes": 1,
    "transformer.encoder_depth": 1,
    "transformer.decoder_depth": 1,
    "transformer.tokens_per_frame": 1,
    "transformer.window": 200,
    "transformer.heads": 6,
}
"""What version 1 took for what a frame network left out, where that was another value than today's."""

UNIT_IGNORED = ("norm", "grn", "activation", "weight_norm", "epsilon")
FRAME_IGNORED = (
    "causal",
    "pad_to",
    *(f"{side}.unit.{name}" for side in ("encoder", "decoder") for name in UNIT_IGNORED),
    *(f"transformer.{name}" for name in ("head_dim", "ff_mult", "position", "exact_window", "qk_norm")),
    "decoder.head",
    "decoder.gate",
    "decoder.gate_norm",
    "decoder.output_dilations",
)
"""Entries of version 1 that a frame network never read."""

FRAME_FIXED: dict[str, Any] = {
    "encoder.strides": [],
    "decoder.strides": [],
    "transformer.encoder_frame_depth": 0,
    "transformer.decoder_frame_depth": 0,
    "transformer.rate_reduction": 1,
}
"""Entries of version 1 that a frame network took, but got wrong unless they had these values."""

WAVEFORM_FIXED: dict[str, Any] = {
    "encoder.front": "tconv",
    "encoder.n_fft": 0,
    "encoder.hop": 1,
    "transformer.tokens_per_frame": 1,
    "decoder.head": "waveform",
    "decoder.n_fft": 0,
    "decoder.hop": 1,
    "decoder.subframes": 1,
}
"""The same for a waveform network."""


def upgrade(values: Mapping[str, Any]) -> dict[str, Any]:
    """A model's table of any version in today's form, with its ``family``.

    Raises:
        ValueError: a table of version 1 with entries that its network got wrong.
    """
    if "family" in values or "version" in values:
        return dict(values)
    flat = _flat(values)
    spectral = (flat.get("encoder.front") == "stft", flat.get("decoder.head") == "istft")
    if spectral[0] != spectral[1]:
        raise ValueError(
            "encoder.front 'stft' and decoder.head 'istft' go together: set both, or neither ('tconv', 'waveform')."
        )
    return _nested(_frame(flat) if spectral[0] else _waveform(flat))


def lay_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's [model] over that of another; each may be of any version."""
    if above.get("family", below.get("family")) != below.get("family"):
        return dict(above)
    if below.get("family") == "frame" and "family" not in above:
        flat = _flat(above)
        _take_fixed(flat, FRAME_FIXED | {"decoder.head": "istft"}, "frame-rate")
        above = _nested(_renamed(flat))
    merged = overlay(below, above)
    whole = all(isinstance(merged.get(side), Mapping) for side in ("encoder", "decoder"))
    return upgrade(merged) if whole else merged


def renamed_entry(model: Mapping[str, Any], keys: list[str], value: Any) -> tuple[list[str], Any]:
    """An entry ``model.x.y`` of the command line by its name of today."""
    if model.get("family") != "frame":
        return keys, value
    [(name, value)] = _renamed({".".join(keys[1:]): value}).items()
    return [keys[0], *name.split(".")], value


def _frame(flat: dict[str, Any]) -> dict[str, Any]:
    flat = FRAME_DEFAULTS | flat
    _take_fixed(flat, FRAME_FIXED, "frame-rate")
    flat.setdefault("encoder.hop", 1)
    flat.setdefault("decoder.hop", 1)
    if flat.get("pad_to") == "window":
        raise ValueError("pad_to is 'window': it must be 'hop' in a frame-rate network")
    for name in FRAME_IGNORED:
        flat.pop(name, None)
    own = {"transformer.layer_scale": flat["encoder.unit.layer_scale"], "decoder.gate": False}
    return {"family": "frame", "version": VERSION} | _renamed(flat) | own


def _waveform(flat: dict[str, Any]) -> dict[str, Any]:
    flat = dict(flat)
    _take_fixed(flat, WAVEFORM_FIXED, "waveform")
    if flat.get("transformer.position") == "distance_bias":  # which they took for none
        flat["transformer.position"] = "none"
    return {"family": "waveform", "version": VERSION} | flat


def _renamed(flat: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in flat.items():
        if name.endswith(("dims", "depths")) and name in FRAME_NAMES:
            if not isinstance(value, (list, tuple)) or len(value) != 1:
                raise ValueError(f"{name} is {value!r}: it must be a list of one entry in a frame-rate network")
            value = value[0]
        name = FRAME_NAMES.get(name, name)
        if found.get(name, value) != value:
            raise ValueError("encoder.hop and decoder.hop disagree on the samples per frame: set both to the same")
        found[name] = value
    return found


def _take_fixed(flat: dict[str, Any], fixed: dict[str, Any], family: str) -> None:
    for name, value in fixed.items():
        given = flat.pop(name, value)
        given = list(given) if isinstance(given, tuple) else given
        if given != value:
            raise ValueError(f"{name} is {given!r}: it must be {value!r} (or left out) in a {family} network")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names and values. The quantizer's table stays one value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and key != "quantizer":
            found |= _flat(value, f"{prefix}{key}.") or {f"{prefix}{key}": {}}
        else:
            found[f"{prefix}{key}"] = value
    return found


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for name, value in flat.items():
        *above, last = name.split(".")
        table = tables
        for key in above:
            table = table.setdefault(key, {})
        table[last] = value
    return tables

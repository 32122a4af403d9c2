"""Every kind of quantizer took the options of nineteen others, without effect."""

from __future__ import annotations

import pytest

from sqcodec.config import FrameConfig, ModelConfig, QuantizerConfig, quantizer_config
from sqcodec.quantizers import compared as compared  # registers its kinds
from sqcodec.tables import field_types
from sqcodec.training.recipe import load_recipe
from sqcodec.training.recipes import installed_recipe

OPTIONS = {
    "decay": 0.99, "commitment": 0.25, "kmeans_init": False, "restart_below": 0.0, "direction_variance": 5e-3,
    "transform": "linear", "radius": "identity", "entropy_weight": 0.1, "prior_weight": 0.01, "transport_weight": 1.0,
    "temperature": 1.0, "final_temperature": 0.1, "anneal_steps": 200,
}  # fmt: skip
"""As version 1 wrote them into every configuration."""


def test_each_kind_takes_its_own() -> None:
    config = quantizer_config(kind="gritvq", dim=4, size=64, radius="log")
    assert set(config.to_dict()) == {"kind", "dim", "size", "commitment", "transform", "radius"}
    for kind, settings in [("gritvq", {"decay": 0.5}), ("fsp", {"variant": "l3ac"}), ("vp", {"noise_rate": 0.2}),
                           ("fsq", {"size": 8}), ("vq", {"levels": [8]}), ("nested", {"levels": [8]})]:  # fmt: skip
        needed = {name: 4 for name in ("dim", "size") if name in field_types(QuantizerConfig.kinds[kind])}
        with pytest.raises(ValueError, match=f"Unknown key '(quantizer.)?{next(iter(settings))}'"):
            quantizer_config(kind=kind, **needed, **settings)
    with pytest.raises(ValueError, match="quantizer.kind is 'fps': it must be one of: .*did you mean 'fs"):
        ModelConfig.from_dict({"family": "frame", "quantizer": {"kind": "fps"}})
    with pytest.raises(ValueError, match="quantizer.dim is 0: it must be between 1 and 64"):
        quantizer_config(kind="vp", size=64)


@pytest.mark.parametrize("kind", list(QuantizerConfig.kinds))
def test_tables_of_earlier_versions_say_the_same(kind: str) -> None:
    """They had all entries of all kinds; what is at its default and not for the kind is left out."""
    known = field_types(QuantizerConfig.kinds[kind])
    own = {"dim": 4, "size": 16, "levels": [5, 5], "strides": [2, 1], "bits": [4, 6, 8]}
    own = {name: value for name, value in own.items() if name in known}
    old = {"levels": [], "variant": "sqcodec", "activation": "tanh", "noise_rate": 0.5, "dim": 0, "size": 0, "bits": [],
           "strides": [], "options": OPTIONS}  # fmt: skip
    config = QuantizerConfig.read(old | {"kind": kind} | own)
    assert config == quantizer_config(kind=kind, **own) and config.kind == kind
    assert ModelConfig.from_toml(FrameConfig(quantizer=config).to_toml()).quantizer == config


def test_former_options_count() -> None:
    config = QuantizerConfig.read({"kind": "vq", "dim": 4, "size": 64, "options": OPTIONS | {"decay": 0.5}})
    assert config == quantizer_config(kind="vq", dim=4, size=64, decay=0.5)
    with pytest.raises(ValueError, match="Unknown key 'quantizer.temperature'"):
        QuantizerConfig.read({"kind": "vq", "dim": 4, "size": 64, "options": {"temperature": 0.5}})
    setting = 'model.quantizer={"kind":"vq","dim":5,"size":64,"levels":[],"options":{"restart_below":0.1}}'
    assert load_recipe(installed_recipe("base"), [setting]).model.quantizer == (
        quantizer_config(kind="vq", dim=5, size=64, restart_below=0.1)
    )

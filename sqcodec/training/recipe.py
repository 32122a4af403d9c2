"""A recipe: what to train, on what, and how. TOML on disk, ``section.key=value`` on the command line."""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqcodec.config import ModelConfig
from sqcodec.quantizers import PerturbationOptions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class DataRecipe:
    """``manifest`` is usually given on the command line: corpora lie elsewhere on every machine."""

    manifest: str = ""
    split: str = ""
    """Split of the manifest to train on; empty takes every clip."""
    validation_speakers: list[str] = field(default_factory=list)
    """Held out of training; the validation clips are theirs."""
    validation_share: float = 0.0
    """Share of the speakers held out besides those, chosen by a hash of their names; where there are fewer than ten
    speakers, share of the clips."""
    validation_clips: int = 16
    validation_seconds: float = 6.0
    """Longest stretch of a validation clip that is coded."""
    segment_seconds: float = 1.0
    """Rounded up to whole frames."""
    batch_size: int = 8
    gain_db: list[float] = field(default_factory=lambda: [0.0, 0.0])
    validation_split: str = ""
    """Split of the manifest to validate on, besides the speakers held out."""
    decode_once: bool = True
    """Decode the corpus into a cache at the model's rate before training. If false, every segment is read from its
    file and resampled on the fly, without decoding the whole file."""
    workers: int = 0
    """Processes that prepare batches ahead of the training step; 0: the training process does it itself."""
    may_change: bool = False
    """Go on with a run though its clips are no longer those of before: from there on it is another run."""
    more_manifests: list[str] = field(default_factory=list)
    """Further corpora to train on."""
    weights: list[float] = field(default_factory=list)
    """Chance of ``manifest`` and of each of ``more_manifests``; empty: in proportion to their lengths."""
    noise_rate: float = 0.0
    """Share of the segments that get white noise, at a signal-to-noise ratio in the range ``noise_db``."""
    noise_db: list[float] = field(default_factory=lambda: [20.0, 50.0])
    bandwidth_rate: float = 0.0
    """Share of the segments that lose what lies above a frequency in the range ``bandwidth_hz``."""
    bandwidth_hz: list[float] = field(default_factory=lambda: [3400.0, 8000.0])
    speed_rate: float = 0.0
    """Share of the segments that are played at a speed in the range ``speed``."""
    speed: list[float] = field(default_factory=lambda: [0.9, 1.1])


@dataclass(frozen=True)
class TrainRecipe:
    steps: int = 10000
    optimizer: str = "adamw"
    """"adamw", or "muon": Muon (torch.optim, 2.9 or later) for the matrices of the backbone, AdamW for the rest."""
    learning_rate: float = 1.5e-3
    warmup_steps: int = 100
    decay_steps: int = 4000
    """The learning rate is constant, then falls by a half cosine to 2 % over the last ``decay_steps`` steps."""
    betas: list[float] = field(default_factory=lambda: [0.8, 0.99])
    weight_decay: float = 0.01
    newton_schulz_steps: int = 5
    clip_norm: float = 5.0
    ema: float = 0.999
    continuous_steps: int = 0
    """Steps at the start without quantizer; it is blended in over the next ``blend_steps``."""
    blend_steps: int = 0
    schedule: str = "hold_cosine"
    """"hold_cosine", as ``decay_steps`` says, or "one_cycle": from a tenth up over ``up_share`` of the steps, down
    again as long, then to a hundredth."""
    up_share: float = 0.4
    accumulate: int = 1
    """Parts in which a batch goes through the network, one after the other."""
    compile: bool = False
    bf16: bool = False
    """bfloat16 autocast."""
    fp16: bool = False
    """float16 autocast with loss scaling, for GPUs without bfloat16."""
    most_rollbacks: int = 3
    """Times that the run may go back to its last saved state because of a gradient that is not finite."""
    tensorboard: bool = False
    seed: int = 0
    log_every: int = 50
    validate_every: int = 1000
    save_every: int = 250


@dataclass(frozen=True)
class LossRecipe:
    """Weights of the loss terms; a term of weight 0 is not computed, but for mel, stft and waveform.

    L_norm of the quantizer always counts with weight 1. ``adversarial.weight`` and ``.feature_matching`` add theirs.
    """

    mel: float = 5.0
    stft: float = 1.5
    waveform: float = 10.0
    """L1."""
    si_sdr: float = 0.0
    """Negative SI-SDR in dB."""
    resolution: float = 0.0
    """Multi-resolution STFT loss of Parallel WaveGAN over ``resolution_sizes``."""
    resolution_sizes: list[int] = field(default_factory=lambda: [32, 64, 128, 256, 512, 1024])
    perceptual: float = 0.0
    """Distance of the features that ``perceptual_encoder`` finds in decoded and real audio."""
    perceptual_encoder: str = ""
    """A local encoder: a codec of this package (name or folder), a transformers folder (Whisper, wav2vec 2.0, HuBERT,
    WavLM), or a file of ``torch.export`` (.pt2) or TorchScript that maps samples [B, T] to features, or to a list."""
    perceptual_rate: int = 16000
    """Sample rate in Hz that such a file takes."""
    limits: dict[str, float] = field(default_factory=dict)
    """Most that a weighted term may count: above, it is rescaled, which limits its gradient. Two names stand for sums:
    "reconstruction", all but L_norm and the discriminators' terms, and "discrimination", both of those."""
    balancer: bool = False
    """Weights are shares of the gradient at the output, whatever the scale of the terms (EnCodec)."""
    fft_sizes: list[int] = field(default_factory=lambda: [2048, 1024, 512, 256, 128])
    mel_bands: list[int] = field(default_factory=lambda: [80, 80, 64, 40, 20])


@dataclass(frozen=True)
class AdversarialRecipe:
    """Discriminators; off unless one of the two weights is above 0.

    Weights are relative to the other loss terms; both terms are means over the parts of the discriminator.
    """

    weight: float = 0.0
    """Of the adversarial term."""
    feature_matching: float = 0.0
    objective: str = "lsgan"
    """"lsgan" or "hinge"."""
    start_step: int = 0
    """Before this step there are no discriminators."""
    alone_steps: int = 0
    """Steps after it in which the discriminators learn but the generator does not hear them."""
    ramp_steps: int = 0
    """Steps after those over which the weights rise to their full size."""
    update_every: int = 2
    """Generator steps per discriminator step."""
    crop_seconds: float = 0.5
    """Discriminators hear a random stretch of this length ..."""
    crop_batch: int = 0
    """... of this many segments of the batch (0: of all)."""
    learning_rate: float = 4e-4
    """Falls with the generator's."""
    betas: list[float] = field(default_factory=lambda: [0.8, 0.99])
    clip_norm: float = 10.0
    periods: list[int] = field(default_factory=lambda: [2, 3, 5, 7, 11])
    """Samples; empty leaves the multi-period discriminator out."""
    period_channels: list[int] = field(default_factory=lambda: [16, 32, 64, 128, 128])
    fft_sizes: list[int] = field(default_factory=lambda: [1024, 512, 256])
    """Samples; empty leaves the spectral discriminator out."""
    bands: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
    stft_channels: int = 16

    @property
    def enabled(self) -> bool:
        return self.weight > 0 or self.feature_matching > 0


@dataclass(frozen=True)
class Recipe:
    model: ModelConfig
    data: DataRecipe
    train: TrainRecipe
    loss: LossRecipe
    adversarial: AdversarialRecipe = field(default_factory=AdversarialRecipe)
    vp: PerturbationOptions = field(default_factory=PerturbationOptions)

    def to_dict(self) -> dict[str, Any]:
        return {"model": self.model.to_dict()} | {
            name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS
        }


SECTIONS: dict[str, type] = {
    "data": DataRecipe,
    "train": TrainRecipe,
    "loss": LossRecipe,
    "adversarial": AdversarialRecipe,
    "vp": PerturbationOptions,
}


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Reads a recipe and applies ``section.key=value`` overrides (values as JSON, else taken as text).

    A recipe with ``base = "other.toml"`` (relative to its own folder) says only what differs from that one; of several
    bases in a list, later ones count.

    Raises:
        FileNotFoundError: no such recipe.
        ValueError: not TOML, an unknown section or key, or a value of the wrong type; the message names it.
    """
    path = Path(path)
    tables = _read(path)
    for override in overrides or []:
        _apply(tables, override)
    return _build(tables, path)


def load_run_recipe(folder: str | Path) -> Recipe:
    """The recipe that a run folder was trained with."""
    path = Path(folder) / "recipe.json"
    if not path.is_file():
        raise FileNotFoundError(f"'{folder}' is not a run folder: it has no recipe.json.")
    return _build(json.loads(path.read_text(encoding="utf-8")), path)


def _build(tables: dict[str, Any], path: Path) -> Recipe:
    unknown = set(tables) - set(SECTIONS) - {"model"}
    if unknown:
        known = ", ".join(["model", *SECTIONS])
        raise ValueError(f"'{path}': unknown section '{sorted(unknown)[0]}'. Sections: {known}.")
    if "model" not in tables:
        raise ValueError(f"'{path}' has no [model] section.")
    sections = {name: _section(cls, tables.get(name, {}), name) for name, cls in SECTIONS.items()}
    return Recipe(model=ModelConfig.from_dict(tables["model"]), **sections)


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tables of a recipe laid over those of its base."""
    if not path.is_file():
        asked = f" (the base of '{above[-1]}')" if above else ""
        raise FileNotFoundError(f"No recipe at '{path}'{asked}.")
    if path.resolve() in [other.resolve() for other in above]:
        raise ValueError(f"'{path}' is its own base.")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"'{path}' is not valid TOML: {error}") from error
    base = tables.pop("base", [])
    merged: dict[str, Any] = {}
    for name in [base] if isinstance(base, str) else base:
        merged = _overlay(merged, _read(path.parent / str(name), (*above, path)))
    return _overlay(merged, tables)


def _overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        # A table that says its own kind replaces the one below: the keys of another kind would not fit it.
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and "kind" not in value
        merged[key] = _overlay(merged[key], value) if both else value
    return merged


def _apply(tables: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    keys = name.strip().split(".")
    if not separator or len(keys) < 2:
        raise ValueError(f"'{override}' is not of the form section.key=value, such as train.steps=2000.")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    table = tables
    for key in keys[:-1]:
        table = table.setdefault(key, {})
    table[keys[-1]] = value


def _section(cls: type, values: dict[str, Any], section: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    defaults = cls()
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.0)[0]
            raise ValueError(f"Unknown key '{section}.{key}'. Did you mean '{section}.{near}'?")
        default = getattr(defaults, key)
        allowed = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, allowed) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise ValueError(f"{section}.{key} is {value!r}: a value like {default!r} is needed.")
    return cls(**values)

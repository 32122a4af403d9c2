"""A recipe: what to train, on what, and how. TOML on disk, ``section.key=value`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from sqcodec.config import ModelConfig
from sqcodec.config.migration import lay_over, renamed_entry
from sqcodec.discriminators import DiscriminatorConfig
from sqcodec.quantizers import PerturbationOptions
from sqcodec.tables import Length, Range, Rising, Table, check_keys, convert, overlay, put, read_override, read_toml
from sqcodec.training.recipes import installed_recipe, recipe_names

Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0, 10**9)]
Steps = Annotated[int, Range(1, 10**9)]
Seconds = Annotated[float, Range(0.001, 86400)]
Weight = Annotated[float, Range(0, 1e9)]
Decibel = Annotated[float, Range(-240, 240)]
Frequency = Annotated[float, Range(1, 1e6)]
Speed = Annotated[float, Range(0.1, 10)]
LearningRate = Annotated[float, Range(0, 100)]
ClipNorm = Annotated[float, Range(1e-9, 1e9)]
Betas = Annotated[list[Annotated[float, Range(0, 0.9999999)]], Length(2, 2)]
FFTSizes = Annotated[list[Annotated[int, Range(4, 65536, even=True)]], Length(1, 32)]


@dataclass(frozen=True)
class DataRecipe(Table):
    """``manifest`` is usually given on the command line: corpora lie elsewhere on every machine."""

    TABLE: ClassVar[str] = "data"
    manifest: str = ""
    split: str = ""
    """Split of the manifest to train on; empty takes every clip."""
    validation_speakers: list[str] = field(default_factory=list)
    """Held out of training; the validation clips are theirs."""
    validation_share: Share = 0.0
    """Share of the speakers held out besides those, chosen by a hash of their names; where there are fewer than ten
    speakers, share of the clips."""
    validation_clips: Count = 16
    validation_seconds: Seconds = 6.0
    """Longest stretch of a validation clip that is coded."""
    segment_seconds: Seconds = 1.0
    """Rounded up to whole frames."""
    batch_size: Annotated[int, Range(1, 65536)] = 8
    gain_db: Annotated[list[Decibel], Rising(2)] = field(default_factory=lambda: [0.0, 0.0])
    """Segments are made louder or softer by a factor out of this range."""
    validation_split: str = ""
    """Split of the manifest to validate on, besides the speakers held out."""
    decode_once: bool = True
    """Decode the corpus into a cache at the model's rate before training. If false, every segment is read from its
    file and resampled on the fly, without decoding the whole file."""
    workers: Annotated[int, Range(0, 1024)] = 0
    """Processes that prepare batches ahead of the training step; 0: the training process does it itself."""
    may_change: bool = False
    """Go on with a run though its clips are no longer those of before: from there on it is another run."""
    more_manifests: list[str] = field(default_factory=list)
    """Further corpora to train on."""
    weights: list[Annotated[float, Range(0, 1e9)]] = field(default_factory=list)
    """Chance of ``manifest`` and of each of ``more_manifests``; empty: in proportion to their lengths."""
    noise_rate: Share = 0.0
    """Share of the segments that get white noise, at a signal-to-noise ratio in the range ``noise_db``."""
    noise_db: Annotated[list[Decibel], Rising(2)] = field(default_factory=lambda: [20.0, 50.0])
    bandwidth_rate: Share = 0.0
    """Share of the segments that lose what lies above a frequency in the range ``bandwidth_hz``."""
    bandwidth_hz: Annotated[list[Frequency], Rising(2)] = field(default_factory=lambda: [3400.0, 8000.0])
    speed_rate: Share = 0.0
    """Share of the segments that are played at a speed in the range ``speed``."""
    speed: Annotated[list[Speed], Rising(2)] = field(default_factory=lambda: [0.9, 1.1])
    reverb_rate: Share = 0.0
    """Share of the segments that are heard in a made-up room."""
    mix_rate: Share = 0.0
    """Share of the segments that a second speaker is added to, up to 15 dB softer."""
    tone_rate: Share = 0.0
    """Share of the segments whose second half is steady tones."""


@dataclass(frozen=True)
class TrainRecipe(Table):
    """How long, with which optimizer and schedule, and what is written when."""

    TABLE: ClassVar[str] = "train"
    steps: Steps = 10000
    minutes: Annotated[float, Range(0, 1e6)] = 0.0
    """If above 0 the run takes so long, however many steps that are; the schedule, in ``steps``, stretches with it."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """"adamw", or "muon": Muon (torch.optim, 2.9 or later) for the matrices of the backbone, AdamW for the rest."""
    learning_rate: LearningRate = 1.5e-3
    warmup_steps: Count = 100
    decay_steps: Count = 4000
    """The learning rate is constant, then falls by a half cosine to 2 % over the last ``decay_steps`` steps."""
    betas: Betas = field(default_factory=lambda: [0.8, 0.99])
    weight_decay: Annotated[float, Range(0, 10)] = 0.01
    newton_schulz_steps: Annotated[int, Range(1, 100)] = 5
    clip_norm: ClipNorm = 5.0
    ema: Annotated[float, Range(0, 0.9999999)] = 0.999
    continuous_steps: Count = 0
    """Steps at the start without quantizer; it is blended in over the next ``blend_steps``."""
    blend_steps: Count = 0
    lost_rate: Share = 0.0
    """Share of the segments that lose tokens, so that the decoder learns to conceal it (quantizer nested)."""
    lost_ms: Annotated[float, Range(0, 10_000)] = 60.0
    """Longest loss in a row (ms)."""
    schedule: Literal["hold_cosine", "one_cycle"] = "hold_cosine"
    """"hold_cosine", as ``decay_steps`` says, or "one_cycle": from a tenth up over ``up_share`` of the steps, down
    again as long, then to a hundredth."""
    up_share: Annotated[float, Range(0.001, 0.5)] = 0.4
    accumulate: Annotated[int, Range(1, 65536)] = 1
    """Parts in which a batch goes through the network, one after the other."""
    compile: bool = False
    bf16: bool = False
    """bfloat16 autocast."""
    fp16: bool = False
    """float16 autocast with loss scaling, for GPUs without bfloat16."""
    most_rollbacks: Count = 3
    """Times that the run may go back to its last saved state because of a gradient that is not finite."""
    tensorboard: bool = False
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    log_every: Steps = 50
    validate_every: Steps = 1000
    save_every: Steps = 250


@dataclass(frozen=True)
class LossRecipe(Table):
    """Weights of the loss terms; a term of weight 0 is not computed, but for mel, stft and waveform.

    L_norm of the quantizer always counts with weight 1. ``adversarial.weight`` and ``.feature_matching`` add theirs.
    """

    TABLE: ClassVar[str] = "loss"
    mel: Weight = 5.0
    stft: Weight = 1.5
    waveform: Weight = 10.0
    """L1."""
    si_sdr: Weight = 0.0
    """Negative SI-SDR in dB."""
    resolution: Weight = 0.0
    """Multi-resolution STFT loss of Parallel WaveGAN over ``resolution_sizes``."""
    resolution_sizes: FFTSizes = field(default_factory=lambda: [32, 64, 128, 256, 512, 1024])
    loudness: Weight = 0.0
    """Disturbance of the loudness, after the perceptual model of ITU-T P.862. A model trained with it is flattered by
    PESQ, which is built on that model: judge by other scores too."""
    intelligibility: Weight = 0.0
    """1 - STOI, in a differentiable form. A model trained with it is flattered by STOI: judge by other scores too."""
    perceptual: Weight = 0.0
    """Distance of the features that ``perceptual_encoder`` finds in decoded and real audio."""
    perceptual_encoder: str = ""
    """"whisper" (Whisper base, of the extras 'wer' and 'lm'), or a local encoder: a codec of this package (name or
    folder), a transformers folder (Whisper, wav2vec 2.0, HuBERT, WavLM), or a file of ``torch.export`` (.pt2) or
    TorchScript that maps samples [B, T] to features, or to a list."""
    perceptual_rate: Annotated[int, Range(1000, 1_000_000)] = 16000
    """Sample rate in Hz that such a file takes."""
    semantic: Weight = 0.0
    """Distillation: 1 - cosine between the features of ``semantic_teacher``, and what a small head, which is trained
    along and never shipped, makes of the tokens."""
    semantic_teacher: str = "whisper"
    """"whisper" (Whisper base, of the extra 'wer'), or a local encoder as of ``perceptual_encoder``."""
    semantic_layer: Annotated[int, Range(-1, 1000)] = -1
    """Which of its layers, where it gives several; -1: the last."""
    semantic_rate: Annotated[int, Range(1000, 1_000_000)] = 16000
    """Sample rate in Hz that a teacher takes which is a file."""
    semantic_from: Literal["quantized", "features"] = "quantized"
    """The head reads what the decoder sees, or the features before the quantizer."""
    semantic_bits: Annotated[int, Range(0, 64)] = 0
    """The head reads only the first so many bits of each token (quantizer nested); 0: all of them."""
    semantic_width: Annotated[int, Range(1, 8192)] = 256
    """Channels of the head."""
    semantic_context: Annotated[int, Range(1, 101, odd=True)] = 5
    """Tokens that it sees at once."""
    consistency: Weight = 0.0
    """Distance of the latents of the same speech a part of a hop later, at another level, with light noise; relative
    to their variance."""
    limits: dict[str, Annotated[float, Range(1e-9, 1e9)]] = field(default_factory=dict)
    """Most that a weighted term may count: above, it is rescaled, which limits its gradient. Two names stand for sums:
    "reconstruction", all terms of the decoded audio but the discriminators', and "discrimination", both of those."""
    balancer: bool = False
    """Weights are shares of the gradient at the output, whatever the scale of the terms (EnCodec)."""
    fft_sizes: FFTSizes = field(default_factory=lambda: [2048, 1024, 512, 256, 128])
    mel_bands: list[Annotated[int, Range(1, 4096)]] = field(default_factory=lambda: [80, 80, 64, 40, 20])


@dataclass(frozen=True)
class AdversarialRecipe(DiscriminatorConfig):
    """Discriminators; off unless one of the two weights is above 0.

    Weights are relative to the other loss terms; both terms are means over the parts of the discriminator.
    """

    TABLE: ClassVar[str] = "adversarial"
    weight: Weight = 0.0
    """Of the adversarial term."""
    feature_matching: Weight = 0.0
    objective: Literal["lsgan", "hinge"] = "lsgan"
    start_step: Count = 0
    """Before this step there are no discriminators."""
    alone_steps: Count = 0
    """Steps after it in which the discriminators learn but the generator does not hear them."""
    ramp_steps: Count = 0
    """Steps after those over which the weights rise to their full size."""
    update_every: Steps = 2
    """Generator steps per discriminator step."""
    crop_seconds: Seconds = 0.5
    """Discriminators hear a random stretch of this length ..."""
    crop_batch: Count = 0
    """... of this many segments of the batch (0: of all)."""
    learning_rate: LearningRate = 4e-4
    """Falls with the generator's."""
    betas: Betas = field(default_factory=lambda: [0.8, 0.99])
    clip_norm: ClipNorm = 10.0
    @property
    def enabled(self) -> bool:
        return self.weight > 0 or self.feature_matching > 0


@dataclass(frozen=True)
class Recipe(Table):
    """All of a training run."""

    model: ModelConfig
    data: DataRecipe
    train: TrainRecipe
    loss: LossRecipe
    adversarial: AdversarialRecipe = field(default_factory=AdversarialRecipe)
    vp: PerturbationOptions = field(default_factory=PerturbationOptions)


SECTIONS: dict[str, type[Table]] = {
    "data": DataRecipe,
    "train": TrainRecipe,
    "loss": LossRecipe,
    "adversarial": AdversarialRecipe,
    "vp": PerturbationOptions,
}


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Reads a recipe and applies ``section.key=value`` overrides (values as JSON, else taken as text).

    A recipe with ``base = "other.toml"`` (in its own folder, or one that comes with the package) says only what differs
    from that one; of several bases in a list, later ones count.

    Raises:
        FileNotFoundError: no such recipe.
        ValueError: not TOML, no network, an unknown section or key, or a value that is not allowed; the message names
            it.
    """
    path = Path(path)
    tables = _read(path)
    model = tables.get("model")
    for override in overrides or []:
        keys, value = read_override(override)
        if len(keys) < 2:
            raise ValueError(f"'{override}' is not of the form section.key=value, such as train.steps=2000.")
        if keys[0] == "model" and isinstance(model, Mapping):
            keys, value = renamed_entry(model, keys, value)
        put(tables, keys, value)
    return _build(tables, path)


def load_run_recipe(folder: str | Path) -> Recipe:
    """The recipe that a run folder was trained with."""
    path = Path(folder) / "recipe.json"
    if not path.is_file():
        raise FileNotFoundError(f"'{folder}' is not a run folder: it has no recipe.json.")
    return _build(json.loads(path.read_text(encoding="utf-8")), path)


def _build(tables: dict[str, Any], path: Path) -> Recipe:
    check_keys(tables, ["model", *SECTIONS], "", f"'{path}'")
    model = tables.get("model")
    if not isinstance(model, Mapping) or not ("family" in model or {"encoder", "decoder"} <= set(model)):
        raise ValueError(
            f"'{path}' describes no network: its [model] has no family. If it is to be laid over another recipe, write "
            f'one with base = ["base.toml", "{path.name}"].'
        )
    sections = {name: convert(tables.get(name, {}), cls, name, f"'{path}'") for name, cls in SECTIONS.items()}
    return Recipe(model=ModelConfig.from_dict(model, "model", f"'{path}'"), **sections)


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tables of a recipe laid over those of its base."""
    if not path.is_file():
        asked = f" (the base of '{above[-1]}')" if above else ""
        raise FileNotFoundError(f"No recipe at '{path}'{asked}.")
    if path.resolve() in [other.resolve() for other in above]:
        raise ValueError(f"'{path}' is its own base.")
    tables = read_toml(path)
    base = tables.pop("base", [])
    merged: dict[str, Any] = {}
    for name in [base] if isinstance(base, str) else base:
        below = path.parent / str(name)
        if not below.is_file() and str(name).removesuffix(".toml") in recipe_names():
            below = installed_recipe(name)
        merged = _lay(merged, _read(below, (*above, path)))
    return _lay(merged, tables)


def _lay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables of a recipe over those of another."""
    merged = overlay(below, above)
    if isinstance(above.get("model"), Mapping) and isinstance(below.get("model", {}), Mapping):
        merged["model"] = lay_over(below.get("model", {}), above["model"])
    return merged

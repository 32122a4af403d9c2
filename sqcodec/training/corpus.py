"""What a recipe trains on: its clips, decoded, and what a teacher says of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from sqcodec.data.augment import Augmentation
from sqcodec.data.cache import AudioCache, build_cache
from sqcodec.data.files import AudioFiles
from sqcodec.data.manifest import Clip, hold_out_share, hold_out_speakers, read_manifest
from sqcodec.data.segments import SegmentSampler
from sqcodec.data.teacher import TokenTargets, build_features
from sqcodec.distributed import barrier, world
from sqcodec.training.encoders import load_teacher, teacher_identity
from sqcodec.training.recipe import Recipe


def build_data(recipe: Recipe, cache_folder: str | Path) -> tuple[SegmentSampler, AudioCache | None]:
    """The training segments and the validation clips of a recipe; the first process decodes for all."""
    data, rate = recipe.data, recipe.model.sample_rate
    clips, held_out = hold_out_speakers(_training_clips(data.manifest, data.split), data.validation_speakers)
    if data.validation_share:
        clips, more = hold_out_share(clips, data.validation_share)
        held_out = held_out + more
    if data.validation_split:
        held_out = held_out + _validation_clips(data.manifest, data.validation_split)
        clips = [clip for clip in clips if clip.split != data.validation_split]
        if not clips:
            raise ValueError(f"'{data.manifest}' has no clips besides those of split '{data.validation_split}'.")
    if world()[0]:
        barrier()

    def open_corpus(clips: list[Clip]) -> AudioCache | AudioFiles:
        return build_cache(clips, cache_folder, rate) if data.decode_once else AudioFiles(clips, rate)

    corpora = [open_corpus(clips)]
    corpora += [open_corpus(_training_clips(manifest, data.split)) for manifest in data.more_manifests]
    targets = _teach(recipe, corpora, cache_folder) if recipe.loss.semantic > 0 else None
    validation = build_cache(held_out, cache_folder, rate) if held_out else None
    if not world()[0]:
        barrier()
    frame = recipe.model.hop_length * recipe.model.tokens_per_frame
    length = math.ceil(data.segment_seconds * rate / frame) * frame
    augmentation = Augmentation(
        data.noise_rate, _pair(data.noise_db), data.bandwidth_rate, _pair(data.bandwidth_hz), data.speed_rate,
        _pair(data.speed), data.reverb_rate, data.mix_rate, data.tone_rate,
    )  # fmt: skip
    sampler = SegmentSampler(
        corpora, data.batch_size, length, _pair(data.gain_db), recipe.train.seed, data.weights, augmentation,
        targets,
    )  # fmt: skip
    return sampler, validation


def _teach(recipe: Recipe, corpora: Sequence[AudioCache | AudioFiles], cache_folder: str | Path) -> TokenTargets:
    """What the teacher says of the corpora; computed where it was not yet, which may take long."""
    loss = recipe.loss
    if not recipe.data.decode_once:
        raise ValueError("loss.semantic needs the decoded corpus: set data.decode_once=true.")
    entries = loss.semantic_teacher, loss.semantic_layer, loss.semantic_rate
    identity = teacher_identity(*entries)
    found = [
        build_features(corpus, cache_folder, identity, lambda: load_teacher(*entries))
        for corpus in corpora if isinstance(corpus, AudioCache)
    ]  # fmt: skip
    model = recipe.model
    return TokenTargets(found, model.hop_length, model.first_moment * model.sample_rate)


def _training_clips(manifest: str, split: str) -> list[Clip]:
    """The clips of a split; of a manifest that knows no splits, all."""
    clips = read_manifest(manifest)
    return read_manifest(manifest, split) if split and any(clip.split for clip in clips) else clips


def _validation_clips(manifest: str, split: str) -> list[Clip]:
    found = [clip for clip in read_manifest(manifest) if clip.split == split]
    if not found:
        raise ValueError(
            f"'{manifest}' has no clips of split '{split}' to validate on (data.validation_split). Hold clips of the "
            "training set out instead: --set data.validation_split= --set data.validation_share=0.1."
        )
    return found


def _pair(values: list[float]) -> tuple[float, float]:
    return values[0], values[1]

"""Recordings of any lengths to one padded batch with its mask."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor

from .remote import auto_map, write_code

Audio = np.ndarray | Sequence[float]


class SQCodecFeatureExtractor(SequenceFeatureExtractor):
    """Args as those of `EncodecFeatureExtractor`: mono audio at ``sampling_rate`` Hz."""

    model_input_names = ["input_values", "padding_mask"]

    def __init__(
        self, sampling_rate: int = 16000, feature_size: int = 1, padding_value: float = 0.0, **kwargs: Any
    ) -> None:
        kwargs.setdefault("auto_map", auto_map(AutoFeatureExtractor="SQCodecFeatureExtractor"))
        super().__init__(
            feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs
        )

    def __call__(
        self,
        raw_audio: Audio | Sequence[Audio],
        sampling_rate: int | None = None,
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Pads on the right.

        Args:
            raw_audio: [T], or several of any lengths.
            sampling_rate: of ``raw_audio``, Hz; say it, so that a wrong one is noticed.
        Returns:
            ``input_values`` float32 [B, 1, T] and ``padding_mask`` [B, T], 1 where there is audio.
        Raises:
            ValueError: another rate than the model's, more than one channel, no samples.
        """
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise ValueError(
                f"The audio has {sampling_rate} Hz, the model wants {self.sampling_rate}: resample first, such as with "
                f"dataset.cast_column('audio', datasets.Audio(sampling_rate={self.sampling_rate}))."
            )
        single = isinstance(raw_audio, np.ndarray) and raw_audio.ndim == 1 or np.isscalar(raw_audio[0])
        items = [np.asarray(item, np.float32) for item in ([raw_audio] if single else raw_audio)]
        for index, item in enumerate(items):
            if item.ndim != 1 or not len(item):
                raise ValueError(f"Item {index} has shape {list(item.shape)}: one channel [T] with samples is needed.")
        padded = self.pad(
            BatchFeature({"input_values": items}),
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            return_attention_mask=True,
        )
        padded["padding_mask"] = padded.pop("attention_mask")
        padded["input_values"] = [np.asarray(item, np.float32)[None] for item in padded["input_values"]]
        return padded.convert_to_tensors(return_tensors) if return_tensors else padded

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> Any:  # type: ignore[override]
        write_code(save_directory)
        return super().save_pretrained(save_directory, **kwargs)

"""The configuration of a codec for `transformers`."""

from __future__ import annotations

import os
from typing import Any

from transformers import PreTrainedConfig

from sqcodec.config import FrameConfig, ModelConfig

from .remote import auto_map, write_code


class SQCodecConfig(PreTrainedConfig):
    """Wraps a ``ModelConfig``.

    Args:
        codec: the ``ModelConfig`` as nested dictionaries; None is the default one.
        weights_hash: hash (hex) of the model that this came from.
    """

    model_type = "sqcodec"

    def __init__(self, codec: dict[str, Any] | None = None, weights_hash: str = "", **kwargs: Any) -> None:
        self.codec = (ModelConfig.from_dict(codec) if codec else FrameConfig()).to_dict()
        self.weights_hash = weights_hash
        kwargs.setdefault("auto_map", auto_map(AutoConfig="SQCodecConfig", AutoModel="SQCodecModel"))
        super().__init__(**kwargs)

    @property
    def model_config(self) -> ModelConfig:
        return ModelConfig.from_dict(self.codec)

    @property
    def sampling_rate(self) -> int:
        """Hz."""
        return self.model_config.sample_rate

    @property
    def codebook_size(self) -> int:
        return self.model_config.codebook_size

    @property
    def levels(self) -> tuple[int, ...] | None:
        return tuple(self.model_config.quantizer.levels) or None

    @property
    def frame_rate(self) -> float:
        """Tokens a second."""
        return self.model_config.token_rate

    @property
    def hop_length(self) -> int:
        """Samples a token."""
        return self.model_config.hop_length

    @property
    def target_bandwidths(self) -> list[float]:
        """Rates that ``SQCodecModel.encode(bandwidth=...)`` takes, kbit/s; a single one for most models."""
        config = self.model_config
        return list(config.rates.table().values()) if config.rates else [config.bit_rate / 1000]

    @property
    def num_quantizers(self) -> int:
        return 1

    @property
    def audio_channels(self) -> int:
        return 1

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:  # type: ignore[override]
        write_code(save_directory)
        super().save_pretrained(save_directory, **kwargs)

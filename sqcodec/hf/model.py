"""The codec as a `PreTrainedModel`, with the calls that users of `EncodecModel` and `MimiModel` know.

Letters: B batch, T samples, N tokens. Codes are [B, 1, N]: there is one quantizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from sqcodec.codec import Codec
from sqcodec.nn import build_network

from .configuration import SQCodecConfig


@dataclass
class SQCodecEncoderOutput(ModelOutput):
    """``codes_mask`` is 1 where a code is one of the recording's."""

    audio_codes: Tensor | None = None
    codes_mask: Tensor | None = None


@dataclass
class SQCodecDecoderOutput(ModelOutput):
    """``audio_values`` float32 [B, 1, T], zero after the end of each recording."""

    audio_values: Tensor | None = None


@dataclass
class SQCodecOutput(ModelOutput):
    """Both."""

    audio_codes: Tensor | None = None
    audio_values: Tensor | None = None
    codes_mask: Tensor | None = None


class SQCodecModel(PreTrainedModel):
    """Codes as ``Codec`` does: a recording in a padded batch gets the codes that it gets alone. For inference."""

    config: SQCodecConfig
    config_class = SQCodecConfig
    base_model_prefix = "sqcodec"
    main_input_name = "input_values"

    def __init__(self, config: SQCodecConfig) -> None:
        super().__init__(config)
        self.network = build_network(config.model_config)
        self._codec: Codec | None = None
        self.post_init()

    @classmethod
    def from_codec(cls, codec: Codec) -> SQCodecModel:
        """A loaded codec's weights, copied."""
        model = cls(SQCodecConfig(codec.config.to_dict(), codec.weights_hash))
        model.network.load_state_dict(codec.network.state_dict())
        return model.eval()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As of every `PreTrainedModel`."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model._restore_buffers()
        return loaded

    @property
    def codec(self) -> Codec:
        """The codec that does the work; made anew when the model moves to another device."""
        if self._codec is None or self._codec.device != self.device:
            name = self.config.model_config.name
            self._codec = Codec(self.network, name, self.config.weights_hash)
        return self._codec

    def encode(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        bandwidth: float | None = None,
        return_dict: bool = True,
    ) -> SQCodecEncoderOutput | tuple[Tensor, ...]:
        """Audio to codes.

        Args:
            input_values: float [B, 1, T] or [B, T], at the model's rate.
            padding_mask: [B, T] or [B, 1, T], 1 where there is audio; padding must come after it.
            bandwidth: kbit/s, of a model with several (``config.target_bandwidths``): the most bits a code that fit.
                ``decode`` needs the same.
        Returns:
            ``audio_codes`` int64 [B, 1, N], 0 after the end of each recording, and ``codes_mask`` [B, N].
        """
        samples = _one_channel(input_values)
        lengths = _lengths(padding_mask, samples)
        rows = self.codec.encode_batch(
            [row[:length] for row, length in zip(samples, lengths, strict=True)], kbps=bandwidth
        )
        codes = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        counts = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(codes.shape[1]) < counts[:, None]).long()
        output = SQCodecEncoderOutput(codes[:, None].to(self.device), mask.to(self.device))
        return output if return_dict else output.to_tuple()

    def decode(
        self,
        audio_codes: Tensor,
        padding_mask: Tensor | None = None,
        codes_mask: Tensor | None = None,
        bandwidth: float | None = None,
        return_dict: bool = True,
    ) -> SQCodecDecoderOutput | tuple[Tensor, ...]:
        """Codes to audio.

        Args:
            audio_codes: int64 [B, 1, N] or [B, N].
            padding_mask: of the audio that was encoded: gives each its true length.
            codes_mask: [B, N] from ``encode``; None means that all codes count.
            bandwidth: what was given to ``encode``.
        """
        codes = _one_channel(audio_codes)
        rows = [row[:count] for row, count in zip(codes, _lengths(codes_mask, codes), strict=True)]
        lengths = None if padding_mask is None else _lengths(padding_mask, padding_mask.flatten(1))
        audio = nn.utils.rnn.pad_sequence(self.codec.decode_batch(rows, lengths, kbps=bandwidth), batch_first=True)
        output = SQCodecDecoderOutput(audio[:, None].to(self.device))
        return output if return_dict else output.to_tuple()

    def forward(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        audio_codes: Tensor | None = None,
        bandwidth: float | None = None,
        return_dict: bool = True,
    ) -> SQCodecOutput | tuple[Tensor, ...]:
        """Audio to codes (unless given) and back to audio of the same length."""
        mask = torch.ones_like(_one_channel(input_values)) if padding_mask is None else padding_mask
        codes_mask = None
        if audio_codes is None:
            encoded = self.encode(input_values, mask, bandwidth)
            audio_codes, codes_mask = encoded["audio_codes"], encoded["codes_mask"]  # type: ignore[call-overload]
        assert audio_codes is not None
        decoded = self.decode(audio_codes, mask, codes_mask, bandwidth)
        output = SQCodecOutput(audio_codes, decoded["audio_values"], codes_mask)  # type: ignore[call-overload]
        return output if return_dict else output.to_tuple()

    def get_encoded_length(self, input_length: Tensor) -> Tensor:
        """Codes for recordings of these lengths in samples."""
        counts = [self.codec.token_count(int(length)) for length in input_length.flatten()]
        return torch.tensor(counts, device=input_length.device).reshape(input_length.shape)

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the network's own constructors did it."""

    def _restore_buffers(self) -> None:
        """What is computed, not stored: transformers leaves such buffers uninitialised after loading."""
        fresh = dict(build_network(self.config.model_config).named_buffers())
        stored = self.network.state_dict().keys()
        for name, buffer in self.network.named_buffers():
            if name not in stored:
                buffer.copy_(fresh[name])
        self._codec = None


def _one_channel(tensor: Tensor) -> Tensor:
    """[B, 1, X] or [B, X] to [B, X]."""
    if tensor.dim() == 3 and tensor.shape[1] == 1:
        return tensor[:, 0]
    if tensor.dim() == 2:
        return tensor
    raise ValueError(f"A shape of {list(tensor.shape)}: [batch, 1, length] or [batch, length] is needed.")


def _lengths(mask: Tensor | None, values: Tensor) -> list[int]:
    """How many of each row [B, X] count."""
    if mask is None:
        return [values.shape[1]] * values.shape[0]
    flat = _one_channel(mask) != 0
    if flat.shape != values.shape:
        raise ValueError(f"The mask has shape {list(mask.shape)}, what it masks {list(values.shape)}.")
    lengths = flat.sum(dim=1)
    if (flat != (torch.arange(flat.shape[1], device=flat.device) < lengths[:, None])).any() or (lengths == 0).any():
        raise ValueError("The mask must be 1 from the beginning of each row, and 0 after its end: pad on the right.")
    return lengths.tolist()

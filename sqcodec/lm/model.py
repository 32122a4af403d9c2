"""A decoder-only Transformer (`transformers`' Llama) between a factorised embedding and a factorised head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, LlamaConfig, LlamaModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from sqcodec.lm.head import FactorisedEmbedding, FactorisedHead


class SpeechLMConfig(PreTrainedConfig):
    """Sizes of the model, and the codec whose tokens it speaks.

    Args:
        levels: of the quantizer; a codebook without levels is one digit, (K,).
        alphabet: characters that a text may have; empty is a model without text.
        codec, codec_hash: name and hash (hex) of the codec.
    """

    model_type = "sqcodec_lm"

    def __init__(
        self,
        levels: list[int] | None = None,
        hidden_size: int = 256,
        num_layers: int = 4,
        num_heads: int = 4,
        intermediate_size: int = 704,
        head_width: int = 128,
        dropout: float = 0.0,
        max_positions: int = 4096,
        alphabet: str = "",
        codec: str = "",
        codec_hash: str = "",
        **kwargs: Any,
    ) -> None:
        self.levels = list(levels or [7] * 6)
        self.hidden_size, self.num_layers, self.num_heads = hidden_size, num_layers, num_heads
        self.intermediate_size, self.head_width, self.dropout = intermediate_size, head_width, dropout
        self.max_positions, self.alphabet, self.codec, self.codec_hash = max_positions, alphabet, codec, codec_hash
        super().__init__(**kwargs)

    @property
    def codebook_size(self) -> int:
        return math.prod(self.levels)


@dataclass
class SpeechLMOutput(ModelOutput):
    """``loss``: mean nats of the predicted positions; ``nats`` [B, L - 1, D] of each digit, 0 where nothing is
    predicted; ``predicted`` bool [B, L - 1]; ``hidden`` [B, L, H]."""

    loss: Tensor | None = None
    nats: Tensor | None = None
    predicted: Tensor | None = None
    hidden: Tensor | None = None
    past_key_values: Cache | None = None


def within_clips(clips: Tensor) -> tuple[Tensor, Tensor]:
    """For clips [B, L] packed one after the other: what is added to attention's logits, float32 [B, 1, L, L], and
    positions from each clip's first id on, int64 [B, L]."""
    places = torch.arange(clips.shape[1], device=clips.device)
    allowed = (clips[:, :, None] == clips[:, None, :]) & (places[:, None] >= places)
    begins = nn.functional.pad(clips[:, 1:] != clips[:, :-1], (1, 0))
    positions = places - torch.where(begins, places, 0).cummax(dim=1).values
    mask = torch.zeros(allowed.shape, device=clips.device)
    return mask.masked_fill(~allowed, torch.finfo(mask.dtype).min)[:, None], positions


class SpeechLM(PreTrainedModel):
    """p(next token | all before it). Texts are read, not predicted."""

    config: SpeechLMConfig
    config_class = SpeechLMConfig
    base_model_prefix = "speech_lm"
    main_input_name = "ids"

    def __init__(self, config: SpeechLMConfig) -> None:
        super().__init__(config)
        self.embedding = FactorisedEmbedding(config.levels, 1 + len(config.alphabet), config.hidden_size)
        self.backbone = LlamaModel(
            LlamaConfig(
                vocab_size=1,  # its own table is not used
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                max_position_embeddings=config.max_positions,
                pad_token_id=None,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = FactorisedHead(config.levels, config.hidden_size, config.head_width)
        self.post_init()

    def forward(
        self,
        ids: Tensor,
        past_key_values: Cache | None = None,
        use_cache: bool = False,
        loss: bool = True,
        clips: Tensor | None = None,
    ) -> SpeechLMOutput:
        """Ids int64 [B, L]. With ``loss`` the likelihood of each position but the first, given those before.

        ``clips`` int64 [B, L]: which clip each id belongs to, where several are packed. What is before a clip then
        does not count; without, all ids are of one clip.
        """
        mask, positions = (None, None) if clips is None else within_clips(clips)
        states = self.backbone(
            inputs_embeds=self.dropout(self.embedding(ids)),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )
        hidden = self.dropout(states.last_hidden_state)
        if not loss:
            return SpeechLMOutput(hidden=hidden, past_key_values=states.past_key_values)
        size = self.config.codebook_size
        predicted = (ids[:, :-1] <= size) & ~((ids[:, :-1] == size) & (ids[:, 1:] >= size))
        nats = hidden.new_zeros(*predicted.shape, len(self.config.levels), dtype=torch.float32)
        nats[predicted] = self.head.losses(hidden[:, :-1][predicted], ids[:, 1:][predicted].clamp_max(size))
        mean = nats.sum() / predicted.sum().clamp_min(1)
        return SpeechLMOutput(mean, nats, predicted, hidden, states.past_key_values)

    @torch.inference_mode()
    def continue_tokens(
        self,
        prompts: Tensor,
        num_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
        may_end: bool = False,
    ) -> Tensor:
        """Samples what follows.

        Args:
            prompts: ids int64 [B, L].
            num_tokens: how many more.
            may_end: let clips end; K stands from there on.
        Returns:
            int64 [B, num_tokens].
        """
        if temperature <= 0 or not 0 < top_p <= 1:
            raise ValueError(f"temperature {temperature} must be above 0, and top_p {top_p} in (0, 1].")
        self.eval()
        generator = torch.Generator(device=prompts.device).manual_seed(seed)
        size, output = self.config.codebook_size, []
        ended = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
        state = self(prompts, use_cache=True, loss=False)
        for _ in range(num_tokens):
            token = self.head.sample(state.hidden[:, -1], temperature, top_p, generator, may_end)
            ended = ended | (token == size)
            token = torch.where(ended, size, token)
            output.append(token)
            if bool(ended.all()):
                break
            state = self(token[:, None], past_key_values=state.past_key_values, use_cache=True, loss=False)
        done = torch.stack(output, dim=1)
        return nn.functional.pad(done, (0, num_tokens - done.shape[1]), value=size)

    def encode_text(self, text: str) -> Tensor:
        """A text as ids int64 [n]: lower case, characters outside the alphabet left out."""
        known = {character: index for index, character in enumerate(self.config.alphabet)}
        first = self.config.codebook_size + 1
        found = [first + known[character] for character in text.lower() if character in known]
        return torch.tensor(found, dtype=torch.int64)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding | nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        else:
            super()._init_weights(module)

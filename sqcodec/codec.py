"""The codec: samples to tokens and back, whole or in blocks.

Letters: B batch (or channels), T samples, N tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sqcodec import registry
from sqcodec.audio import resample
from sqcodec.checkpoint import hash_weights, load_model, load_weights, save_model
from sqcodec.config import ModelConfig
from sqcodec.nn import FrameNetwork, Network, build_network

CHUNK_SECONDS = 24.0
"""Longer audio is coded in chunks of about this length, cut at fixed positions."""

Samples = np.ndarray | Tensor


class Codec:
    """A model ready to use.

    A causal model is coded in chunks that overlap by all that its layers can see, cut at fixed positions, so
    ``encode`` and ``encode_blocks`` give the same tokens however the audio arrives. A published model norms over the
    whole signal: it is run as its authors do up to ``CHUNK_SECONDS`` (rounded up to whole attention windows), and
    longer audio as separate pieces of that length.

    Args:
        network: the network; it is put in evaluation mode.
        name: model name, kept in code files.
        weights_hash: sha256 (hex) of the weights file.
    """

    def __init__(self, network: Network | FrameNetwork, name: str = "", weights_hash: str = "") -> None:
        self.network = network.eval().requires_grad_(False)
        self.name, self.weights_hash = name, weights_hash

    @classmethod
    def from_pretrained(cls, model: str | Path, device: str = "cpu") -> Codec:
        """Loads a model by name (``sqcodec models`` lists them) or from a model or run folder.

        Raises:
            ValueError: unknown name, damaged file, or weights that do not fit; the message says which.
        """
        folder = registry.find_model(model)
        config, tensors, _ = load_model(folder)
        network = build_network(config)
        load_weights(network, tensors)
        return cls(network.to(device), config.name or folder.name, hash_weights(folder))

    def save_pretrained(self, folder: str | Path, metadata: dict[str, str] | None = None) -> None:
        """Writes ``model.safetensors`` (float32) and ``config.toml``."""
        self.weights_hash = save_model(folder, self.config, self.network.state_dict(), metadata)

    @property
    def config(self) -> ModelConfig:
        return self.network.config

    @property
    def sample_rate(self) -> int:
        """Of the coded audio, Hz."""
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples a token."""
        return self.config.hop_length

    @property
    def token_rate(self) -> float:
        """Tokens a second."""
        return self.config.token_rate

    @property
    def codebook_size(self) -> int:
        return self.config.codebook_size

    @property
    def levels(self) -> tuple[int, ...] | None:
        """Levels of a scalar quantizer; None for a codebook."""
        return tuple(self.config.quantizer.levels) or None

    @property
    def bit_rate(self) -> float:
        """Nominal, bit/s."""
        return self.config.bit_rate

    @property
    def lookahead(self) -> int:
        """Samples of the future that a causal model hears beyond the current frame."""
        return self.config.lookahead

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def token_count(self, length: int) -> int:
        """Tokens for ``length`` samples at the model's rate, as ``encode`` gives them."""
        if self.config.causal:
            return self.network.token_count(length)
        whole, rest = divmod(length, self._chunk_length)
        return (whole * self._chunk_length + self.network.pad_length(rest)) // self.hop_length

    def encode(self, samples: Samples, sample_rate: int | None = None) -> Tensor:
        """Samples to tokens.

        Args:
            samples: [T] or [B, T], numpy or torch; float in [-1, 1], or int16. Each row is coded by itself.
            sample_rate: Hz; resampled where it is not the model's. None means the model's.
        Returns:
            int64 [B, N].
        Raises:
            ValueError: no samples, more than two dimensions, or values that are not finite.
        """
        array = _to_float(samples)
        if sample_rate is not None and sample_rate != self.sample_rate:
            array = resample(array, sample_rate, self.sample_rate)
        return torch.from_numpy(np.concatenate(list(self.encode_blocks([array])), axis=1))

    def decode(self, tokens: Samples, length: int | None = None) -> Tensor:
        """Tokens to samples at the model's rate.

        Args:
            tokens: integers [N] or [B, N].
            length: samples to return; None returns all that the tokens carry.
        Returns:
            float32 [B, T].
        Raises:
            ValueError: no tokens, a token outside the codebook, or more samples asked for than tokens carry.
        """
        array = tokens.detach().cpu().numpy() if isinstance(tokens, Tensor) else np.asarray(tokens)
        array = array[None] if array.ndim == 1 else array
        if array.ndim != 2 or array.shape[1] == 0:
            raise ValueError(f"Tokens have shape {list(array.shape)}: [N] or [B, N] with at least one is needed.")
        carried = array.shape[1] * self.hop_length - self.lookahead
        blocks = list(self.decode_blocks(array, max(carried, 0) if length is None else length))
        return torch.from_numpy(np.concatenate(blocks, axis=1))

    @torch.inference_mode()
    def encode_blocks(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Blocks of samples to blocks of tokens, in bounded memory.

        Args:
            blocks: float32 [B, t] each, of any lengths, at the model's rate.
        Yields:
            int64 [B, n].
        """
        chunk, context = self._chunk_length, self._context(self.network.encoder_context)
        kept, pending, held, total = None, [], 0, 0
        for block in blocks:
            pending.append(block)
            held, total = held + block.shape[1], total + block.shape[1]
            if held < chunk:
                continue
            joined = np.concatenate(pending, axis=1)
            while joined.shape[1] >= chunk:
                yield self._encode_chunk(kept, joined[:, :chunk])
                kept, joined = _tail(kept, joined[:, :chunk], context), joined[:, chunk:]
            pending, held = [joined], joined.shape[1]
        if not total:
            raise ValueError("There are no samples to encode.")
        last = np.concatenate(pending, axis=1)
        # A causal model's lookahead still has to come out when the last chunk was full.
        if self.config.causal:
            wanted = self.network.token_count(total) * self.hop_length - (total - last.shape[1])
            last = np.pad(last, ((0, 0), (0, wanted - last.shape[1])))
            for start in range(0, last.shape[1], chunk):
                part = last[:, start : start + chunk]
                yield self._encode_chunk(kept, part)
                kept = _tail(kept, part, context)
        elif last.shape[1]:
            yield self._encode_chunk(None, self.network.pad(torch.from_numpy(last)).numpy())

    @torch.inference_mode()
    def decode_blocks(self, tokens: np.ndarray, length: int) -> Iterator[np.ndarray]:
        """Tokens to blocks of samples, ``length`` in all, in bounded memory.

        Args:
            tokens: integers [B, N].
            length: samples at the model's rate.
        Yields:
            float32 [B, t].
        """
        carried = tokens.shape[1] * self.hop_length - self.lookahead
        if length > carried:
            raise ValueError(f"{tokens.shape[1]} tokens carry {max(carried, 0)} samples, fewer than {length}.")
        chunk = self._chunk_length // self.hop_length
        context = self._context(self.network.decoder_context) // self.hop_length
        skip, left = self.lookahead, length
        for start in range(0, tokens.shape[1], chunk):
            if left == 0:
                return
            first = max(0, start - context)
            part = torch.from_numpy(np.ascontiguousarray(tokens[:, first : start + chunk])).to(self.device)
            output = self.network.decode_features(self.network.quantizer.decode(part))[:, 0]
            samples = output[:, (start - first) * self.hop_length :].cpu().numpy()[:, skip : skip + left]
            skip = max(0, skip - (output.shape[1] - (start - first) * self.hop_length))
            left -= samples.shape[1]
            if samples.shape[1]:
                yield samples

    @property
    def _chunk_length(self) -> int:
        multiple = self.config.pad_multiple
        return -(-int(CHUNK_SECONDS * self.sample_rate) // multiple) * multiple

    def _context(self, samples: int) -> int:
        """``samples`` rounded up to whole frames; nothing for a model that is not causal."""
        multiple = self.config.pad_multiple
        return -(-samples // multiple) * multiple if self.config.causal else 0

    def _encode_chunk(self, kept: np.ndarray | None, chunk: np.ndarray) -> np.ndarray:
        samples = chunk if kept is None else np.concatenate([kept, chunk], axis=1)
        features = self.network.encode_features(torch.from_numpy(samples).to(self.device)[:, None])
        return self.network.quantizer.encode(features).cpu().numpy()[:, -(chunk.shape[1] // self.hop_length) :]


def _tail(kept: np.ndarray | None, chunk: np.ndarray, context: int) -> np.ndarray | None:
    """The last ``context`` samples of what was coded so far."""
    if not context:
        return None
    joined = chunk if kept is None else np.concatenate([kept, chunk], axis=1)
    return joined[:, -context:]


def _to_float(samples: Samples) -> np.ndarray:
    array = samples.detach().cpu().numpy() if isinstance(samples, Tensor) else np.asarray(samples)
    if array.dtype == np.int16:
        array = array.astype(np.float32) / 32768.0
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"Samples are {array.dtype}: float in [-1, 1] or int16 is needed.")
    array = np.ascontiguousarray(array[None] if array.ndim == 1 else array, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"Samples have shape {list(array.shape)}: [T] or [B, T] with at least one is needed.")
    if not np.isfinite(array).all():
        raise ValueError("Samples contain values that are not finite (NaN or infinity): replace them first.")
    return array

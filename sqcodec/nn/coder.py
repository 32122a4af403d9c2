"""What codes with a network: recordings, blocks of any lengths and batches, in bounded memory.

Letters: B batch (or channels), T samples, N tokens, Q tokens a frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sqcodec.nn.base import CodecNetwork
from sqcodec.nn.incremental import DecoderSteps, EncoderSteps
from sqcodec.nn.inference import InferenceOptions
from sqcodec.nn.network import FrameNetwork
from sqcodec.nn.streams import DecoderStream, EncoderStream, decode_items, encode_items

CHUNK_SECONDS = 24.0
"""Longer audio is coded in chunks of about this length, cut at fixed positions."""

BATCH_SECONDS = 960.0
"""Most audio that is coded together, padding included."""


class Coder(ABC):
    """Codes with one network. Its methods are called within ``torch.inference_mode``; ``bits`` of a token, where they
    are nested, else None.

    Args:
        network: in evaluation mode. Weights that change after the first use are not seen.
        options: precision and kernels.
    """

    def __init__(self, network: CodecNetwork, options: InferenceOptions) -> None:
        self.network, self.config, self.options = network, network.config, options

    @property
    def encoder(self) -> EncoderSteps | None:
        """For live streams; None where the network cannot stream exactly."""
        return None

    @property
    def decoder(self) -> DecoderSteps | None:
        """For live streams; None where the network cannot stream exactly."""
        return None

    @abstractmethod
    def token_count(self, length: int) -> int:
        """Tokens that ``length`` samples become."""

    @abstractmethod
    def encode_blocks(self, blocks: Iterable[np.ndarray], bits: int | None) -> Iterator[np.ndarray]:
        """Blocks of samples float32 [B, t] of any lengths to blocks of tokens int64 [B, n]; ValueError without any."""

    @abstractmethod
    def decode_blocks(
        self, tokens: np.ndarray | Iterable[np.ndarray], length: int, bits: int | None
    ) -> Iterator[np.ndarray]:
        """Tokens [B, N], or pieces of them, to blocks float32 [B, t], ``length`` samples in all; ValueError where the
        tokens carry fewer."""

    def encode_items(self, items: Sequence[np.ndarray], bits: int | None) -> list[Tensor]:
        """Recordings float32 [1, T] to tokens int64 [N] each, as ``encode_blocks`` gives them."""
        return [_row(list(self.encode_blocks([item], bits)), np.int64) for item in items]

    def decode_items(
        self, items: Sequence[np.ndarray], lengths: Sequence[int], bits: int | None
    ) -> list[Tensor]:
        """Tokens [1, N] to recordings float32 [length] each, as ``decode_blocks`` gives them."""
        pairs = zip(items, lengths, strict=True)
        return [_row(list(self.decode_blocks(item, length, bits)), np.float32) for item, length in pairs]

    def carried(self, tokens: np.ndarray) -> int:
        """Samples of the recording in tokens [B, N]."""
        per_frame = self.config.tokens_per_frame
        return tokens.shape[1] // per_frame * per_frame * self.config.hop_length - self.config.lookahead

    def check_carried(self, tokens: np.ndarray, length: int) -> None:
        """ValueError where tokens [B, N] carry fewer than ``length`` samples."""
        carried = self.carried(tokens)
        if length > carried:
            raise ValueError(f"{tokens.shape[1]} tokens carry {max(carried, 0)} samples, fewer than {length}.")

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def chunk_length(self) -> int:
        """Samples of a chunk: whole attention windows."""
        multiple = self.config.pad_multiple
        return -(-int(CHUNK_SECONDS * self.config.sample_rate) // multiple) * multiple


class IncrementalCoder(Coder):
    """The causal network, run step by step with the state of its layers: pieces of any lengths, batches and whole
    recordings give the same tokens and samples."""

    network: FrameNetwork

    @cached_property
    def encoder(self) -> EncoderSteps:
        return EncoderSteps(self.network, self.options)

    @cached_property
    def decoder(self) -> DecoderSteps:
        return DecoderSteps(self.network, self.options)

    def token_count(self, length: int) -> int:
        return self.network.token_count(length)

    def encode_blocks(self, blocks: Iterable[np.ndarray], bits: int | None) -> Iterator[np.ndarray]:
        stream: EncoderStream | None = None
        for block in blocks:
            stream = stream or EncoderStream(self.encoder, block.shape[0], bits)
            tokens = stream.push(torch.from_numpy(block))
            if tokens.shape[1]:
                yield tokens.cpu().numpy()
        if stream is None or not stream.state.total:
            raise ValueError("There are no samples to encode.")
        yield stream.flush(self._frame_count(stream.state.total)).cpu().numpy()

    def decode_blocks(
        self, tokens: np.ndarray | Iterable[np.ndarray], length: int, bits: int | None
    ) -> Iterator[np.ndarray]:
        if isinstance(tokens, np.ndarray):
            self.check_carried(tokens, length)
            chunk = self.chunk_length // self.config.hop_length
            pieces: Iterable[np.ndarray] = np.split(tokens, range(chunk, tokens.shape[1], chunk), axis=1)
        else:
            pieces = tokens
        stream, left = None, length
        for part in pieces:
            if left == 0:
                return
            stream = stream or DecoderStream(self.decoder, part.shape[0], self.config.lookahead, bits)
            samples = stream.push(torch.from_numpy(np.ascontiguousarray(part))).cpu().numpy()[:, :left]
            left -= samples.shape[1]
            if samples.shape[1]:
                yield samples
        if left:
            raise ValueError(f"The tokens carry {length - left} samples, fewer than {length}.")

    def encode_items(self, items: Sequence[np.ndarray], bits: int | None) -> list[Tensor]:
        samples = [torch.from_numpy(item[0]).to(self.device) for item in items]
        frames = [self._frame_count(len(item)) for item in samples]
        results: list[Tensor] = [torch.zeros(0)] * len(items)
        for group in self._groups(frames):
            tokens = encode_items(self.encoder, [samples[i] for i in group], [frames[i] for i in group], bits)
            for index, row in zip(group, tokens, strict=True):
                results[index] = row.cpu()
        return results

    def decode_items(
        self, items: Sequence[np.ndarray], lengths: Sequence[int], bits: int | None
    ) -> list[Tensor]:
        per_frame = self.config.tokens_per_frame
        for item, length in zip(items, lengths, strict=True):
            self.check_carried(item, length)
        whole = [torch.from_numpy(item[0, : item.shape[1] // per_frame * per_frame]) for item in items]
        results: list[Tensor] = [torch.zeros(0)] * len(items)
        for group in self._groups([len(tokens) // per_frame for tokens in whole]):
            rows = decode_items(self.decoder, [whole[index].to(self.device) for index in group], bits)
            for index, row in zip(group, rows, strict=True):
                results[index] = row[self.config.lookahead :][: lengths[index]].cpu()
        return results

    def _groups(self, frames: Sequence[int]) -> Iterator[list[int]]:
        """Items of similar lengths together, ``BATCH_SECONDS`` at most."""
        most = BATCH_SECONDS * self.config.sample_rate / (self.config.hop_length * self.config.tokens_per_frame)
        group: list[int] = []
        for index in sorted(range(len(frames)), key=lambda index: -frames[index]):
            if group and frames[group[0]] * (len(group) + 1) > most:
                yield group
                group = []
            group.append(index)
        if group:
            yield group

    def _frame_count(self, length: int) -> int:
        return self.network.token_count(length) // self.config.tokens_per_frame


def _row(blocks: list[np.ndarray], dtype: type) -> Tensor:
    """Blocks [1, n] to [N]."""
    return torch.from_numpy(np.concatenate([np.zeros((1, 0), dtype), *blocks], axis=1)[0])

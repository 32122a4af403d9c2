"""Coding with the published networks, chunk by chunk.

A causal network is coded in chunks that overlap by all that its layers can see, cut at fixed positions. One that is not
norms over the whole signal: it is run as its authors do up to one chunk, and longer audio as separate pieces.

Letters: B batch, N tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
import torch

from sqcodec.nn.coder import Coder
from sqcodec.nn.published.network import WaveformNetwork
from sqcodec.nn.published.prepared import PreparedNetwork


class ChunkedCoder(Coder):
    """Codes with a ``WaveformNetwork``."""

    network: WaveformNetwork

    @cached_property
    def prepared(self) -> PreparedNetwork:
        """The network with weights prepared for inference."""
        return PreparedNetwork(self.network, self.options)

    def token_count(self, length: int) -> int:
        if self.config.causal:
            return self.network.token_count(length)
        whole, rest = divmod(length, self.chunk_length)
        return (whole * self.chunk_length + self.network.pad_length(rest)) // self.config.hop_length

    def encode_blocks(self, blocks: Iterable[np.ndarray], bits: int | None) -> Iterator[np.ndarray]:
        chunk, context = self.chunk_length, self._context(self.network.encoder_context)
        kept, pending, held, total = None, [], 0, 0
        for block in blocks:
            pending.append(block)
            held, total = held + block.shape[1], total + block.shape[1]
            if held < chunk:
                continue
            joined = np.concatenate(pending, axis=1)
            while joined.shape[1] >= chunk:
                yield self._encode_chunk(kept, joined[:, :chunk], bits)
                kept, joined = _tail(kept, joined[:, :chunk], context), joined[:, chunk:]
            pending, held = [joined], joined.shape[1]
        if not total:
            raise ValueError("There are no samples to encode.")
        last = np.concatenate(pending, axis=1)
        # A causal model's lookahead still has to come out when the last chunk was full.
        if self.config.causal:
            wanted = self.network.token_count(total) * self.config.hop_length - (total - last.shape[1])
            last = np.pad(last, ((0, 0), (0, wanted - last.shape[1])))
            for start in range(0, last.shape[1], chunk):
                part = last[:, start : start + chunk]
                yield self._encode_chunk(kept, part, bits)
                kept = _tail(kept, part, context)
        elif last.shape[1]:
            padded = self.network.pad(torch.from_numpy(last)).numpy()
            yield self._encode_chunk(None, padded, bits, last.shape[1])

    def decode_blocks(
        self, tokens: np.ndarray | Iterable[np.ndarray], length: int, bits: int | None
    ) -> Iterator[np.ndarray]:
        tokens = tokens if isinstance(tokens, np.ndarray) else np.concatenate(list(tokens), axis=1)
        self.check_carried(tokens, length)
        hop = self.config.hop_length
        chunk, context = self.chunk_length // hop, self._context(self.network.decoder_context) // hop
        skip, left = self.config.lookahead, length
        for start in range(0, tokens.shape[1], chunk):
            if left == 0:
                return
            first = max(0, start - context)
            part = torch.from_numpy(np.ascontiguousarray(tokens[:, first : start + chunk])).to(self.device)
            output = self.prepared.decode_features(self.network.quantizer.at(bits).decode(part))[:, 0]
            samples = output[:, (start - first) * hop :].cpu().numpy()[:, skip : skip + left]
            skip = max(0, skip - (output.shape[1] - (start - first) * hop))
            left -= samples.shape[1]
            if samples.shape[1]:
                yield samples

    def _context(self, samples: int) -> int:
        """``samples`` rounded up to whole frames; nothing for a model that is not causal."""
        multiple = self.config.pad_multiple
        return -(-samples // multiple) * multiple if self.config.causal else 0

    def _encode_chunk(
        self, kept: np.ndarray | None, chunk: np.ndarray, bits: int | None, length: int | None = None
    ) -> np.ndarray:
        """Tokens of the chunk; ``length``: samples before its padding, if it is padded."""
        samples = chunk if kept is None else np.concatenate([kept, chunk], axis=1)
        features = self.prepared.encode_features(torch.from_numpy(samples).to(self.device)[:, None], length)
        tokens = self.network.quantizer.at(bits).encode(features)
        return tokens.cpu().numpy()[:, -(chunk.shape[1] // self.config.hop_length) :]


def _tail(kept: np.ndarray | None, chunk: np.ndarray, context: int) -> np.ndarray | None:
    """The last ``context`` samples of what was coded so far."""
    if not context:
        return None
    joined = chunk if kept is None else np.concatenate([kept, chunk], axis=1)
    return joined[:, -context:]

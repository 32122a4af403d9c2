"""Training a predictor: in float32 with PyTorch's GRU; rounded to integers at the end.

Recordings are read side by side, a piece of each a step; the state goes on from piece to piece, so that the predictor
learns with as much past as it will have. Each recording draws how many symbols its tokens have, so that one predictor
serves every rate of a nested quantizer.

Letters: B batch, N tokens, S symbols of a token, R the sum of the alphabets, I inputs, E units for a symbol, A the
largest alphabet.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sqcodec.schedule import half_cosine

from .blocks import PIECE
from .predictor import ACTIVATION_BITS, HIGHEST_ACTIVATION, WEIGHT_BITS, Predictor, Runner
from .symbols import split
from .tables import make_tables

log = logging.getLogger(__name__)

FEWEST_TOKENS = 1000
LARGEST_ROW = 127.0
"""Of the absolute weights that meet in one exact sum."""


@dataclass(frozen=True)
class Settings:
    """Of one training. ``batch`` pieces of ``length`` tokens a step; ``lowest``: fewest symbols of a token.

    ``minutes``: at most; where they are too few for the steps, the learning rate falls with the time.
    """

    steps: int = 2400
    minutes: float = math.inf
    batch: int = 32
    length: int = 64
    units: int = 192
    rate: float = 6e-3
    lowest: int = 0
    seed: int = 0


class PredictorNetwork(nn.Module):
    """The predictor in floating point."""

    later: Tensor
    unused: Tensor

    def __init__(self, alphabets: tuple[int, ...], phases: int, units: int, inputs: int = 96) -> None:
        super().__init__()
        symbols, widest = len(alphabets), max(alphabets)
        self.alphabets, self.each = alphabets, units_per_symbol(symbols)
        wide = symbols * self.each
        self.embedding = nn.Parameter(torch.randn(sum(alphabets), inputs) / math.sqrt(symbols))
        self.phase = nn.Parameter(torch.zeros(phases, inputs))
        self.count = nn.Parameter(torch.zeros(symbols, inputs))
        self.gru = nn.GRU(inputs, units, batch_first=True)
        self.hidden = nn.Linear(units, wide)
        self.within = nn.Parameter(0.2 * torch.randn(sum(alphabets), wide))
        self.output = nn.Parameter(torch.randn(symbols, widest, self.each) / math.sqrt(self.each))
        self.output_bias = nn.Parameter(torch.zeros(symbols, widest))
        sizes = torch.tensor(alphabets)
        owner = torch.repeat_interleave(torch.arange(symbols), sizes)
        later = torch.arange(symbols) > owner[:, None]
        self.register_buffer("later", later.repeat_interleave(self.each, dim=1).float())  # [R, S E]
        self.register_buffer("unused", torch.arange(widest) >= sizes[:, None])  # [S, A]

    def forward(self, symbols: Tensor, counts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Symbols int64 [B, N, S], of which the first ``counts`` [B] are there, to nats of each [B, N, S].

        ``state`` [B, H] is that before the first token; the second result is the one after the last.
        """
        there = torch.arange(len(self.alphabets)) < counts[:, None, None]  # [B, 1, S]
        hot = torch.cat([F.one_hot(symbols[..., s], size) * there[..., s : s + 1]
                         for s, size in enumerate(self.alphabets)], dim=-1).float()  # fmt: skip
        length = symbols.shape[1]
        phases = self.phase[torch.arange(length) % len(self.phase)]
        inputs = hot @ self.embedding + phases + self.count[counts - 1][:, None]
        after = self.gru(inputs, state[None])[0]
        before = torch.cat([state[:, None], after[:, :-1]], dim=1)
        sums = self.hidden(before) + hot @ (self.within * self.later)
        active = sums.clamp(0, HIGHEST_ACTIVATION / 2**ACTIVATION_BITS).unflatten(-1, (len(self.alphabets), -1))
        scores = torch.einsum("bnse,sae->bnsa", active, self.output) + self.output_bias
        scores = scores.masked_fill(self.unused, -1e9)
        nats = F.cross_entropy(scores.flatten(0, 2), symbols.flatten(), reduction="none").view_as(symbols) * there
        return nats, after[:, -1].detach()

    @torch.no_grad()
    def to_integers(self) -> Predictor:
        """The predictor, with weights rounded to 2^-9."""
        units = self.gru.hidden_size
        gru: dict[str, Tensor] = dict(self.gru.named_parameters())
        matrix, bias = gru["weight_ih_l0"], gru["bias_hh_l0"]
        outer = gru["bias_ih_l0"] + F.pad(bias[: 2 * units], (0, units))
        return Predictor(
            alphabets=np.array(self.alphabets, np.int32),
            input=_integers(self.embedding @ matrix.T),
            phase=_integers(self.phase @ matrix.T + outer),
            count=_integers(self.count @ matrix.T),
            recurrent=_integers(_bounded(gru["weight_hh_l0"])),
            recurrent_bias=_integers(bias[2 * units :]),
            hidden=_integers(_bounded(self.hidden.weight)),
            hidden_bias=_integers(self.hidden.bias),
            within=_integers(self.within * self.later),
            output=_integers(self.output),
            output_bias=_integers(self.output_bias),
            **make_tables(),
        )


def units_per_symbol(symbols: int) -> int:
    """Fewer where a token has many: a step costs about the same for all."""
    return max(24, min(64, 384 // symbols))


def train_predictor(
    clips: Sequence[np.ndarray], alphabets: tuple[int, ...], phases: int, settings: Settings = Settings()
) -> Predictor:
    """Trains on tokens of the finest rate.

    Args:
        clips: int64 [N] each, any lengths.
        alphabets: of a token's symbols.
        phases: tokens of a frame; a clip begins with the first of one.
    Raises:
        ValueError: there is too little to learn from.
    """
    if (tokens := sum(map(len, clips))) < FEWEST_TOKENS:
        raise ValueError(f"{tokens} tokens to train on: allowed are {FEWEST_TOKENS} and more. Give more audio.")
    torch.manual_seed(settings.seed)
    network = PredictorNetwork(alphabets, phases, settings.units)
    optimizer = torch.optim.AdamW(network.parameters(), settings.rate, (0.9, 0.99), weight_decay=0.01)
    batches = _batches(clips, alphabets, phases, settings)
    state = torch.zeros(settings.batch, settings.units)
    began, mean = time.perf_counter(), 0.0
    for step in range(settings.steps):
        share = max(step / settings.steps, (time.perf_counter() - began) / (60 * settings.minutes))
        if share >= 1:
            break
        rate = settings.rate * min(1.0, 20 * (share + 1 / settings.steps)) * half_cosine(1.0, 0.0, share)
        optimizer.param_groups[0]["lr"] = rate
        symbols, counts, weights, goes_on = next(batches)
        nats, state = network(symbols, counts, state * goes_on)
        loss = (nats * weights[..., None]).sum() / (weights * counts[:, None]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        mean += 0.05 * (loss.item() - mean) if step else loss.item()
        if step % 50 == 49 or step + 1 == settings.steps:
            left = (time.perf_counter() - began) * (1 / max(share, 1e-9) - 1)
            log.info("step %d  bits a symbol %.3f  lr %.2g  left %.0f s", step + 1, mean / math.log(2), rate, left)
    return network.to_integers()


def coded_bits(
    predictor: Predictor, clips: Sequence[np.ndarray], count: int | None = None
) -> tuple[float, int]:
    """Bits that the range coder needs for tokens of ``count`` symbols (default: all), and how many tokens they are.

    Args:
        clips: int64 [N] each, tokens of so many symbols.
    """
    count = count or predictor.num_symbols
    bits, tokens, longest = 0.0, 0, sorted(clips, key=len)
    for first in range(0, len(longest), 16):
        group = longest[first : first + 16]
        padded = np.stack([np.pad(clip, (0, len(group[-1]) - len(clip))) for clip in group])
        there = np.arange(padded.shape[1]) < np.array([len(clip) for clip in group])[:, None]
        runner = Runner(predictor, count, len(group))
        for start in range(0, padded.shape[1], PIECE):
            piece = slice(start, start + PIECE)
            symbols = split(padded[:, piece], predictor.alphabet_sizes, count)
            for place, found in enumerate(runner.frequencies(symbols)):
                chosen = np.take_along_axis(found, symbols[:, :, place, None], axis=-1)[..., 0]
                bits += float((np.log2(found.sum(axis=-1) / chosen) * there[:, piece]).sum())
        tokens += int(there.sum())
    return bits, tokens


def _batches(
    clips: Sequence[np.ndarray], alphabets: tuple[int, ...], phases: int, settings: Settings
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Symbols [B, N, S], how many of them are there [B], weights [B, N]: 0 past a clip's end, and whether each row
    goes on where the one of the batch before ended [B, 1]: 0 or 1."""
    rng, most = np.random.default_rng(settings.seed), len(alphabets)
    lowest = min(settings.lowest or 1, most) if set(alphabets) == {2} else most
    length = -(-settings.length // phases) * phases

    def pieces() -> Iterator[tuple[np.ndarray, int, int]]:
        """Of one clip after the other: int64 [n], symbols of a token, whether it goes on."""
        while True:
            clip, count = clips[int(rng.integers(len(clips)))], int(rng.integers(lowest, most + 1))
            for first in range(0, len(clip), length):
                yield clip[first : first + length], count, first > 0

    lanes = [pieces() for _ in range(settings.batch)]
    for lane in lanes:  # so that they do not all begin a clip at once
        for _ in range(int(rng.integers(8))):
            next(lane)
    while True:
        found, counts, goes_on = zip(*map(next, lanes), strict=True)
        rows = np.stack([np.pad(piece, (0, length - len(piece))) for piece in found])
        weights = np.arange(length) < np.array([len(piece) for piece in found])[:, None]
        yield (
            torch.from_numpy(split(rows, alphabets, most)), torch.tensor(counts),
            torch.from_numpy(weights).float(), torch.tensor(goes_on).float()[:, None],
        )  # fmt: skip


def _integers(values: Tensor) -> np.ndarray:
    limit = 2**15 - 1
    return (values * 2**WEIGHT_BITS).round().clamp(-limit, limit).short().numpy()


def _bounded(matrix: Tensor) -> Tensor:
    """Rows whose absolute weights sum to so little that integer sums stay exact; as good as never needed."""
    return matrix * (LARGEST_ROW / matrix.abs().sum(dim=1, keepdim=True)).clamp_max(1)

"""The predictor: a gated recurrent unit (arXiv 1406.1078) over tokens, and for each symbol of a token a small layer
that also knows the symbols before it (arXiv 1605.02226). All of it in integers, so that every machine agrees.

`Reference` is the specification in int64. `Runner` computes the same numbers faster: matrix products in float32, whose
sums of integers stay below 2^24 and are exact in any order of summation (checked when a predictor is loaded), all
else in float64, exact below 2^53.

Letters: L lanes (channels), H units of the state, S symbols of a token, A the largest alphabet, E units for a symbol,
R the sum of the alphabets, P phases (tokens of a frame).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from sqcodec.files import write_atomically

from .symbols import LARGEST_ALPHABET, MOST_SYMBOLS

PREDICTOR_NAME = "entropy.safetensors"
HASH_BYTES = 8
LARGEST_FILE = 8 * 2**20

WEIGHT_BITS, ACTIVATION_BITS, STATE_BITS = 9, 8, 15
"""Binary places of weights, of what they are multiplied with, and of the state."""
SUM_BITS = WEIGHT_BITS + ACTIVATION_BITS
GATE_STEP, GATES = 2**9, 4096
"""The tables of sigmoid and tanh: an entry for each 2^9 of a sum (1/256), from -8 to 8."""
ODDS_STEP, ODDS = 2**10, 2048
"""The table of frequencies: an entry for each 2^10 (1/128 neper) below the likeliest symbol."""
HIGHEST_FREQUENCY = 2**14
HIGHEST_ACTIVATION = 2047
ACTIVE = 2.0**-WEIGHT_BITS
"""What sums are multiplied with to be activations, exactly."""
MOST_UNITS = 1024


class PredictorError(ValueError):
    """The file is no predictor, or it is damaged."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """The integers of a predictor; each field is a tensor of the file.

    Raises PredictorError unless shapes agree and every sum stays exact.
    """

    alphabets: np.ndarray
    """int32 [S], each 2 to 256."""
    input: np.ndarray
    """int16 [R, 3 H]: what a symbol of the token before adds to the gates (reset, update, new)."""
    phase: np.ndarray
    """int16 [P, 3 H]: added to the gates, by the token's place in its frame."""
    count: np.ndarray
    """int16 [S, 3 H]: added to the gates, row s - 1 where tokens have s symbols."""
    recurrent: np.ndarray
    """int16 [3 H, H]."""
    recurrent_bias: np.ndarray
    """int16 [H]: of the new gate, within the reset."""
    hidden: np.ndarray
    """int16 [S E, H]."""
    hidden_bias: np.ndarray
    """int16 [S E]."""
    within: np.ndarray
    """int16 [R, S E]: what a symbol adds to the layers of the symbols after it; 0 for the others."""
    output: np.ndarray
    """int16 [S, A, E]."""
    output_bias: np.ndarray
    """int16 [S, A]."""
    sigmoid: np.ndarray
    """int16 [4096], 0 to 2^15 - 1."""
    tanh: np.ndarray
    """int16 [4096], above -2^15."""
    odds: np.ndarray
    """int16 [2048], 1 to 2^14."""

    def __post_init__(self) -> None:
        self._check()

    @property
    def num_symbols(self) -> int:
        return len(self.alphabets)

    @property
    def num_units(self) -> int:
        return self.recurrent.shape[1]

    @property
    def units_per_symbol(self) -> int:
        return self.output.shape[2]

    @cached_property
    def alphabet_sizes(self) -> tuple[int, ...]:
        return tuple(self.alphabets.tolist())

    @cached_property
    def first_rows(self) -> np.ndarray:
        """[S]: where each symbol's rows begin in ``input`` and ``within``."""
        return np.cumsum(self.alphabets.astype(np.int64)) - self.alphabets

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of the tensors by name, as a model's (docs/code-file.md)."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors().items()):
            about = {"dtype": str(tensor.dtype), "name": name, "shape": list(tensor.shape)}
            digest.update(json.dumps(about, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n")
            digest.update(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def tensors(self) -> dict[str, np.ndarray]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def save(self, path: str | os.PathLike[str]) -> int:
        """Writes the file and returns its size in bytes."""
        import safetensors.numpy

        data = safetensors.numpy.save({name: np.ascontiguousarray(value) for name, value in self.tensors().items()})
        write_atomically(path, data)
        return len(data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Predictor:
        """Raises PredictorError (naming the file) or OSError."""
        import safetensors
        import safetensors.numpy

        if (size := Path(path).stat().st_size) > LARGEST_FILE:
            raise PredictorError(f"{path}: {size} bytes; a predictor has at most {LARGEST_FILE}")
        try:
            tensors = safetensors.numpy.load(Path(path).read_bytes())
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise PredictorError(f"{path}: damaged: {error}") from None
        names = {field.name for field in fields(cls)}
        if tensors.keys() != names:
            raise PredictorError(
                f"{path}: damaged or of another version: tensors {', '.join(sorted(tensors.keys() ^ names))}"
            )
        try:
            return cls(**tensors)
        except PredictorError as error:
            raise PredictorError(f"{path}: {error}") from None

    def _check(self) -> None:
        for name, tensor in self.tensors().items():
            wanted = np.int32 if name == "alphabets" else np.int16
            if tensor.dtype != wanted:
                raise PredictorError(f"damaged: {name} is {tensor.dtype}, not {np.dtype(wanted)}")
        if self.alphabets.ndim != 1 or not 1 <= self.alphabets.size <= MOST_SYMBOLS:
            raise PredictorError(f"damaged: alphabets of shape {list(self.alphabets.shape)}")
        if self.alphabets.min() < 2 or self.alphabets.max() > LARGEST_ALPHABET:
            raise PredictorError(f"damaged: alphabets of {self.alphabets.min()} to {self.alphabets.max()} symbols")
        if self.recurrent.ndim != 2 or self.output.ndim != 3 or self.phase.ndim != 2:
            raise PredictorError("damaged: recurrent, output or phase has other dimensions")
        symbols, units, each = self.num_symbols, self.num_units, self.units_per_symbol
        rows, widest, wide = int(self.alphabets.sum()), int(self.alphabets.max()), symbols * each
        if not (1 <= units <= MOST_UNITS and 1 <= each <= MOST_UNITS and 1 <= len(self.phase)):
            raise PredictorError(f"damaged: {units} units, {each} for a symbol; allowed are 1 to {MOST_UNITS}")
        shapes = {
            "input": (rows, 3 * units), "phase": (len(self.phase), 3 * units), "count": (symbols, 3 * units),
            "recurrent": (3 * units, units), "recurrent_bias": (units,), "hidden": (wide, units),
            "hidden_bias": (wide,), "within": (rows, wide), "output": (symbols, widest, each),
            "output_bias": (symbols, widest), "sigmoid": (GATES,), "tanh": (GATES,), "odds": (ODDS,),
        }  # fmt: skip
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise PredictorError(f"damaged: {name} is {list(getattr(self, name).shape)}, not {list(shape)}")
        if self.sigmoid.min() < 0 or self.tanh.min() <= -(2**STATE_BITS) or self.odds.min() < 1:
            raise PredictorError("damaged: a table has values out of range")
        if self.odds.max() > HIGHEST_FREQUENCY:
            raise PredictorError(f"damaged: a frequency above {HIGHEST_FREQUENCY}")
        for name in ("recurrent", "hidden"):
            largest = int(np.abs(getattr(self, name).astype(np.int64)).sum(axis=1).max()) << ACTIVATION_BITS
            if largest >= 2**24:
                raise PredictorError(f"a row of {name} sums to {largest}: 2^24 is too much to stay exact in float32")


class Reference:
    """The specification: one lane, int64, symbol by symbol."""

    def __init__(self, predictor: Predictor, num_symbols: int) -> None:
        self._p = {name: tensor.astype(np.int64) for name, tensor in predictor.tensors().items()}
        self._count, self._rows = num_symbols, predictor.first_rows
        self._units, self._each = predictor.num_units, predictor.units_per_symbol
        self._state, self._number = np.zeros(self._units, np.int64), 0
        self._symbols: list[int] = []

    def frequencies(self) -> list[int]:
        """Of the next symbol."""
        p, place, each = self._p, len(self._symbols), self._each
        mine = slice(place * each, (place + 1) * each)
        sums = p["hidden"][mine] @ self._activations() + (p["hidden_bias"][mine] << ACTIVATION_BITS)
        for before, symbol in enumerate(self._symbols):
            sums += p["within"][self._rows[before] + symbol, mine] << ACTIVATION_BITS
        active = np.clip(sums >> WEIGHT_BITS, 0, HIGHEST_ACTIVATION)
        size = p["alphabets"][place]
        scores = p["output"][place, :size] @ active + (p["output_bias"][place, :size] << ACTIVATION_BITS)
        return p["odds"][np.minimum((scores.max() - scores) // ODDS_STEP, ODDS - 1)].tolist()

    def push(self, symbol: int) -> None:
        """The next symbol was this."""
        self._symbols.append(symbol)
        if len(self._symbols) == self._count:
            self._advance()

    def _activations(self) -> np.ndarray:
        half = 1 << (STATE_BITS - ACTIVATION_BITS - 1)
        return self._state + half >> STATE_BITS - ACTIVATION_BITS

    def _advance(self) -> None:
        p, units = self._p, self._units
        sums = p["phase"][self._number % len(p["phase"])] + p["count"][self._count - 1]
        for before, symbol in enumerate(self._symbols):
            sums = sums + p["input"][self._rows[before] + symbol]
        sums = sums << ACTIVATION_BITS
        turned = p["recurrent"] @ self._activations()
        reset = self._table("sigmoid", sums[:units] + turned[:units])
        update = self._table("sigmoid", sums[units : 2 * units] + turned[units : 2 * units])
        inner = turned[2 * units :] + (p["recurrent_bias"] << ACTIVATION_BITS)
        new = self._table("tanh", sums[2 * units :] + (reset * inner >> STATE_BITS))
        self._state = new + (update * (self._state - new) + 2 ** (STATE_BITS - 1) >> STATE_BITS)
        self._number, self._symbols = self._number + 1, []

    def _table(self, name: str, sums: np.ndarray) -> np.ndarray:
        return self._p[name][np.clip(sums // GATE_STEP + GATES // 2, 0, GATES - 1)]


class Runner:
    """The same for several lanes, faster. A lane is a channel, with a state of its own."""

    def __init__(self, predictor: Predictor, num_symbols: int, lanes: int) -> None:
        p, units, each = predictor, predictor.num_units, predictor.units_per_symbol
        self._count, self._units, self._each, self._wide = num_symbols, units, each, num_symbols * each
        self._state, self._number = np.zeros((lanes, units)), 0
        both = np.concatenate([p.recurrent, p.hidden[: self._wide]]).astype(np.float32)
        self._matrix, self._recurrent, self._hidden = both.T, both[: 3 * units].T, both[3 * units :].T
        rows, scale = int(p.first_rows[num_symbols - 1] + p.alphabets[num_symbols - 1]), 2.0**ACTIVATION_BITS
        self._rows = p.first_rows[:num_symbols]
        self._input, self._within = p.input[:rows] * scale, p.within[:rows, : self._wide] * (scale * ACTIVE)
        self._fixed = (p.phase.astype(np.float64) + p.count[num_symbols - 1]) * scale
        self._bias, self._inner_bias = p.hidden_bias[: self._wide] * (scale * ACTIVE), p.recurrent_bias * scale
        self._sizes = p.alphabet_sizes[:num_symbols]
        self._output = [p.output[s, :size].astype(np.float64) for s, size in enumerate(self._sizes)]
        self._output_bias = [p.output_bias[s, :size] * scale for s, size in enumerate(self._sizes)]
        self._gaps = [(output[1] - output[0], int(bias[1] - bias[0])) if len(bias) == 2 else None
                      for output, bias in zip(self._output, self._output_bias, strict=True)]  # fmt: skip
        self._sigmoid, self._tanh = p.sigmoid.astype(np.float64), p.tanh.astype(np.float64)
        self._odds = p.odds.astype(np.int64)
        self._odds_list = self._odds.tolist()
        self._places = [slice(s * each, (s + 1) * each) for s in range(num_symbols)]
        self._first = self._rows.tolist()

    def frequencies(self, symbols: np.ndarray) -> list[np.ndarray]:
        """Tokens that are known, symbols int64 [L, n, S], to frequencies int64 [L, n, A] of each symbol."""
        lanes, length, _ = symbols.shape
        rows = symbols + self._rows
        kept = np.empty((length, lanes, self._units), np.float32)
        gates = self._input[rows[:, :, 0]]
        for place in range(1, self._count):  # one after the other: all at once would take as many times the memory
            gates += self._input[rows[:, :, place]]
        for index in range(length):
            activations = self._activations()
            kept[index] = activations
            self._advance(np.dot(activations, self._recurrent), gates[:, index])
        sums = (kept.reshape(-1, self._units) @ self._hidden).reshape(length, lanes, -1).swapaxes(0, 1)
        sums = sums * ACTIVE + self._bias
        found = []
        for place, mine in enumerate(self._places):
            active = np.clip(np.floor(sums[:, :, mine]), 0, HIGHEST_ACTIVATION)
            scores = active @ self._output[place].T + self._output_bias[place]
            steps = np.floor((scores.max(axis=-1, keepdims=True) - scores) * (1 / ODDS_STEP))
            found.append(self._odds[np.minimum(steps, ODDS - 1).astype(np.int64)])
            sums[:, :, mine.stop :] += self._within[rows[:, :, place], mine.stop :]
        return found

    def decode(self, read: Callable[[list[int]], int]) -> list[list[int]]:
        """The next token of each lane: symbols [L][S]. ``read`` takes frequencies and gives the symbol."""
        activations = self._activations()
        sums = np.dot(activations, self._matrix)
        hidden = sums[:, 3 * self._units :] * ACTIVE + self._bias
        odds, last = self._odds_list, ODDS - 1
        tokens, rows = [], []
        for layers in hidden:
            symbols = []
            for place, mine in enumerate(self._places):
                active = np.floor(layers[mine])
                active = np.minimum(np.maximum(active, 0, out=active), HIGHEST_ACTIVATION, out=active)
                if gap := self._gaps[place]:  # two symbols: how far the second is above the first says all
                    above = int(gap[0].dot(active)) + gap[1]
                    less = odds[min(abs(above) >> 10, last)]
                    symbol = read([less, odds[0]] if above > 0 else [odds[0], less])
                else:
                    scores = (np.dot(self._output[place], active) + self._output_bias[place]).tolist()
                    best = max(scores)
                    symbol = read([odds[min(int(best - score) >> 10, last)] for score in scores])
                symbols.append(symbol)
                rows.append(self._first[place] + symbol)
                layers += self._within[rows[-1]]
            tokens.append(symbols)
        gates = self._input[rows].reshape(len(tokens), self._count, -1).sum(axis=1)
        self._advance(sums[:, : 3 * self._units], gates)
        return tokens

    def _activations(self) -> np.ndarray:
        half, step = 2.0 ** (STATE_BITS - ACTIVATION_BITS - 1), 2.0 ** (ACTIVATION_BITS - STATE_BITS)
        return np.floor((self._state + half) * step).astype(np.float32)

    def _advance(self, turned: np.ndarray, gates: np.ndarray) -> None:
        """The next state: products with the recurrent matrix [L, 3 H], and what the symbols add [L, 3 H]."""
        units = self._units
        sums = gates + self._fixed[self._number % len(self._fixed)]
        both = _look_up(self._sigmoid, sums[:, : 2 * units] + turned[:, : 2 * units])
        inner = np.floor(both[:, :units] * (turned[:, 2 * units :] + self._inner_bias) * 2.0**-STATE_BITS)
        new = _look_up(self._tanh, sums[:, 2 * units :] + inner)
        moved = (self._state - new) * both[:, units:]
        self._state = new + np.floor((moved + 2.0 ** (STATE_BITS - 1)) * 2.0**-STATE_BITS)
        self._number += 1


def _look_up(table: np.ndarray, sums: np.ndarray) -> np.ndarray:
    places = sums * (1 / GATE_STEP) + GATES // 2
    return table[np.minimum(np.maximum(places, 0), GATES - 1).astype(np.int64)]

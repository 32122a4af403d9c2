"""Bit rates of a model whose tokens are nested: how many bits a token may have, and how many kbit/s that is.

The first b bits of a nested token are the token at b bits (``sqcodec.quantizers.nested``), so one model has as many
rates as its tokens have numbers of bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ROUNDING = 1e-3
"""A token fits a rate that it exceeds by this share: a rate as it is printed is one that can be asked for."""


@dataclass(frozen=True)
class BitRates:
    """The rates of a model. ``token_rate``: tokens a second (Hz)."""

    lowest: int
    highest: int
    token_rate: float

    def kbps(self, bits: int) -> float:
        """Nominal kbit/s of tokens of ``bits``."""
        return self.token_rate * bits / 1000

    def __contains__(self, kbps: float) -> bool:
        """Whether kbit/s are from the lowest rate to less than a bit a token above the highest."""
        return self.kbps(self.lowest) <= kbps * (1 + ROUNDING) and kbps < self.kbps(self.highest + 1)

    def table(self) -> dict[int, float]:
        """Bits of a token to kbit/s."""
        return {bits: self.kbps(bits) for bits in range(self.lowest, self.highest + 1)}

    def fitting(self, kbps: float) -> int:
        """The most bits of a token that fit a rate in kbit/s. ValueError where even the fewest do not."""
        if not kbps * (1 + ROUNDING) >= self.kbps(self.lowest):
            raise ValueError(f"A rate of {kbps:g} kbit/s: allowed are {self}.")
        return int(min(self.highest, math.floor(min(kbps, 1e9) * 1000 * (1 + ROUNDING) / self.token_rate)))

    def check(self, bits: int) -> int:
        """The same number. ValueError where tokens cannot have so many bits."""
        if isinstance(bits, bool) or int(bits) != bits or not self.lowest <= bits <= self.highest:
            raise ValueError(f"Tokens of {bits} bits: allowed are {self}.")
        return int(bits)

    def pick(self, bits: int | None, kbps: float | None) -> int | None:
        """Bits of a token from what a user gives: bits, a rate, or neither (None). ValueError where it is not there."""
        if bits is not None and kbps is not None:
            raise ValueError(f"bits is {bits} and kbps is {kbps:g}: give one of the two.")
        if kbps is not None:
            return self.fitting(kbps)
        return None if bits is None else self.check(bits)

    def __str__(self) -> str:
        low, high = self.kbps(self.lowest), self.kbps(self.highest)
        return f"{low:.4g} to {high:.4g} kbit/s, {self.lowest} to {self.highest} bits a token"


def bit_groups(bits: int, dim: int) -> tuple[int, ...]:
    """A nested token of ``bits`` as digits, for language models and statistics: how many values each has.

    Digit i is token // (product of the numbers before i) % number i, as with levels. Each digit is one bit of every
    dimension, the last digit the coarsest; the first one may have fewer.
    """
    whole, rest = divmod(bits, dim)
    return (*((2**rest,) if rest else ()), *(2**dim,) * whole)

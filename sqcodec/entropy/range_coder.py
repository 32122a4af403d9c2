"""A range coder of 32 bits with bytes for digits, after G. N. N. Martin (1979), carries propagated in what is written.

A symbol is an interval [start, start + size) of [0, total), total at most 2^24. What follows the last byte counts as
zeros, so that trailing zeros are not stored.
"""

from __future__ import annotations

_TOP = 2**32
_BOTTOM = 2**24


class DamagedError(ValueError):
    """No symbol has this code: the bytes were not written by the encoder with these frequencies."""


class RangeEncoder:
    """Symbols to bytes."""

    def __init__(self) -> None:
        self._low, self._range, self._bytes = 0, _TOP - 1, bytearray()

    def encode(self, start: int, size: int, total: int) -> None:
        """Adds a symbol: 0 <= start, 1 <= size, start + size <= total <= 2^24."""
        unit = self._range // total
        self._low += unit * start
        self._range = unit * size
        if self._low >= _TOP:
            self._carry()
        while self._range < _BOTTOM:
            self._bytes.append(self._low >> 24)
            self._low = (self._low & 0xFFFFFF) << 8
            self._range <<= 8

    def finish(self) -> bytes:
        """All bytes, as few as name the interval; the encoder then starts anew."""
        for count in range(5):
            shift = 8 * (4 - count)
            value = -(-self._low >> shift) << shift
            if value < self._low + self._range:
                break
        self._low = value
        if self._low >= _TOP:
            self._carry()
        data = bytes(self._bytes + self._low.to_bytes(4, "big")).rstrip(b"\0")
        self.__init__()  # type: ignore[misc]
        return data

    def _carry(self) -> None:
        self._low -= _TOP
        place = len(self._bytes) - 1
        while self._bytes[place] == 255:
            self._bytes[place] = 0
            place -= 1
        self._bytes[place] += 1


class RangeDecoder:
    """Bytes to symbols: ``target`` says where in [0, total) the next symbol lies, ``remove`` takes it away."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 4
        self._code, self._range, self._unit = int.from_bytes(data[:4].ljust(4, b"\0"), "big"), _TOP - 1, 1

    def target(self, total: int) -> int:
        """A number in [0, total). Raises DamagedError where there is none."""
        self._unit = self._range // total
        value = self._code // self._unit
        if value >= total:
            raise DamagedError("the payload is damaged: a code lies outside of every symbol")
        return value

    def remove(self, start: int, size: int) -> None:
        """Of the symbol that ``target`` fell in."""
        self._code -= self._unit * start
        self._range = self._unit * size
        while self._range < _BOTTOM:
            position = self._position
            self._code = self._code << 8 | (self._data[position] if position < len(self._data) else 0)
            self._position = position + 1
            self._range <<= 8

    @property
    def unread(self) -> int:
        """Bytes that were not needed so far."""
        return max(0, len(self._data) - self._position)

"""Tokens as bytes at a fixed rate: mixed radix, in blocks of about 4096 bits (docs/code-file.md)."""

from __future__ import annotations

import numpy as np

MAX_CODEBOOK_SIZE = 2**63
BLOCK_BITS = 4096


class ContainerError(ValueError):
    """The bytes are not a whole, undamaged code file, or the values cannot be stored in one."""


def block_tokens(codebook_size: int) -> int:
    """Tokens in one full block of the payload: as many as surely fit 4096 bits."""
    return BLOCK_BITS // (codebook_size - 1).bit_length()


def packed_size(count: int, codebook_size: int) -> int:
    """Bytes that `count` tokens of K codes take: log2(K) bits each, within 0.3 %, and less than a byte."""
    block = block_tokens(codebook_size)
    full, rest = divmod(count, block)
    return full * block_bytes(block, codebook_size) + block_bytes(rest, codebook_size)


def pack_tokens(tokens: np.ndarray, codebook_size: int) -> bytes:
    """Mixed-radix payload of integer tokens in 0..K-1, any shape, in C order. Raises ContainerError."""
    check_codebook_size(codebook_size)
    flat = np.asarray(tokens).reshape(-1)
    if flat.dtype.kind not in "iu":
        raise ContainerError(f"tokens must be integers, not {flat.dtype}")
    if flat.size and not (0 <= int(flat.min()) and int(flat.max()) < codebook_size):
        raise ContainerError(
            f"tokens lie in {int(flat.min())}..{int(flat.max())}; with {codebook_size} codes they must lie "
            f"in 0..{codebook_size - 1}"
        )
    flat = flat.astype(np.int64, copy=False)
    block = block_tokens(codebook_size)
    size = block_bytes(block, codebook_size)
    per_digit, base = _digit(codebook_size)
    full = flat.size // block
    parts = []
    if full:
        digits = _to_digits(flat[: full * block].reshape(full, block), codebook_size, per_digit)
        parts += [_horner(row.tolist(), base).to_bytes(size, "little") for row in digits]
    if rest := flat.size - full * block:
        digits = _to_digits(flat[full * block :].reshape(1, rest), codebook_size, per_digit)
        parts.append(_horner(digits[0].tolist(), base).to_bytes(block_bytes(rest, codebook_size), "little"))
    return b"".join(parts)


def unpack_tokens(data: bytes, count: int, codebook_size: int) -> np.ndarray:
    """The `count` tokens (int64 [count]) of a payload. Raises ContainerError where it does not hold them."""
    check_codebook_size(codebook_size)
    if count < 0 or len(data) != packed_size(count, codebook_size):
        raise ContainerError(
            f"{len(data)} bytes of payload; {count} tokens of {codebook_size} codes take "
            f"{packed_size(max(count, 0), codebook_size)}"
        )
    tokens = np.empty(count, np.int64)
    block = block_tokens(codebook_size)
    size = block_bytes(block, codebook_size)
    full = count // block
    if full:
        _unpack_blocks(data, size, tokens[: full * block].reshape(full, block), codebook_size)
    if rest := count - full * block:
        tail = data[full * size :]
        _unpack_blocks(tail, len(tail), tokens[-rest:].reshape(1, rest), codebook_size)
    return tokens


def _unpack_blocks(data: bytes, size: int, out: np.ndarray, codebook_size: int) -> None:
    """Fill `out` [blocks, tokens] from blocks of `size` bytes."""
    per_digit, base = _digit(codebook_size)
    num_blocks, block = out.shape
    num_digits = -(-block // per_digit)
    limit = codebook_size**block
    digits = np.empty((num_blocks, num_digits), np.int64)
    for index in range(num_blocks):
        value = int.from_bytes(data[index * size : (index + 1) * size], "little")
        if value >= limit:
            raise ContainerError(f"the payload is damaged: block {index} holds a value out of range")
        row = []
        for _ in range(num_digits):
            value, digit = divmod(value, base)
            row.append(digit)
        digits[index] = row
    for offset in range(per_digit):
        columns = out[:, offset::per_digit]
        digits, remainder = np.divmod(digits, codebook_size) if per_digit > 1 else (digits, digits)
        columns[:] = remainder[:, : columns.shape[1]]


def _to_digits(blocks: np.ndarray, codebook_size: int, per_digit: int) -> np.ndarray:
    """Join tokens to digits below 2**63: [blocks, tokens] -> [blocks, ceil(tokens / per_digit)]."""
    digits = np.zeros((blocks.shape[0], -(-blocks.shape[1] // per_digit)), np.int64)
    for offset in reversed(range(per_digit)):
        columns = blocks[:, offset::per_digit]
        if per_digit > 1:
            digits *= codebook_size
        digits[:, : columns.shape[1]] += columns
    return digits


def _digit(codebook_size: int) -> tuple[int, int]:
    """How many tokens fit one digit of at most 63 bits, and the digit's base."""
    per_digit = 1
    while codebook_size ** (per_digit + 1) <= 2**63:
        per_digit += 1
    return per_digit, codebook_size**per_digit


def _horner(digits: list[int], base: int) -> int:
    value = 0
    for digit in reversed(digits):
        value = value * base + digit
    return value


def block_bytes(count: int, codebook_size: int) -> int:
    """Bytes of one block: the least m with K**count <= 256**m."""
    return -(-(codebook_size**count - 1).bit_length() // 8)


def check_codebook_size(codebook_size: int) -> None:
    if not 2 <= codebook_size <= MAX_CODEBOOK_SIZE:
        raise ContainerError(f"codebook size {codebook_size}; allowed are 2 to 2**63")

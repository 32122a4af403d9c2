"""Inference of the convolutional stacks in blocks of time: activations stay in a core's cache, and work in place.

A residual unit is a convolution of short reach and point-wise layers, so it can be computed for a block of steps at
once. Run layer by layer over a whole recording, it reads and writes its widest activations a dozen times from memory,
which takes longer than its matrix products. Same arithmetic as the layers in ``sqcodec.nn.layers``, no gradients.

Letters: B batch, C channels, T time steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_VALUES = 2**17
"""Values of the widest activation in a block: half a megabyte, a part of a core's second cache."""


def without_gradients(x: Tensor) -> bool:
    """Whether x may take the ways in this file: on a CPU, not compiled, no gradients wanted."""
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling() and x.device.type == "cpu"


def blocks(steps: int, width: int) -> Iterator[slice]:
    """Blocks of ``steps`` for activations of ``width`` values a step."""
    size = max(64, BLOCK_VALUES // width)
    for start in range(0, steps, size):
        yield slice(start, min(start + size, steps))


def snake_(x: Tensor, alpha: Tensor, epsilon: float) -> Tensor:
    """Snake of x, in place; ``alpha`` broadcasts to it."""
    wave = (x * alpha).sin_().square_()
    return x.addcmul_(wave, (alpha + epsilon).reciprocal())


def run_unit(
    x: Tensor, taps: Tensor, bias: Tensor, pads: tuple[int, int], dilation: int, after: Callable[[Tensor], Tensor],
    width: int,
) -> Tensor:  # fmt: skip
    """x + after(depthwise convolution of x), block by block.

    Args:
        x: [B, C, T], best stored with the channels last.
        taps: [kernel size, C].
        after: the point-wise layers, [B, t, C] to [B, t, C]; may change its input.
        width: channels of their widest activation.
    Returns:
        [B, C, T], stored with the channels last.
    """
    last = x.transpose(1, 2).contiguous()
    padded = F.pad(last, (0, 0, *pads))
    output = torch.empty_like(last)
    for part in blocks(last.shape[1], last.shape[0] * width):
        count = part.stop - part.start
        hidden = torch.addcmul(bias, padded[:, part.start : part.start + count], taps[0])
        for tap in range(1, taps.shape[0]):
            first = part.start + tap * dilation
            hidden.addcmul_(padded[:, first : first + count], taps[tap])
        torch.add(last[:, part], after(hidden), out=output[:, part])
    return output.transpose(1, 2)


def run_local(x: Tensor, reach: tuple[int, int], function: Callable[[Tensor], Tensor], width: int) -> Tensor:
    """``function`` of x [B, C, T], block by block: its output t depends on inputs t - reach[0] to t + reach[1].

    It is called with zeros outside the signal, so it must map them as its layers' own padding would: to be used for
    chains whose first convolution comes after nothing but maps of 0 to 0, such as Snake.
    """
    steps = x.shape[-1]
    padded = F.pad(x, reach)
    parts = [function(padded[..., part.start : part.stop + sum(reach)]) for part in blocks(steps, x.shape[0] * width)]
    return torch.cat(parts, dim=-1)


def upsample_last(x: Tensor, factor: int) -> Tensor:
    """Linear interpolation of [B, T, C] to [B, T factor, C], as ``F.interpolate`` without aligned corners."""
    padded = torch.cat([x[:, :1], x, x[:, -1:]], dim=1)
    output = x.new_empty(x.shape[0], x.shape[1], factor, x.shape[2])
    for index in range(factor):
        offset = (index + 0.5) / factor - 0.5
        first = 0 if offset < 0 else 1
        before, after = padded[:, first : first + x.shape[1]], padded[:, first + 1 : first + 1 + x.shape[1]]
        output[:, :, index] = torch.lerp(before, after, offset % 1)
    return output.flatten(1, 2)

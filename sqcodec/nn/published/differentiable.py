"""Snake and the depthwise convolution with channels last, for training: compiled loops with gradients written out.

In PyTorch's own operations these two go through memory a dozen times each way, which takes longer than the matrix
products around them. Each loop is compiled once for all lengths and widths (a C++ compiler and some seconds; PyTorch
keeps the result on disk). The sums over rows that belong to Snake are not part of its loop: there they would be ten
times slower.
``sqcodec.nn.published.layers`` is the reference. Letters: B batch, T time steps, C channels, K taps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def snake(x: Tensor, alpha: Tensor, epsilon: float, gamma: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
    """``Snake`` of x [..., C], and the ``ResponseScale`` with gamma and beta after it where there is one.

    Keeps x and nothing else for the gradient. Parameters are float32 [C]; the result has the dtype of x.
    """
    return _Snake.apply(x, alpha, epsilon, gamma, beta)


def depthwise(x: Tensor, taps: Tensor, bias: Tensor, pads: tuple[int, int], dilation: int) -> Tensor:
    """Depthwise convolution of x [B, T, C] with taps [K, C] and bias [C], zeros outside; pads sum to (K - 1) dilation,
    all float32."""
    return _Depthwise.apply(x, taps, bias, pads, dilation)


@cache
def _compiled(function: Callable) -> Callable:
    return torch.compile(function, dynamic=True)


class _Snake(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, x: Tensor, alpha: Tensor, epsilon: float, gamma: Tensor | None, beta: Tensor | None
    ) -> Tensor:
        alpha = alpha.detach()  # a parameter would be compiled for each width
        gain = (alpha + epsilon).reciprocal()
        scale = torch.ones_like(alpha) if gamma is None else 1 + gamma.detach()
        shift = torch.zeros_like(alpha) if beta is None else beta.detach()
        rows = x.reshape(-1, x.shape[-1])
        context.save_for_backward(rows, alpha, gain, scale)
        context.scaled = gamma is not None
        return _compiled(_snake)(rows, alpha, gain, scale, shift).view(x.shape)

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        rows, alpha, gain, scale = context.saved_tensors
        arriving = slope.reshape(rows.shape)
        along_x, along_alpha, along_gamma = _compiled(_snake_slopes)(rows, arriving, alpha, gain, scale)
        gamma = along_gamma.sum(0).float() if context.scaled else None
        beta = arriving.sum(0).float() if context.scaled else None
        return along_x.view(slope.shape), along_alpha.sum(0).float(), None, gamma, beta


def _snake(x: Tensor, alpha: Tensor, gain: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    wide = x.float()
    sine = torch.sin(wide * alpha)
    return ((wide + gain * sine * sine) * scale + shift).to(x.dtype)


def _snake_slopes(
    x: Tensor, slope: Tensor, alpha: Tensor, gain: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """For each element what arrives at x, alpha and gamma; gain = 1 / (alpha + epsilon) depends on alpha."""
    wide, arriving = x.float(), slope.float()
    angle = wide * alpha
    sine = torch.sin(angle)
    double, square = 2 * sine * torch.cos(angle), sine * sine
    inner = arriving * scale
    along_x = inner * (1 + gain * alpha * double)
    along_alpha = inner * gain * (wide * double - gain * square)
    along_gamma = arriving * (wide + gain * square)
    return along_x.to(x.dtype), along_alpha.to(x.dtype), along_gamma.to(x.dtype)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, x: Tensor, taps: Tensor, bias: Tensor, pads: tuple[int, int], dilation: int
    ) -> Tensor:
        padded = F.pad(x, (0, 0, *pads))
        context.save_for_backward(padded, taps)
        context.pads, context.dilation = pads, dilation
        return _compiled(_shifted)(padded, taps.detach(), bias.detach(), dilation)

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        padded, taps = context.saved_tensors
        (before, after), step, none = context.pads, context.dilation, torch.zeros_like(taps[0])
        turned = F.pad(slope, (0, 0, after, before))
        along_x = _compiled(_shifted)(turned, taps.detach().flip(0), none, step)
        along_taps = _compiled(_tap_slopes)(slope, padded, taps.shape[0], step)
        return along_x, along_taps, slope.sum((0, 1)), None, None


def _shifted(padded: Tensor, taps: Tensor, bias: Tensor, step: int) -> Tensor:
    length = padded.shape[1] - (taps.shape[0] - 1) * step
    total = bias + taps[0] * padded[:, :length]
    for tap in range(1, taps.shape[0]):
        total = total + taps[tap] * padded[:, tap * step : tap * step + length]
    return total


def _tap_slopes(slope: Tensor, padded: Tensor, taps: int, step: int) -> Tensor:
    length = slope.shape[1]
    places = range(0, taps * step, step)
    return torch.stack([(slope * padded[:, first : first + length]).sum((0, 1)) for first in places])

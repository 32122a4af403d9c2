"""The convolution that all discriminators are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1
"""Of the leaky rectifiers."""


def convolution(
    channels_in: int, channels_out: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)
) -> nn.Module:
    """A weight-normed convolution with half-kernel padding (arXiv 1602.07868)."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    return weight_norm(nn.Conv2d(channels_in, channels_out, kernel, stride, padding))


class _Rectifier(torch.autograd.Function):
    """Leaky rectifier whose gradient is laid out channels-last, as its input is.

    Without that, convolutions hand back channels-first gradients and every layer below works across strides, which
    costs several times as much on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        output = torch.nn.functional.leaky_relu(x, SLOPE)
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        return torch.ops.aten.leaky_relu_backward(gradient, output, SLOPE, True)


def rectify(x: Tensor) -> Tensor:
    """Leaky rectifier [B, C, H, W]."""
    return _Rectifier.apply(x)

"""Building blocks of the convolutional stacks: convolutions, norms, Snake, residual units, upsampling.

The ConvNeXt-style unit and its options follow SQCodec (arXiv 2504.04949); Snake is from BigVGAN (arXiv
2206.04658). Each layer also has a causal form, in which output t depends on inputs up to t alone.

Letters: B batch, C channels, T time steps. Layout [B, C, T] unless said otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from sqcodec.config import UnitConfig

INIT_DEVIATION = 0.02


def normed(module: nn.Module, on: bool) -> nn.Module:
    """The module with weight norm on its `weight`, or as it is."""
    return weight_norm(module) if on else module


class Linear(nn.Linear):
    """Linear layer with the initial weights that SQCodec uses."""

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.weight, std=INIT_DEVIATION)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Conv1d(nn.Conv1d):
    """Convolution that keeps the length (stride 1), padded on both sides or, if causal, on the left.

    With a stride (equal to the kernel size, no padding) output n sees its own `stride` inputs only, so it
    is causal frame by frame.
    """

    bias: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        causal: bool = False,
    ) -> None:
        reach = (kernel_size - 1) * dilation if stride == 1 else 0
        self.pads = (reach, 0) if causal else (reach // 2, reach - reach // 2)
        super().__init__(
            in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups
        )

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.weight, std=INIT_DEVIATION)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.pads) if any(self.pads) else x
        depthwise = self.groups == self.in_channels == self.out_channels > 1 and self.stride == (1,)
        if depthwise and (torch.compiler.is_compiling() or x.dtype == torch.bfloat16):
            return self._shifted_products(x)
        return super().forward(x)

    def _shifted_products(self, x: Tensor) -> Tensor:
        """The depthwise convolution as a sum of shifted products: compiled, or in bfloat16 on a CPU, it is
        many times faster than the convolution kernels."""
        step, weight = self.dilation[0], self.weight
        length = x.shape[-1] - (self.kernel_size[0] - 1) * step
        total = self.bias[:, None].float()
        for tap in range(self.kernel_size[0]):
            total = total + weight[:, :, tap] * x[..., tap * step : tap * step + length]
        return total.to(x.dtype)


def as_conv(module: nn.Module) -> Conv1d:
    """The module, known to be a convolution."""
    assert isinstance(module, Conv1d)
    return module


def as_linear(module: nn.Module) -> nn.Linear:
    """The module, known to be a linear layer."""
    assert isinstance(module, nn.Linear)
    return module


class ChannelNorm(nn.Module):
    """Layer norm over the channels of [B, C, T]."""

    def __init__(self, channels: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = centred.pow(2).mean(1, keepdim=True)
        unit = centred / torch.sqrt(variance + self.epsilon)
        return self.weight[:, None] * unit + self.bias[:, None]


class Snake(nn.Module):
    """x + sin²(alpha x) / (alpha + epsilon), alpha learned per channel."""

    def __init__(self, channels: int, epsilon: float, channels_last: bool = False) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))
        self.epsilon = epsilon
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha if self.channels_last else self.alpha[:, None]
        return x + (alpha + self.epsilon).reciprocal() * torch.sin(alpha * x).pow(2)


class ResponseScale(nn.Module):
    """(1 + gamma) x + beta per channel, of [B, T, C].

    What "global response normalisation" amounts to in SQCodec and L3AC. ConvNeXt V2 divides each channel's
    norm by the mean norm of all channels; they take the norm over time and channels together, so that the
    ratio is 1 and the layer an affine map, which needs no look at the future.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x + self.beta + x


class ConvUnit(nn.Module):
    """Residual ConvNeXt-style unit: depthwise convolution, norm, expand by 4, activation, contract."""

    def __init__(self, channels: int, config: UnitConfig, causal: bool, dilation: int = 1) -> None:
        super().__init__()
        wide = 4 * channels
        self.depthwise = normed(
            Conv1d(
                channels, channels, config.kernel_size, dilation=dilation, groups=channels, causal=causal
            ),
            config.weight_norm,
        )
        self.norm = nn.LayerNorm(channels, eps=config.epsilon) if config.norm else nn.Identity()
        self.expand = normed(Linear(channels, wide), config.weight_norm)
        self.activation = (
            Snake(wide, config.epsilon, channels_last=True) if config.activation == "snake" else nn.GELU()
        )
        self.response = ResponseScale(wide) if config.grn else nn.Identity()
        self.contract = normed(Linear(wide, channels), config.weight_norm)
        self.layer_scale = (
            nn.Parameter(torch.full((channels,), config.layer_scale)) if config.layer_scale else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x).transpose(1, 2)  # [B, T, C] for the norm and the point-wise layers
        y = self.expand(self.norm(y))
        y = self.contract(self.response(self.activation(y)))
        if self.layer_scale is not None:
            y = y * self.layer_scale
        return x + y.transpose(1, 2)


def conv_units(channels: int, depth: int, config: UnitConfig, causal: bool) -> nn.Sequential:
    """A stage of `depth` units."""
    return nn.Sequential(*(ConvUnit(channels, config, causal) for _ in range(depth)))


def upsample(x: Tensor, factor: int, causal: bool) -> Tensor:
    """Linear interpolation of [B, C, T] to [B, C, T factor].

    Causal: within step t from the value at t - 1 (0 before the start) to the value at t, which the last of
    its `factor` samples reaches.
    """
    if factor == 1:
        return x
    if not causal:
        return F.interpolate(x, scale_factor=factor, mode="linear", align_corners=False)
    before = F.pad(x, (1, 0))[..., :-1]
    ramp = torch.arange(1, factor + 1, device=x.device, dtype=x.dtype) / factor
    return torch.lerp(before.unsqueeze(-1), x.unsqueeze(-1), ramp).flatten(-2)

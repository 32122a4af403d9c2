"""Linear maps and norms with weights prepared once for inference, for both kinds of networks.

Linear layers are packed: their weights reordered once for oneDNN's matrix kernels, where PyTorch has them (x86 CPUs).
That spares the reordering at every call, which is what a step of a few frames spends its time on, and applies GELU to
the result while it is in registers. PyTorch's own inductor compiles to these operators; they have no public name, so
everything here is tried once and ``can_pack`` is False where it does not work.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class InferenceOptions:
    """How the weights are prepared: ``packed`` reorders them once for oneDNN's kernels (see ``can_pack``);
    ``compiled`` compiles Snake, where a network has it (see ``sqcodec.nn.published.snake``)."""

    dtype: torch.dtype = torch.float32
    packed: bool = False
    compiled: bool = False


class Norm:
    """Layer norm over the last dimension."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self.weight, self.bias = norm.weight.detach().clone(), norm.bias.detach().clone()
        self.shape, self.epsilon = tuple(norm.weight.shape), norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        return torch.layer_norm(x, self.shape, self.weight, self.bias, self.epsilon)


class Affine:
    """A linear map with weights in the precision of inference, and optionally the tanh form of GELU after it.

    Args:
        weight: [out, in]; ``width`` is in.
        bias: [out] or None.
        options: precision and kernels.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, options: InferenceOptions, gelu: bool = False) -> None:
        weight = weight.detach().to(options.dtype).contiguous()
        self.dtype, self.gelu = options.dtype, gelu
        self.packed, self.width = options.packed, weight.shape[1]
        self.most_rows = most_rows() if self.packed and options.dtype is torch.bfloat16 else 0
        self.weight = pack(weight) if self.packed else weight
        self.bias = None if bias is None else bias.detach().to(options.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out] in the precision of the weights."""
        if x.dtype is not self.dtype:
            x = x.to(self.dtype)
        if self.packed:
            if self.most_rows and x.numel() > self.most_rows * self.width:
                rows = x.reshape(-1, self.width)
                parts = rows.tensor_split(-(-len(rows) // self.most_rows))
                done = [packed_linear(part, self.weight, self.bias, self.gelu) for part in parts]
                return torch.cat(done).view(*x.shape[:-1], -1)
            return packed_linear(x, self.weight, self.bias, self.gelu)
        x = F.linear(x, self.weight, self.bias)
        return F.gelu(x, approximate="tanh") if self.gelu else x


def pack(weight: Tensor) -> Tensor:
    """A weight [out, in], float32 or bfloat16, for ``packed_linear``; opaque to everything else."""
    return torch.ops.mkldnn._reorder_linear_weight(weight, None)


def packed_linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """x [..., in] times a packed weight, plus bias, and the tanh form of GELU if asked for."""
    if gelu:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@cache
def most_rows() -> int:
    """Rows of a packed product in bfloat16 that may be computed together; 0: any number.

    AMX (Intel) adds up long rows in another order where there are more than 32 of them, but not many: a row would
    depend on how many are beside it.
    """
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator).bfloat16() for shape in ((512, 1536), (384, 1536)))
    packed = pack(weight)
    with torch.inference_mode():
        whole, *parts = (packed_linear(x[:rows], packed, None, gelu=False) for rows in (512, 40, 48, 96))
    return 0 if all(torch.equal(part, whole[: len(part)]) for part in parts) else 32


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether packed layers work here, and give what plain ones give."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator).to(dtype) for shape in ((5, 64), (32, 64)))
    bias = torch.randn(32, generator=generator).to(dtype)
    try:
        with torch.inference_mode():
            found = packed_linear(x, pack(weight), bias, gelu=True).float()
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    expected = torch.nn.functional.gelu(torch.nn.functional.linear(x, weight, bias), approximate="tanh")
    return bool((found - expected.float()).abs().max() < (1e-4 if dtype == torch.float32 else 0.2))

"""Linear layers with weights reordered once for oneDNN's matrix kernels, where PyTorch has them (x86 CPUs).

They spare the reordering at every call, which is what a step of a few frames spends its time on, and apply GELU to
the result while it is in registers. PyTorch's own inductor compiles to these operators; they have no public name, so
everything here is tried once and ``can_pack`` is False where it does not work.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def pack(weight: Tensor) -> Tensor:
    """A weight [out, in], float32 or bfloat16, for ``packed_linear``; opaque to everything else."""
    return torch.ops.mkldnn._reorder_linear_weight(weight, None)


def packed_linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """x [..., in] times a packed weight, plus bias, and the tanh form of GELU if asked for."""
    if gelu:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


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

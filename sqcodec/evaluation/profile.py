"""The efficiency of a model: parameters, multiply-accumulates, speed, peak memory, latency.

Multiply-accumulates are counted by PyTorch's own counter on what is really executed, so no layer is left out
(published counts of such codecs, made with hooks on known layer types, miss the weight-normed ones).
Speed and memory are measured in a process of their own for each number of threads.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from .memory import peak_mib, run_apart

DEFAULT_SECONDS = 10.0
_REPEATS = 3


@dataclass(frozen=True)
class Speed:
    """Seconds of audio a second, best of three after one run to warm up; peak resident memory in MiB.

    `base_mib` is what the process held before it coded: Python, PyTorch and the weights.
    """

    threads: int
    encode: float
    decode: float
    base_mib: float
    peak_mib: float


@dataclass(frozen=True)
class Profile:
    """The efficiency table of a model. Rates: Hz, bit/s. MACs are per second of audio. Latency in milliseconds:
    `frame_ms` until a frame's audio is in (all its tokens are known at once), `lookahead_ms` that a causal model
    waits beyond it (None: the model is not causal and needs the whole signal)."""

    model: str
    sample_rate: int
    token_rate: float
    bit_rate: float
    codebook_size: int
    encoder_parameters: int
    decoder_parameters: int
    encode_macs: float
    decode_macs: float
    frame_ms: float
    lookahead_ms: float | None
    seconds: float
    device: str
    speeds: list[Speed]


def profile(
    model: str, device: str = "cpu", seconds: float = DEFAULT_SECONDS, threads: list[int] | None = None
) -> Profile:
    """Measures a model by name or folder.

    Args:
        seconds: length of the clip of noise that is coded.
        threads: thread counts to time; default: 1 and all that this process may use.
    Raises:
        ValueError, OSError: as `sqcodec.load`. RuntimeError: a measuring process failed.
    """
    import torch

    import sqcodec
    from sqcodec.distributed import num_cores

    codec = sqcodec.load(model, device=device)
    samples = noise(seconds, codec.sample_rate)
    tokens = codec.encode(samples)
    parts = _count_parameters(codec.network)
    config = codec.config
    fold_parametrizations(codec.network)
    with torch.no_grad():
        encode_macs = _count_macs(lambda: codec.encode(samples)) / seconds
        decode_macs = _count_macs(lambda: codec.decode(tokens)) / seconds
    return Profile(
        model=codec.name or model,
        sample_rate=codec.sample_rate,
        token_rate=codec.token_rate,
        bit_rate=codec.bit_rate,
        codebook_size=codec.codebook_size,
        encoder_parameters=parts["encoder"],
        decoder_parameters=parts["decoder"],
        encode_macs=encode_macs,
        decode_macs=decode_macs,
        frame_ms=1000 * (codec.latency - codec.lookahead) / codec.sample_rate,
        lookahead_ms=1000 * codec.lookahead / codec.sample_rate if config.causal else None,
        seconds=seconds,
        device=device,
        speeds=[_measure(model, device, seconds, count) for count in sorted(set(threads or [1, num_cores()]))],
    )


def noise(seconds: float, sample_rate: int):  # noqa: ANN201 - numpy is imported when needed
    """Noise with the level of speech, float32 [T]: speed does not depend on what is coded."""
    import numpy as np

    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * sample_rate))).astype(np.float32)


def _count_parameters(network) -> dict[str, int]:  # noqa: ANN001 - torch is imported when needed
    """Parameters by what uses them: names that speak of decoding, and all the others."""
    counts = {"encoder": 0, "decoder": 0}
    for name, parameter in network.named_parameters():
        counts["decoder" if "decoder" in name.split(".")[0] else "encoder"] += parameter.numel()
    return counts


def fold_parametrizations(network) -> None:  # noqa: ANN001
    """Weight norm becomes plain weights: the counter cannot look through it in inference mode."""
    from torch.nn.utils import parametrize

    for module in network.modules():
        for name in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _count_macs(function) -> float:  # noqa: ANN001
    """Multiply-accumulates of one call: matrix products and convolutions, also the packed ones of oneDNN, and
    the scaled sums that depthwise convolutions are written as. Fourier transforms are left out."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    formulas: dict[Any, Callable[..., int]] = {
        torch.ops.aten.addcmul: _scaled_sum_flops,
        torch.ops.aten.addcmul_: _scaled_sum_flops,
    }
    packed = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if packed is not None:
        formulas[packed] = _packed_linear_flops
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        function()
    return counter.get_total_flops() / 2


def _packed_linear_flops(features, *_: object, out_shape, **__: object) -> int:  # noqa: ANN001
    return 2 * math.prod(out_shape) * features[-1]


def _scaled_sum_flops(*_: object, out_shape, **__: object) -> int:  # noqa: ANN001
    return 2 * math.prod(out_shape)


def _measure(model: str, device: str, seconds: float, threads: int) -> Speed:
    """Times a model in a fresh process."""
    wanted = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    try:
        return Speed(**json.loads(run_apart(__name__, model, device, str(seconds), str(threads), **wanted)))
    except RuntimeError as error:
        raise RuntimeError(f"Measuring with {threads} threads failed: {error}") from None


def _worker(model: str, device: str, seconds: float, threads: int) -> Speed:
    import torch

    import sqcodec

    torch.set_num_threads(threads)
    codec = sqcodec.load(model, device=device)
    samples = noise(seconds, codec.sample_rate)
    base = peak_mib()
    encode, decode = [], []
    for _ in range(_REPEATS + 1):
        start = time.perf_counter()
        tokens = codec.encode(samples)  # the result is on the CPU: a GPU has finished
        middle = time.perf_counter()
        codec.decode(tokens).cpu()
        encode.append(middle - start)
        decode.append(time.perf_counter() - middle)
    return Speed(threads, seconds / min(encode[1:]), seconds / min(decode[1:]), base, peak_mib())


if __name__ == "__main__":
    arguments = sys.argv[1:]
    print(json.dumps(asdict(_worker(arguments[0], arguments[1], float(arguments[2]), int(arguments[3])))))

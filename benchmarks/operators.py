"""Where the time of a published configuration goes: its operators by time, and its arithmetic beside the processor's.

    python benchmarks/operators.py [--config sqcodec-3kbps] [--threads 1] [--seconds 10] [--compile]

For encode and decode, in float32 and bfloat16: how long it takes; how long its matrix products and convolutions would
take at the rate that one large product reaches here (a bound for any implementation); and the operators' shares of the
time, by PyTorch's profiler. Random weights.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from sqcodec.config import published_config
from sqcodec.nn import build_network
from sqcodec.nn.inference import InferenceOptions, can_pack, pack, packed_linear
from sqcodec.nn.published.network import WaveformNetwork
from sqcodec.nn.published.prepared import PreparedNetwork

KINDS = {
    "matrix products": ("linear", "mm", "convolution"),
    "attention": ("scaled_dot_product", "softmax"),
    "Snake": ("sin_", "square", "pow_", "Compiled", "Pregraph"),
    "norms": ("norm",),
    "copies": ("copy_", "cat", "clone"),
}
"""Parts of operators' names. Uncompiled, a third of Snake is among the other elementwise operators."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="sqcodec-3kbps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    config = published_config(arguments.config)
    network = build_network(config).eval().requires_grad_(False)
    assert isinstance(network, WaveformNetwork)
    with torch.inference_mode():
        samples = network.pad(0.1 * torch.randn(1, 1, round(arguments.seconds * config.sample_rate)))
        features = network.encode_features(samples)
        for what, function, value in (
            ("encode", network.encode_features, samples),
            ("decode", network.decode_features, features),
        ):
            with FlopCounterMode(display=False) as counter:
                function(value)
            for dtype in (torch.float32, torch.bfloat16):
                options = InferenceOptions(dtype, can_pack(dtype), arguments.compile)
                prepared = PreparedNetwork(network, options)
                work = prepared.encode_features if what == "encode" else prepared.decode_features
                label = f"{arguments.config} {what}, {str(dtype)[6:]}"
                report(label, lambda work=work, value=value: work(value), counter.get_total_flops(), dtype)


def report(label: str, function: Callable[[], object], operations: int, dtype: torch.dtype) -> None:
    """Print one direction in one precision."""
    taken, best = fastest(function), rate(dtype)
    print(f"{label}: {1000 * taken:.0f} ms; {operations / 1e9:.1f} G operations in products, which one large product "
          f"does at {best / 1e9:.0f} G/s: {1000 * operations / best:.0f} ms")  # fmt: skip
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        function()
    shares: Counter[str] = Counter()
    for event in profiler.key_averages():
        shares[kind(event.key)] += event.self_cpu_time_total
    total = sum(shares.values())
    print("  " + ", ".join(f"{name} {value / total:.0%}" for name, value in shares.most_common()), flush=True)


def kind(name: str) -> str:
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "other elementwise")


def rate(dtype: torch.dtype) -> float:
    """Operations a second of a product of the size of the widest units, in the kernels that the codec uses."""
    x, weight = torch.randn(2000, 384).to(dtype), torch.randn(1536, 384).to(dtype)
    packed = can_pack(dtype)
    weight = pack(weight) if packed else weight
    function = packed_linear if packed else lambda x, weight, *_: F.linear(x, weight)
    return 2 * 2000 * 384 * 1536 / fastest(lambda: function(x, weight, None, False), 20)


def fastest(function: Callable[[], object], rounds: int = 3) -> float:
    """Least seconds of some rounds, after one that does not count; CPU time on one thread."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    times = []
    for _ in range(rounds + 1):
        start = clock()
        function()
        times.append(clock() - start)
    return min(times[1:])


if __name__ == "__main__":
    main()

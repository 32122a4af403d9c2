"""Validation on held-out speakers: PESQ, STOI, mel distance, codebook use."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sqcodec.data.cache import AudioCache
from sqcodec.nn.base import CodecNetwork
from sqcodec.training.recipe import DataRecipe

SAMPLES = 3
"""Clips handed to ``sample``."""


@torch.no_grad()
def validate(
    network: CodecNetwork, cache: AudioCache, data: DataRecipe, sample: Callable[[str, Tensor], None] | None = None
) -> dict[str, float]:
    """Mean scores over clips spread evenly over the cache. PESQ needs 16 kHz and is left out at other rates.

    ``validation_tokens_used`` is the share of distinct codes among all tokens; ``validation_perplexity`` is
    exp(entropy) of their histogram, in codes; ``validation_cvu`` is the latter over the codebook's size, as in VP-VAE
    (arXiv 2602.17133). ``sample`` is given the first decoded clips, [T] each.
    """
    from pesq import PesqError, pesq
    from pystoi import stoi

    rate, device = cache.sample_rate, next(network.parameters()).device
    indices = np.linspace(0, len(cache) - 1, min(data.validation_clips, len(cache))).round().astype(int)
    pesqs: list[float] = []
    stois: list[float] = []
    tokens: list[Tensor] = []
    for index in indices:
        reference = cache.clip(int(index))[: int(data.validation_seconds * rate)]
        samples = network.pad(torch.from_numpy(reference)[None, None])
        output, quantized = network(samples.to(device))
        decoded = network.crop(output, len(reference))[0, 0].cpu().numpy()
        if sample is not None and len(stois) < SAMPLES:
            sample(f"validation_{len(stois)}", torch.from_numpy(decoded))
        tokens.append(quantized.indices.flatten().cpu())
        stois.append(stoi(reference, decoded, rate))
        if rate == 16000:
            try:
                pesqs.append(pesq(rate, reference, decoded, "wb"))
            except PesqError:  # no speech found in one of the two: no score
                continue
    _, counts = torch.cat(tokens).unique(return_counts=True)
    share = counts / counts.sum()
    perplexity = float(torch.exp(-(share * share.log()).sum()))
    scores = {
        "validation_stoi": float(np.mean(stois)),
        "validation_tokens": float(counts.sum()),
        "validation_tokens_used": len(counts) / int(counts.sum()),
        "validation_perplexity": perplexity,
        "validation_cvu": perplexity / network.quantizer.codebook_size,
    }
    return scores | ({"validation_pesq_wb": float(np.mean(pesqs))} if pesqs else {})

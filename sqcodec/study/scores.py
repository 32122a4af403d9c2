"""Scores of a trained network: quality on validation clips, use of the codebook, bit rates.

Letters: N tokens, K codebook size, Q codebooks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sqcodec.config import QuantizerConfig
from sqcodec.data.cache import AudioCache
from sqcodec.data.segments import SegmentSampler
from sqcodec.evaluation.metrics import mel_distance, pesq_wideband, stoi
from sqcodec.evaluation.scorers import NotScorable, Pair
from sqcodec.nn.base import CodecNetwork
from sqcodec.quantizers import split_digits
from sqcodec.training.recipe import DataRecipe

SCORES: dict[str, Callable[[Pair], dict[str, float]]] = {"mel": mel_distance, "pesq_wb": pesq_wideband, "stoi": stoi}


@torch.no_grad()
def quality(network: CodecNetwork, cache: AudioCache, data: DataRecipe) -> tuple[dict[str, float | None], list[Tensor]]:
    """Mean mel distance, PESQ-WB and STOI over clips spread evenly over the cache, and their tokens [N] each.

    A score that no clip has (PESQ of silence) is None; ``scored`` is the share of clips that PESQ could score.
    """
    network.eval()
    device = next(network.parameters()).device
    places = np.linspace(0, len(cache) - 1, min(data.validation_clips, len(cache))).round().astype(int)
    values: dict[str, list[float]] = {name: [] for name in SCORES}
    tokens = []
    for place in places:
        reference = cache.clip(int(place))[: int(data.validation_seconds * cache.sample_rate)]
        output, quantized = network(network.pad(torch.from_numpy(reference)[None, None]).to(device))
        decoded = network.crop(output, len(reference))[0, 0].cpu().numpy()
        tokens.append(quantized.indices[0].cpu())
        for name, score in SCORES.items():
            try:
                values[name].append(score(Pair(reference, decoded, cache.sample_rate))[name])
            except NotScorable:
                continue
    means = {name: float(np.mean(found)) if found else None for name, found in values.items()}
    return means | {"scored": len(values["pesq_wb"]) / len(places)}, tokens


@torch.no_grad()
def training_tokens(network: CodecNetwork, sampler: SegmentSampler, count: int, first: int) -> list[Tensor]:
    """At least ``count`` tokens of training segments, a tensor [N] a segment."""
    network.eval()
    device = next(network.parameters()).device
    found: list[Tensor] = []
    while sum(len(item) for item in found) < count:
        samples = torch.from_numpy(sampler.batch(first + len(found))).to(device)
        found += list(network.quantizer.encode(network.encode_features(samples[:, None])).cpu())
    return found


def codebook_numbers(
    train: list[Tensor], validation: list[Tensor], config: QuantizerConfig, token_rate: float
) -> dict[str, float]:
    """Use of the codebooks over all tokens, and bit rates.

    ``perplexity``: exp(entropy), the product over several codebooks; ``cvu``: over K (VP-VAE, arXiv 2602.17133);
    ``dead``: share of codes that never occurred; ``entropy_bits``: bits a token that an entropy coder with the
    frequencies of the training tokens spends on the validation tokens (each codebook by itself, add-one-half);
    ``bit_rate`` nominal and ``coded_bit_rate``, bit/s.
    """
    sizes = config.levels if config.several else (config.codebook_size,)
    strides = config.strides or (1,) * len(sizes)
    entropy, bits, dead = 0.0, 0.0, 0
    for book, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        seen, coded = (
            torch.cat([_digits(item, config, book)[::stride] for item in items]).numpy()
            for items in (train, validation)
        )
        counts = np.bincount(np.concatenate([seen, coded]), minlength=size)
        share = counts[counts > 0] / counts.sum()
        entropy -= float((share * np.log(share)).sum())
        dead += int((counts == 0).sum())
        model = np.bincount(seen, minlength=size) + 0.5
        bits += float(-np.log2(model[coded] / model.sum()).mean()) / stride
    return {
        "tokens": float(sum(len(item) for item in train + validation)),
        "perplexity": float(np.exp(entropy)),
        "cvu": float(np.exp(entropy)) / config.codebook_size,
        "dead": dead / sum(sizes),
        "codes": float(config.codebook_size),
        "entropy_bits": bits,
        "bit_rate": token_rate * config.token_bits,
        "coded_bit_rate": token_rate * bits,
    }


def _digits(tokens: Tensor, config: QuantizerConfig, book: int) -> Tensor:
    return split_digits(tokens, config.levels)[:, book] if config.several else tokens

"""L_norm of VP-VAE (arXiv 2602.17133): what keeps latents at the scale that their perturbation assumes.

Letters: B batch, N tokens, D dimensions.
"""

from __future__ import annotations

from torch import Tensor

from sqcodec.distributed import shared_mean

MEAN_WEIGHT, VARIANCE_WEIGHT, SKEWNESS_WEIGHT, KURTOSIS_WEIGHT = 0.1, 0.07, 0.06, 0.05


def norm_loss(latents: Tensor, target_variance: float = 1.0, moments: bool = False) -> Tensor:
    """Mean over dimensions of 0.1 mean² + 0.07 (variance - target)², over the global batch.

    ``moments`` adds 0.06 skewness² + 0.05 (excess kurtosis)².
    """
    values = latents.flatten(0, -2)
    mean = shared_mean(values.mean(dim=0))
    variance = shared_mean((values - mean).square().mean(dim=0))
    penalty = MEAN_WEIGHT * mean**2 + VARIANCE_WEIGHT * (variance - target_variance) ** 2
    if moments:
        scaled = (values - mean) / (variance + 1e-6).sqrt()
        penalty = penalty + SKEWNESS_WEIGHT * shared_mean(scaled.pow(3).mean(dim=0)) ** 2
        penalty = penalty + KURTOSIS_WEIGHT * (shared_mean(scaled.pow(4).mean(dim=0)) - 3) ** 2
    return penalty.mean()

"""Distances to nearest neighbours in few dimensions: a k-d tree on the CPU, chunked brute force elsewhere.

Letters: M points, R reference points, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

DISTANCE_BUDGET = 2**26
"""Most distances held at once by the brute-force search."""


def neighbour_distances(points: Tensor, reference: Tensor, ranks: tuple[int, ...]) -> Tensor:
    """Distance from each point to its j-th nearest reference, for each j of ``ranks`` (1 is the nearest).

    Args:
        points: float32 [M, D].
        reference: float32 [R, D], R at least the largest rank.

    Returns:
        float32 [M, len(ranks)].
    """
    if reference.shape[0] < max(ranks):
        raise ValueError(f"{reference.shape[0]} reference points have no {max(ranks)}-th neighbour.")
    if points.device.type == "cpu" and reference.shape[0] > 512:
        return Search(reference).distances(points, ranks)
    return brute_force_distances(points, reference, ranks)


class Search:
    """A k-d tree over reference points [R, D] on the CPU, for several queries."""

    def __init__(self, reference: Tensor) -> None:
        from scipy.spatial import cKDTree

        self.tree = cKDTree(reference.detach().double().numpy(), balanced_tree=False, compact_nodes=False)

    def distances(self, points: Tensor, ranks: tuple[int, ...]) -> Tensor:
        """As ``neighbour_distances``."""
        found, _ = self.tree.query(points.detach().double().numpy(), k=sorted(set(ranks)))
        order = [sorted(set(ranks)).index(rank) for rank in ranks]
        return torch.from_numpy(np.asarray(found)[:, order]).float()

    def nearest(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(distance, index) of the nearest reference of each point [M, D]."""
        distance, index = self.tree.query(points.detach().double().numpy())
        return torch.from_numpy(distance).float(), torch.from_numpy(index)


def brute_force_distances(
    points: Tensor, reference: Tensor, ranks: tuple[int, ...], budget: int = DISTANCE_BUDGET
) -> Tensor:
    """``neighbour_distances`` by comparing everything with everything, a bounded part at a time."""
    most = max(ranks)
    columns = torch.tensor([rank - 1 for rank in ranks], device=points.device)
    found = []
    for part in points.split(max(1, budget // reference.shape[0])):
        distances = torch.cdist(part, reference, compute_mode="donot_use_mm_for_euclid_dist")
        found.append(distances.topk(most, dim=1, largest=False).values[:, columns])
    return torch.cat(found)

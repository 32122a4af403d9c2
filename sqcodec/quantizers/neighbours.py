"""Distances to nearest neighbours in few dimensions: a k-d tree on the CPU, chunked brute force elsewhere.

Letters: M points, R reference points, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

DISTANCE_BUDGET = 2**26
"""Most distances held at once by the brute-force search."""

SMALL = 512
"""References that are compared one by one rather than put in a tree."""


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
    return Neighbours(reference).distances(points, ranks)


class Neighbours:
    """Reference points [R, D], made ready for several queries where they are."""

    def __init__(self, reference: Tensor) -> None:
        self.reference = reference
        indexed = reference.device.type == "cpu" and reference.shape[0] > SMALL
        self.search = Search(reference) if indexed else None

    def distances(self, points: Tensor, ranks: tuple[int, ...]) -> Tensor:
        """As ``neighbour_distances``."""
        if self.search is not None:
            return self.search.distances(points, ranks)
        return brute_force_distances(points, self.reference, ranks)


class Search:
    """A k-d tree over reference points [R, D] on the CPU, for several queries."""

    def __init__(self, reference: Tensor) -> None:
        from scipy.spatial import cKDTree

        points = reference.detach().double().numpy()
        self.tree = cKDTree(points, leafsize=32, balanced_tree=False, compact_nodes=False)

    def distances(self, points: Tensor, ranks: tuple[int, ...]) -> Tensor:
        """As ``neighbour_distances``."""
        queries = points.detach().double().numpy()
        order = _nearby_order(queries)
        found = np.empty((len(queries), len(set(ranks))))
        found[order], _ = self.tree.query(queries[order], k=sorted(set(ranks)))
        columns = [sorted(set(ranks)).index(rank) for rank in ranks]
        return torch.from_numpy(found[:, columns]).float()

    def nearest(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(distance, index) of the nearest reference of each point [M, D]."""
        queries = points.detach().double().numpy()
        order = _nearby_order(queries)
        distance, index = np.empty(len(queries)), np.empty(len(queries), dtype=np.int64)
        distance[order], index[order] = self.tree.query(queries[order])
        return torch.from_numpy(distance).float(), torch.from_numpy(index)


def _nearby_order(queries: np.ndarray) -> np.ndarray:
    """An order in which neighbours follow one another, so that a search finds its leaves in the processor's cache."""
    steps = np.floor(queries[:, :2] / (0.5 * queries[:, :2].std(axis=0) + 1e-12))
    return np.lexsort(steps.T)


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

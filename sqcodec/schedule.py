"""The schedule that all trainers share."""

import math


def half_cosine(start: float, end: float, progress: float) -> float:
    """A schedule from ``start`` at progress 0 to ``end`` at 1, flat at both ends."""
    rest = 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    return end + (start - end) * rest

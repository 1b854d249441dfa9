"""How many designs that behave differently does the grammar hold? An estimate from coincidences in a random sample.

n random designs with c coinciding pairs suggest N = n^2 / (2c) designs (the birthday problem). Unequal chances only
make coincidences likelier, so the estimate errs towards too few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceEstimate:
    """Designs told apart by behaviour."""

    num_samples: int
    num_collisions: int  # pairs that behave the same
    estimate: float | None  # n^2 / (2c); None without a collision
    low: float  # 95% one-sided lower bound
    median_nearest: float  # relative distance of a sample to its nearest other, the median


def estimate_space(fingerprints: Sequence[Sequence[float]], threshold: float) -> SpaceEstimate:
    """Count pairs nearer than `threshold` (|a - b| / max(|a|, |b|)) and bound the number of designs from below.

    Raises ValueError for fewer than two fingerprints or non-finite ones.
    """
    points = np.asarray(fingerprints, dtype=np.float64)
    if points.ndim != 2 or len(points) < 2 or not np.isfinite(points).all():
        raise ValueError(f"fingerprints of shape {points.shape}; give two or more finite vectors of one length")
    sizes = np.linalg.norm(points, axis=1)
    num_collisions, nearest = 0, np.full(len(points), np.inf)
    for i in range(len(points)):
        distances = _distances(points, sizes, i)
        distances[i] = np.inf
        nearest[i] = distances.min()
        num_collisions += int((distances[i + 1 :] < threshold).sum())
    pairs = len(points) ** 2 / 2
    return SpaceEstimate(
        num_samples=len(points),
        num_collisions=num_collisions,
        estimate=pairs / num_collisions if num_collisions else None,
        low=pairs / poisson_upper(num_collisions),
        median_nearest=float(np.median(nearest)),
    )


def poisson_upper(count: int, confidence: float = 0.95) -> float:
    """The mean at which seeing `count` events or fewer has probability 1 - confidence; 2.996 for none at 95%."""
    low, high = 0.0, count + 10.0 * math.sqrt(count + 1.0) + 10.0
    for _ in range(100):
        middle = (low + high) / 2
        log_terms = [k * math.log(middle) - middle - math.lgamma(k + 1) for k in range(count + 1)]
        if sum(map(math.exp, log_terms)) > 1 - confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _distances(points: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64], index: int) -> npt.NDArray[np.float64]:
    gaps: npt.NDArray[np.float64] = np.linalg.norm(points - points[index], axis=1)
    relative: npt.NDArray[np.float64] = gaps / np.maximum(np.maximum(sizes, sizes[index]), 1e-300)
    return relative

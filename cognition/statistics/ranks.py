"""Rank correlations, and scales that outliers do not move."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cognition.statistics.observations import Numbers, finite
from cognition.statistics.student import two_sided

_MAD_TO_SIGMA = 1.482602218505602  # 1 / Phi^-1(3/4): MAD of a normal sample -> its standard deviation
_MEAN_DEVIATION_TO_SIGMA = math.sqrt(math.pi / 2)  # the same for the mean absolute deviation


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """A rank correlation and its interval."""

    rho: float
    low: float | None  # None: too few pairs for an interval
    high: float | None
    num: int  # pairs


def spearman(a: Numbers, b: Numbers) -> float | None:
    """Spearman's rank correlation, ties by average rank; None with fewer than two pairs or where one side is constant.

    Raises:
        ValueError: different lengths, or a value is not finite.
    """
    first, second = finite(a), finite(b)
    if first.size != second.size:
        raise ValueError(f"{first.size} and {second.size} observations are no pairs; give both for every item")
    if first.size < 2:
        return None
    ranks = _ranks(first), _ranks(second)
    x, y = (rank - rank.mean() for rank in ranks)
    scale = math.sqrt(float((x**2).sum()) * float((y**2).sum()))
    return None if scale == 0 else max(-1.0, min(1.0, float((x * y).sum()) / scale))


def rank_correlation(a: Numbers, b: Numbers, *, confidence: float = 0.95) -> Correlation | None:
    """Spearman's rho with its interval by Fisher's z, variance (1 + rho^2 / 2) / (n - 3).

    The variance is Bonett and Wright's (Psychometrika 65, 2000). It needs four pairs. Where the orders agree throughout
    z is infinite: the near end is then that of the next lower rho that so many pairs can have, one neighbouring pair
    swapped, and the far end is 1 (the same, mirrored, for opposite orders).

    None as for `spearman`.

    Raises:
        ValueError: different lengths, a value that is not finite, or confidence out of range.
    """
    rho = spearman(a, b)
    if rho is None:
        return None
    num = len(a)
    if num < 4:
        return Correlation(rho=rho, low=None, high=None, num=num)
    widest = 1 - 12 / (num * (num * num - 1))
    inner = max(-widest, min(widest, rho))
    margin = two_sided(confidence, math.inf) * math.sqrt((1 + inner * inner / 2) / (num - 3))
    low, high = math.tanh(math.atanh(inner) - margin), math.tanh(math.atanh(inner) + margin)
    return Correlation(rho=rho, low=-1.0 if rho < -widest else low, high=1.0 if rho > widest else high, num=num)


def robust_standardise(values: Numbers) -> npt.NDArray[np.float64]:
    """(value - median) / (1.4826 MAD), shape [N]: outliers neither move the centre nor widen the scale.

    Where more than half of the values are equal the MAD is 0 and the mean absolute deviation stands in (1.2533 times
    it); equal values throughout give zeros.

    Raises:
        ValueError: a value is not finite.
    """
    numbers = finite(values)
    if not numbers.size:
        return numbers
    gaps = numbers - np.median(numbers)
    scale = _MAD_TO_SIGMA * float(np.median(np.abs(gaps)))
    if scale == 0:
        scale = _MEAN_DEVIATION_TO_SIGMA * float(np.abs(gaps).mean())
    return gaps / scale if scale > 0 else np.zeros_like(gaps)


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 1, ties sharing their average; shape [N]."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    average: npt.NDArray[np.float64] = (last - (counts - 1) / 2).astype(np.float64)
    return average[inverse]

"""Differences of means and shares with their intervals. Intervals are two-sided, for a number of observations that was
fixed beforehand: where one looks again as observations come, `sequential` has those that stay valid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cognition.statistics.observations import Numbers, finite
from cognition.statistics.student import two_sided


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """A standard deviation shared by several groups."""

    std: float
    dof: int  # degrees of freedom: observations minus groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference of means, a - b, and its interval."""

    mean: float
    low: float | None  # None: too few observations for an interval
    high: float | None
    std: float | None = None  # of the paired differences, or the pooled one that was given
    num: int = 0  # pairs, or observations of both groups


def pooled_std(groups: Sequence[Numbers]) -> Pooled:
    """Standard deviation within groups: sqrt(sum of squares about each group's mean / (observations - groups)).

    Groups with one observation carry no spread and change nothing.

    Raises:
        ValueError: no group has two observations, or one is not finite.
    """
    squares, dof = 0.0, 0
    for group in groups:
        values = finite(group)
        if values.size:
            squares += float(((values - values.mean()) ** 2).sum())
            dof += values.size - 1
    if dof == 0:
        raise ValueError(f"{len(groups)} groups without a repeated observation have no spread; add a second seed")
    return Pooled(std=math.sqrt(squares / dof), dof=dof)


def difference_interval(a: Numbers, b: Numbers, *, sigma: float, dof: float, confidence: float = 0.95) -> Difference:
    """mean(a) - mean(b) with the interval that a known spread gives: +- t(dof) * sigma * sqrt(1/n_a + 1/n_b).

    Args:
        a: observations of the one group, at least one.
        b: observations of the other, at least one.
        sigma: standard deviation of one observation, for instance `pooled_std` over the baselines' seeds.
        dof: degrees of freedom behind sigma; math.inf where it is exact.
        confidence: probability that the interval covers the difference.

    Raises:
        ValueError: an empty group, a negative sigma, or dof or confidence out of range.
    """
    first, second = finite(a), finite(b)
    if not first.size or not second.size:
        raise ValueError(f"groups of {first.size} and {second.size} observations; give each at least one")
    if not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"sigma={sigma}; give a finite standard deviation of 0 or more")
    mean = float(first.mean() - second.mean())
    margin = two_sided(confidence, dof) * sigma * math.sqrt(1 / first.size + 1 / second.size)
    return Difference(mean=mean, low=mean - margin, high=mean + margin, std=sigma, num=first.size + second.size)


def paired_difference(a: Numbers, b: Numbers, *, confidence: float = 0.95) -> Difference:
    """Mean of a_i - b_i with Student's interval on the pairs; fewer than two pairs have no interval.

    Raises:
        ValueError: no pairs, different lengths, or a value is not finite.
    """
    first, second = finite(a), finite(b)
    if first.size != second.size or not first.size:
        raise ValueError(f"{first.size} and {second.size} observations are no pairs; give the same seeds on both sides")
    gaps = first - second
    mean = float(gaps.mean())
    if gaps.size < 2:
        return Difference(mean=mean, low=None, high=None, num=1)
    std = float(gaps.std(ddof=1))
    margin = two_sided(confidence, gaps.size - 1) * std / math.sqrt(gaps.size)
    return Difference(mean=mean, low=mean - margin, high=mean + margin, std=std, num=gaps.size)


def share_interval(successes: int, num: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a share of `num` independent tries (Wilson 1927): within 0..1, and of use at none or all.

    Raises:
        ValueError: no tries, or successes outside of 0..num.
    """
    if not 0 <= successes <= num or not num:
        raise ValueError(f"{successes} of {num} is no share; give at least one try, and no more successes than tries")
    z = two_sided(confidence, math.inf)
    centre = (successes + z * z / 2) / (num + z * z)
    margin = z / (num + z * z) * math.sqrt(successes * (num - successes) / num + z * z / 4)
    low = 0.0 if successes == 0 else max(0.0, centre - margin)  # exact where rounding would leave a little
    high = 1.0 if successes == num else min(1.0, centre + margin)
    return low, high

"""Intervals, ranks and robust scales for a campaign's claims. Pure functions over numbers; nothing is NaN.

Intervals are two-sided. `confidence` is the caller's: a correction over many candidates is a larger one
(Bonferroni: 1 - 0.05 / candidates).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Numbers = Sequence[float] | npt.NDArray[np.floating]

_MAD_TO_SIGMA = 1.482602218505602  # 1 / Phi^-1(3/4): MAD of a normal sample -> its standard deviation
_MEAN_DEVIATION_TO_SIGMA = math.sqrt(math.pi / 2)  # the same for the mean absolute deviation


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """A rank correlation and its interval."""

    rho: float
    low: float | None  # None: too few pairs for an interval
    high: float | None
    num: int  # pairs


def pooled_std(groups: Sequence[Numbers]) -> Pooled:
    """Standard deviation within groups: sqrt(sum of squares about each group's mean / (observations - groups)).

    Groups with one observation carry no spread and change nothing.

    Raises:
        ValueError: no group has two observations, or one is not finite.
    """
    squares, dof = 0.0, 0
    for group in groups:
        values = _finite(group)
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
    first, second = _finite(a), _finite(b)
    if not first.size or not second.size:
        raise ValueError(f"groups of {first.size} and {second.size} observations; give each at least one")
    if not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"sigma={sigma}; give a finite standard deviation of 0 or more")
    mean = float(first.mean() - second.mean())
    margin = _two_sided(confidence, dof) * sigma * math.sqrt(1 / first.size + 1 / second.size)
    return Difference(mean=mean, low=mean - margin, high=mean + margin, std=sigma, num=first.size + second.size)


def paired_difference(a: Numbers, b: Numbers, *, confidence: float = 0.95) -> Difference:
    """Mean of a_i - b_i with Student's interval on the pairs; fewer than two pairs have no interval.

    Raises:
        ValueError: no pairs, different lengths, or a value is not finite.
    """
    first, second = _finite(a), _finite(b)
    if first.size != second.size or not first.size:
        raise ValueError(f"{first.size} and {second.size} observations are no pairs; give the same seeds on both sides")
    gaps = first - second
    mean = float(gaps.mean())
    if gaps.size < 2:
        return Difference(mean=mean, low=None, high=None, num=1)
    std = float(gaps.std(ddof=1))
    margin = _two_sided(confidence, gaps.size - 1) * std / math.sqrt(gaps.size)
    return Difference(mean=mean, low=mean - margin, high=mean + margin, std=std, num=gaps.size)


def share_interval(successes: int, num: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a share of `num` independent tries (Wilson 1927): within 0..1, and of use at none or all.

    Raises:
        ValueError: no tries, or successes outside of 0..num.
    """
    if not 0 <= successes <= num or not num:
        raise ValueError(f"{successes} of {num} is no share; give at least one try, and no more successes than tries")
    z = _two_sided(confidence, math.inf)
    centre = (successes + z * z / 2) / (num + z * z)
    margin = z / (num + z * z) * math.sqrt(successes * (num - successes) / num + z * z / 4)
    low = 0.0 if successes == 0 else max(0.0, centre - margin)  # exact where rounding would leave a little
    high = 1.0 if successes == num else min(1.0, centre + margin)
    return low, high


def spearman(a: Numbers, b: Numbers) -> float | None:
    """Spearman's rank correlation, ties by average rank; None with fewer than two pairs or where one side is constant.

    Raises:
        ValueError: different lengths, or a value is not finite.
    """
    first, second = _finite(a), _finite(b)
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
    margin = _two_sided(confidence, math.inf) * math.sqrt((1 + inner * inner / 2) / (num - 3))
    low, high = math.tanh(math.atanh(inner) - margin), math.tanh(math.atanh(inner) + margin)
    return Correlation(rho=rho, low=-1.0 if rho < -widest else low, high=1.0 if rho > widest else high, num=num)


def robust_standardise(values: Numbers) -> npt.NDArray[np.float64]:
    """(value - median) / (1.4826 MAD), shape [N]: outliers neither move the centre nor widen the scale.

    Where more than half of the values are equal the MAD is 0 and the mean absolute deviation stands in (1.2533 times
    it); equal values throughout give zeros.

    Raises:
        ValueError: a value is not finite.
    """
    numbers = _finite(values)
    if not numbers.size:
        return numbers
    gaps = numbers - np.median(numbers)
    scale = _MAD_TO_SIGMA * float(np.median(np.abs(gaps)))
    if scale == 0:
        scale = _MEAN_DEVIATION_TO_SIGMA * float(np.abs(gaps).mean())
    return gaps / scale if scale > 0 else np.zeros_like(gaps)


def student_t_cdf(t: float, dof: float) -> float:
    """P(T <= t) for Student's t: 1 - I_x(dof/2, 1/2) / 2 with x = dof / (dof + t^2) for t >= 0 (DLMF 8.17)."""
    if math.isinf(dof):
        return NormalDist().cdf(t)
    tail = _beta_regularised(dof / 2, 0.5, dof / (dof + t * t), t * t / (dof + t * t)) / 2
    return 1 - tail if t >= 0 else tail


def student_t_quantile(probability: float, dof: float) -> float:
    """The t with P(T <= t) = probability, by bisection of the upper tail (relative error below 1e-9).

    Raises:
        ValueError: probability outside (0, 1), or dof not positive.
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability={probability}; give one between 0 and 1, both excluded")
    if not dof > 0:
        raise ValueError(f"dof={dof}; give a positive number of degrees of freedom")
    if math.isinf(dof):
        return NormalDist().inv_cdf(probability)
    if probability < 0.5:
        return -student_t_quantile_of_tail(probability, dof)
    return student_t_quantile_of_tail(1 - probability, dof) if probability > 0.5 else 0.0


def student_t_quantile_of_tail(tail: float, dof: float) -> float:
    """The t > 0 with P(T > t) = tail, 0 < tail < 1/2. The tail is solved for itself: 1 - tail would lose its digits."""
    low, high = 0.0, 1.0
    while student_t_cdf(-high, dof) > tail:
        low, high = high, 2 * high
        if math.isinf(high):
            raise ValueError(f"the tail {tail} with dof={dof} lies beyond every float; give a larger tail or dof")
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if student_t_cdf(-middle, dof) > tail:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _two_sided(confidence: float, dof: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}; give a probability between 0 and 1, both excluded")
    return student_t_quantile(0.5 + confidence / 2, dof)


def _beta_regularised(a: float, b: float, x: float, y: float) -> float:
    """I_x(a, b), with y = 1 - x given beside x so that neither end loses digits.

    Continued fraction DLMF 8.17.22, evaluated by Lentz's modified method; for x beyond its fast range the symmetry
    I_x(a, b) = 1 - I_y(b, a) is used.
    """
    if x <= 0:
        return 0.0
    if y <= 0:
        return 1.0
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y)
    )  # x^a y^b / B(a, b)
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1 - front * _beta_fraction(b, a, y) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    d = 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    c, value = 1.0, d
    for m in range(1, 10_000):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + factor * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + factor / c
            c = c if abs(c) > tiny else tiny
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            return value
    raise AssertionError(f"the continued fraction of I_x({a}, {b}) at {x} did not converge")


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 1, ties sharing their average; shape [N]."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    average: npt.NDArray[np.float64] = (last - (counts - 1) / 2).astype(np.float64)
    return average[inverse]


def _finite(values: Numbers) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{array.tolist()!r:.200} is no list of finite numbers; leave failed observations out")
    return array

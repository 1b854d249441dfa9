"""A t-test that may be looked at after every observation, and stopped whenever one likes.

The e-value is the Bayes factor of "the mean lies below zero" against "the mean is zero", on normal observations of
unknown spread: the right Haar prior on sigma, on -mean / sigma a normal prior of standard deviation `TAU` cut at zero.
In closed form it is Goenen, Johnson, Lu and Westfall's (The American Statistician 59, 2005), with the share of the
posterior below zero, which is a Student t's. It depends on the observations through their scale-free part alone, in
which it is a nonnegative martingale of mean one where the mean is zero, and where the mean is above zero it is smaller
for each sample. So the chance that it ever reaches 1/a is at most a, however often one looks and whatever makes one
stop (Ville; Hendriksen, de Heide and Gruenwald, Bayesian Analysis 16, 2021; Wang and Ramdas, arXiv 2310.03722).

What is known of sigma from independent observations beside these comes in as a `Pooled`. It has to be in from the
first look on, and of the same sigma.

Not covered: observations that are far from normal, or that depend on each other.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cognition.statistics.intervals import Difference, Pooled
from cognition.statistics.observations import Numbers, finite
from cognition.statistics.student import noncentral_t_tail, student_t_cdf

TAU = 4.0  # where most is found with 3 to 8 seeds and effects of 2 to 8 sigma: benchmarks/claims.py
_MOST = 1000  # further observations that are thought of


def e_value(values: Numbers, *, prior: Pooled | None = None, tau: float = TAU) -> float:
    """The evidence that the mean of the values lies below zero: 1 is none, 20 what holds once in twenty by chance.

    Args:
        values: independent observations so far, none included.
        prior: the spread of one observation, as other observations have it; None: nothing is known.
        tau: the standard deviation of -mean / sigma that is reckoned with.

    Raises:
        ValueError: a value is not finite, or tau is not positive.
    """
    array = finite(values)
    if not array.size:
        return 1.0
    return _evidence(-float(array.mean()), _squares(array, prior), array.size, _dof(array.size, prior), tau)


def sequential_interval(
    values: Numbers, *, prior: Pooled | None = None, confidence: float = 0.95, tau: float = TAU
) -> Difference:
    """The mean with an interval that covers it at all looks at once: the means that neither side's e-value refutes.

    Each end inverts the one-sided e-value at 2 / (1 - confidence), so that one of at least this size and an end on this
    side of zero are the same thing. Ends are None where so few values could refute nothing, however far off.

    Raises:
        ValueError: no values, one that is not finite, or confidence out of range.
    """
    array = finite(values)
    if not array.size or not 0 < confidence < 1:
        raise ValueError(
            f"{array.size} values at confidence {confidence}; give at least one, and a confidence in (0, 1)"
        )
    dof, mean = _dof(array.size, prior), float(array.mean())
    reach = critical_t(array.size, dof, 2 / (1 - confidence), tau)
    std = math.sqrt(_squares(array, prior) / dof) if dof else None
    if std is None or math.isinf(reach):
        return Difference(mean=mean, low=None, high=None, std=std, num=array.size)
    margin = reach * std / math.sqrt(array.size)
    return Difference(mean=mean, low=mean - margin, high=mean + margin, std=std, num=array.size)


@lru_cache(maxsize=4096)
def critical_t(num: int, dof: int, bound: float, tau: float = TAU) -> float:
    """The t statistic from which on the e-value of `num` observations reaches the bound; infinite where none does."""

    def reached(t: float) -> bool:
        return _evidence(t / math.sqrt(num), float(dof), num, dof, tau) >= bound

    if dof < 1 or _log_most(num, dof, tau) < math.log(bound):
        return math.inf
    low, high = 0.0, 1.0
    while not reached(high):
        low, high = high, 2 * high
        if high > 1e12:
            return math.inf
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def power(effect: float, sigma: float, num: int, bound: float, *, prior_dof: int = 0, tau: float = TAU) -> float:
    """The chance that `num` observations of mean -effect and spread sigma reach the bound, looked at once.

    Who looks after every observation reaches it at least as often. `prior_dof`: degrees of freedom of a `Pooled`.
    """
    if sigma <= 0:
        return 1.0 if effect > 0 else 0.0
    dof = num - 1 + prior_dof
    reach = critical_t(num, dof, bound, tau)
    return 0.0 if math.isinf(reach) else noncentral_t_tail(reach, dof, effect / sigma * math.sqrt(num))


def smallest_effect(
    sigma: float, num: int, bound: float, *, chance: float = 0.8, prior_dof: int = 0, tau: float = TAU
) -> float | None:
    """The effect that `num` observations reach the bound on with this chance; None where no effect is large enough."""
    unit = _unit_effect(num, bound, chance, prior_dof, tau)
    return None if math.isinf(unit) else sigma * unit


@lru_cache(maxsize=4096)
def _unit_effect(num: int, bound: float, chance: float, prior_dof: int, tau: float) -> float:
    """The same in units of sigma; infinite where there is none."""
    if math.isinf(critical_t(num, num - 1 + prior_dof, bound, tau)):
        return math.inf
    low, high = 0.0, 1.0
    while power(high, 1.0, num, bound, prior_dof=prior_dof, tau=tau) < chance:
        low, high = high, 2 * high
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        told = power(middle, 1.0, num, bound, prior_dof=prior_dof, tau=tau) >= chance
        low, high = (low, middle) if told else (middle, high)
    return high


def further_needed(
    values: Numbers, bound: float, *, prior: Pooled | None = None, hope: float = 0.0, tau: float = TAU
) -> int | None:
    """How many more observations reach the bound if mean and spread stay what they are; None: none, or over 1,000.

    A projection, no promise: half of those whose effect is what it looks like need more. `hope`: reckon with a mean
    that is better by so many standard errors.
    """
    array = finite(values)
    if array.size < 2 and prior is None:
        return None
    mean, dof = float(array.mean()), _dof(array.size, prior)
    if mean >= 0:
        return None
    variance = _squares(array, prior) / dof
    mean -= hope * math.sqrt(variance / array.size)

    def reached(more: int) -> bool:
        return _evidence(-mean, variance * (dof + more), array.size + more, dof + more, tau) >= bound

    if not reached(_MOST):
        return None
    low, high = -1, _MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _evidence(gain: float, squares: float, num: int, dof: int, tau: float) -> float:
    """The Bayes factor.

    Args:
        gain: the mean, with the sign that is hoped for.
        squares: sum of squares behind the spread, with `dof` degrees of freedom.
        num: observations.
        dof: of the spread.
        tau: of the prior.
    """
    if not tau > 0:
        raise ValueError(f"tau is {tau}; give a positive standard deviation")
    growth = 1 + num * tau * tau
    signal = num * gain * gain
    total = signal + squares
    share = signal / total if total > 0 else 0.0  # t^2 / (t^2 + dof), which stays finite where the spread is zero
    left = 1 - share + share / growth
    log_factor = -math.log(growth) / 2 - (dof + 1) / 2 * math.log(left)
    spread = squares + signal / growth
    z = math.copysign(math.sqrt(signal * num / (num + tau**-2) * (dof + 1) / spread), gain) if spread > 0 else 0.0
    return 2 * math.exp(min(700.0, log_factor)) * student_t_cdf(z, dof + 1)


def _log_most(num: int, dof: int, tau: float) -> float:
    """The logarithm of the largest e-value that so many observations can have."""
    return math.log(2) + dof / 2 * math.log(1 + num * tau * tau)


def _dof(num: int, prior: Pooled | None) -> int:
    return num - 1 + (prior.dof if prior is not None else 0)


def _squares(array: npt.NDArray[np.float64], prior: Pooled | None) -> float:
    own = float(((array - array.mean()) ** 2).sum())
    return own + (prior.dof * prior.std**2 if prior is not None else 0.0)

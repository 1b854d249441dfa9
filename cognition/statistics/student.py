"""Student's t distribution, central and noncentral, from its incomplete beta function."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt


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


def two_sided(confidence: float, dof: float) -> float:
    """The t that is exceeded to either side with probability (1 - confidence) / 2."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}; give a probability between 0 and 1, both excluded")
    return student_t_quantile(0.5 + confidence / 2, dof)


def noncentral_t_tail(t: float, dof: float, shift: float) -> float:
    """P((Z + shift) / sqrt(W / dof) > t), Z standard normal, W chi-squared with dof degrees, t >= 0.

    Phi(shift - t u) averaged over u = sqrt(W / dof) by Gauss's rule with 200 nodes.
    """
    spread = 1 / math.sqrt(2 * dof)
    low, high = max(0.0, 1 - 9 * spread), 1 + 9 * spread
    nodes, weights = _gauss()
    u = low + (high - low) * (nodes + 1) / 2
    log_density = (
        math.log(2) + dof / 2 * math.log(dof / 2) - math.lgamma(dof / 2) + (dof - 1) * np.log(u) - dof * u * u / 2
    )
    above = np.array([math.erfc((t * float(one) - shift) / math.sqrt(2)) / 2 for one in u])
    return float(min(1.0, (high - low) / 2 * np.sum(weights * np.exp(log_density) * above)))


@lru_cache(maxsize=1)
def _gauss() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return nodes, weights


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

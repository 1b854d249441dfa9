from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognition.statistics import (
    difference_interval,
    paired_difference,
    pooled_std,
    rank_correlation,
    robust_standardise,
    share_interval,
    spearman,
    student_t_cdf,
    student_t_quantile,
)


# Printed tables of Student's t (two-sided 95% and 99%, one-sided 95% and 99.95%), to the digits that they give.
@pytest.mark.parametrize(
    ("probability", "dof", "value"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.3027),
        (0.975, 3, 3.1824),
        (0.975, 4, 2.7764),
        (0.975, 5, 2.5706),
        (0.975, 9, 2.2622),
        (0.975, 10, 2.2281),
        (0.975, 30, 2.0423),
        (0.975, 120, 1.9799),
        (0.975, math.inf, 1.95996),
        (0.995, 1, 63.6567),
        (0.995, 4, 4.6041),
        (0.995, 20, 2.8453),
        (0.95, 7, 1.8946),
        (0.95, 15, 1.7531),
        (0.9995, 1, 636.6192),
        (0.9995, 6, 5.9588),
        (0.75, 1, 1.0),
    ],
)
def test_quantiles_agree_with_printed_tables(probability: float, dof: float, value: float) -> None:
    assert student_t_quantile(probability, dof) == pytest.approx(value, rel=2e-6, abs=5.1e-5)
    assert student_t_quantile(1 - probability, dof) == pytest.approx(-value, rel=2e-6, abs=5.1e-5)


@pytest.mark.parametrize("probability", [0.5, 0.6, 0.9, 0.975, 0.9999, 1 - 1e-9])
def test_quantiles_agree_with_closed_forms(probability: float) -> None:
    # dof 1 (Cauchy): tan(pi (p - 1/2)); dof 2: (2p - 1) / sqrt(2 p (1 - p))
    assert student_t_quantile(probability, 1) == pytest.approx(math.tan(math.pi * (probability - 0.5)), rel=1e-6)
    q = probability
    assert student_t_quantile(q, 2) == pytest.approx((2 * q - 1) / math.sqrt(2 * q * (1 - q)), rel=1e-6)


@given(st.floats(1e-6, 1 - 1e-6), st.floats(0.5, 1e5))
def test_quantile_inverts_the_distribution(probability: float, dof: float) -> None:
    assert student_t_cdf(student_t_quantile(probability, dof), dof) == pytest.approx(probability, rel=1e-7, abs=1e-9)


def test_many_degrees_of_freedom_approach_the_normal_distribution() -> None:
    assert student_t_quantile(0.975, 1e7) == pytest.approx(student_t_quantile(0.975, math.inf), rel=1e-6)


@pytest.mark.parametrize(("probability", "dof"), [(0.0, 3), (1.0, 3), (math.nan, 3), (0.9, 0), (0.9, math.nan)])
def test_quantile_arguments_out_of_range_are_refused(probability: float, dof: float) -> None:
    with pytest.raises(ValueError, match="give"):
        student_t_quantile(probability, dof)


def test_pooled_deviation_weighs_groups_by_their_degrees_of_freedom() -> None:
    pooled = pooled_std([(1.0, 3.0), (10.0, 11.0, 12.0), (7.0,)])
    assert pooled.dof == 3
    assert pooled.std == pytest.approx(math.sqrt((2.0 + 2.0) / 3))


def test_pooled_deviation_needs_a_repeated_observation() -> None:
    with pytest.raises(ValueError, match="2 groups without a repeated observation"):
        pooled_std([(1.0,), (2.0,)])


def test_interval_of_a_difference_with_a_known_deviation() -> None:
    found = difference_interval((2.0, 2.2), (2.4, 2.5, 2.6), sigma=0.1, dof=10)
    margin = 2.2281389 * 0.1 * math.sqrt(1 / 2 + 1 / 3)
    assert found.mean == pytest.approx(-0.4)
    assert found.low == pytest.approx(-0.4 - margin)
    assert found.high == pytest.approx(-0.4 + margin)
    exact = difference_interval((2.0,), (2.0,), sigma=1.0, dof=math.inf, confidence=0.95)
    assert exact.high == pytest.approx(1.959964 * math.sqrt(2), rel=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"a": (), "b": (1.0,), "sigma": 1.0, "dof": 3},
        {"a": (1.0,), "b": (1.0,), "sigma": -1.0, "dof": 3},
        {"a": (1.0,), "b": (1.0,), "sigma": math.nan, "dof": 3},
        {"a": (1.0,), "b": (1.0,), "sigma": 1.0, "dof": 3, "confidence": 95.0},
        {"a": (math.nan,), "b": (1.0,), "sigma": 1.0, "dof": 3},
    ],
)
def test_differences_of_nonsense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"give|leave"):
        difference_interval(**wrong)  # type: ignore[arg-type]


def test_paired_difference_removes_what_the_seeds_share() -> None:
    found = paired_difference((2.0, 3.0, 4.0), (2.1, 3.3, 4.2))
    assert found.mean == pytest.approx(-0.2)
    assert found.std == pytest.approx(0.1)
    assert found.low == pytest.approx(-0.2 - 4.3026527 * 0.1 / math.sqrt(3))
    assert found.high == pytest.approx(-0.2 + 4.3026527 * 0.1 / math.sqrt(3))
    assert found.num == 3


def test_one_pair_has_no_interval() -> None:
    found = paired_difference((2.0,), (2.5,))
    assert (found.mean, found.low, found.high, found.std) == (-0.5, None, None, None)


@pytest.mark.parametrize(("a", "b"), [((), ()), ((1.0,), (1.0, 2.0))])
def test_what_is_no_pair_is_refused(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="are no pairs; give the same seeds"):
        paired_difference(a, b)


def test_paired_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = random.Random(0)
    covered = 0
    for _ in range(2000):
        pairs = [(rng.gauss(0.3, 1), rng.gauss(0, 1)) for _ in range(4)]
        found = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.3 <= found.high
    assert 0.935 <= covered / 2000 <= 0.965


def test_spearman_sees_order_alone() -> None:
    assert spearman((1, 2, 3, 4), (1, 10, 100, 1000)) == pytest.approx(1.0)
    assert spearman((1, 2, 3, 4), (4, 3, 2, 1)) == pytest.approx(-1.0)
    # without ties: 1 - 6 sum(d^2) / (n (n^2 - 1)) with d = (1, 1, 1, 1, 0)
    assert spearman((1, 2, 3, 4, 5), (2, 1, 4, 3, 5)) == pytest.approx(1 - 6 * 4 / (5 * 24))


def test_spearman_gives_ties_their_average_rank() -> None:
    ranks_a, ranks_b = np.array([1.5, 1.5, 3, 4]), np.array([1, 2.5, 2.5, 4])
    assert spearman((5, 5, 6, 7), (0, 1, 1, 9)) == pytest.approx(np.corrcoef(ranks_a, ranks_b)[0, 1])


def test_spearman_is_none_where_there_is_no_order() -> None:
    assert spearman((1.0,), (2.0,)) is None
    assert spearman((1, 1, 1), (1, 2, 3)) is None
    with pytest.raises(ValueError, match="are no pairs"):
        spearman((1, 2), (1,))


def test_robust_scores_ignore_an_outlier() -> None:
    clean = robust_standardise((1.0, 2.0, 3.0, 4.0, 5.0))
    spoiled = robust_standardise((1.0, 2.0, 3.0, 4.0, 5e9))
    assert clean[:4] == pytest.approx(spoiled[:4])
    assert clean[3] == pytest.approx(1 / 1.482602218505602)


def test_robust_scores_estimate_sigma_on_normal_samples() -> None:
    rng = np.random.default_rng(0)
    assert robust_standardise(rng.normal(5, 3, size=20_000)).std() == pytest.approx(1.0, abs=0.02)


def test_robust_scores_survive_equal_values() -> None:
    assert robust_standardise((2.0, 2.0, 2.0)).tolist() == [0.0, 0.0, 0.0]
    mostly = robust_standardise((2.0, 2.0, 2.0, 2.0, 7.0))
    assert mostly[:4].tolist() == [0.0] * 4
    assert mostly[4] == pytest.approx(5 / (1.2533141373155 * 1))
    assert robust_standardise(()).size == 0


def test_a_rank_correlation_has_the_interval_of_bonett_and_wright() -> None:
    ours = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    theirs = [2.0, 1.0, 4.0, 3.0, 7.0, 8.0, 6.0, 5.0, 10.0, 9.0]
    found = rank_correlation(ours, theirs)
    assert found is not None
    assert (found.rho, found.num) == (pytest.approx(1 - 6 * 24 / 990), 10)
    z, se = math.atanh(found.rho), math.sqrt((1 + found.rho**2 / 2) / 7)
    assert (found.low, found.high) == (
        pytest.approx(math.tanh(z - 1.959963985 * se)),
        pytest.approx(math.tanh(z + 1.959963985 * se)),
    )
    wider = rank_correlation(ours, theirs, confidence=0.99)
    assert wider is not None
    assert wider.low is not None
    assert wider.low < (found.low or 0.0)


def test_orders_that_agree_throughout_are_no_proof_while_they_are_few() -> None:
    few, many = (rank_correlation(range(num), range(num)) for num in (4, 30))
    assert few is not None
    assert many is not None
    assert (few.rho, few.high) == (1.0, 1.0)
    assert few.low is not None
    assert few.low < 0
    assert many.low is not None
    assert many.low > 0.98
    opposite = rank_correlation(range(4), [3, 2, 1, 0])
    assert opposite is not None
    assert (opposite.low, opposite.high) == (-1.0, pytest.approx(-few.low))


def test_three_pairs_have_no_interval_and_a_constant_side_no_correlation() -> None:
    three = rank_correlation([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    assert three is not None
    assert (three.rho, three.low, three.high) == (pytest.approx(0.5), None, None)
    assert rank_correlation([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]) is None


@pytest.mark.parametrize(("rho", "num"), [(0.0, 12), (0.6, 12), (0.6, 40)])
def test_the_interval_of_a_rank_correlation_covers_it_about_as_often_as_it_says(rho: float, num: int) -> None:
    truth = 6 / math.pi * math.asin(rho / 2)  # Spearman's rho of a bivariate normal
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        x = rng.normal(size=num)
        y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=num)
        found = rank_correlation(x, y)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 400 <= 0.99


# Worked by hand: none of n gives [0, z^2 / (n + z^2)]; the interval of a half is symmetric about it.
@pytest.mark.parametrize(
    ("successes", "num", "low", "high"),
    [(0, 10, 0.0, 0.27753), (1, 20, 0.00888, 0.23613), (5, 10, 0.23659, 0.76341), (10, 10, 0.72247, 1.0)],
)
def test_an_interval_of_a_share_agrees_with_printed_ones(successes: int, num: int, low: float, high: float) -> None:
    assert share_interval(successes, num) == pytest.approx((low, high), abs=2e-5)


def test_the_interval_of_a_share_holds_the_share() -> None:
    for num in range(1, 60):
        for successes in range(num + 1):
            low, high = share_interval(successes, num)
            assert 0 <= low <= successes / num <= high <= 1


@pytest.mark.parametrize(("successes", "num"), [(0, 0), (3, 2), (-1, 5)])
def test_an_impossible_share_is_refused(successes: int, num: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        share_interval(successes, num)

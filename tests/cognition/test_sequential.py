"""The t-test that may be looked at after every observation: closed form, promise, interval and power."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cognition.statistics import (
    Pooled,
    critical_t,
    e_value,
    further_needed,
    power,
    sequential_interval,
    smallest_effect,
)

ALONE = 40.0
LENT = Pooled(std=1.2, dof=2)


def by_quadrature(values: np.ndarray, prior: Pooled | None, tau: float) -> float:
    """The Bayes factor summed over a grid of effects and spreads, straight from the definition."""
    squares = prior.dof * prior.std**2 if prior else 0.0
    num = len(values) + (prior.dof if prior else 0)
    effects = (np.arange(6000) + 0.5) * 12 * tau / 6000
    logs = np.linspace(-7, 7, 1401)
    effect, sigma = np.meshgrid(effects, np.exp(logs), indexing="ij")
    fit = ((values[:, None, None] + effect * sigma) ** 2).sum(axis=0) + squares
    above = np.exp(-num * np.log(sigma) - fit / (2 * sigma**2)) * np.exp(-((effect / tau) ** 2) / 2)
    step = (effects[1] - effects[0]) * 2 / math.sqrt(2 * math.pi) / tau
    null = np.exp(-num * logs - ((values**2).sum() + squares) / (2 * np.exp(2 * logs)))
    return float(above.sum() * step / null.sum())


@pytest.mark.parametrize("prior", [None, LENT])
@pytest.mark.parametrize("mean", [-3.0, -0.5, 0.4])
@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_the_closed_form_is_the_integral(mean: float, prior: Pooled | None, tau: float) -> None:
    values = np.random.default_rng(0).normal(mean, 1.0, 5)
    assert e_value(values, prior=prior, tau=tau) == pytest.approx(by_quadrature(values, prior, tau), rel=0.01)


def test_nothing_seen_is_no_evidence_and_the_unit_does_not_matter() -> None:
    assert e_value([]) == 1.0
    values = [-0.2, -0.31, -0.24]
    assert e_value(values) == pytest.approx(e_value([1000 * value for value in values]))
    assert e_value(values) > e_value([-0.1, -0.31, -0.34]) > e_value([0.2, -0.31, -0.24]) > e_value([0.2, 0.31, 0.24])


def test_values_without_any_spread_have_the_largest_finite_evidence() -> None:
    assert math.isfinite(e_value([-0.1, -0.1, -0.1]))
    assert e_value([-0.1] * 3) == pytest.approx(2 * (1 + 3 * 16), rel=1e-3)
    assert e_value([0.0, 0.0, 0.0]) < 1
    assert math.isfinite(e_value([-1.0] * 500))


@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("dof", [0, 2])
def test_without_an_effect_looking_after_every_seed_finds_something_no_more_often_than_promised(
    spread: float, dof: int
) -> None:
    rng = np.random.default_rng(1)
    num, reached = 4000, {20.0: 0, 40.0: 0}
    for _ in range(num):
        values = rng.normal(0, spread, 10)
        lent = Pooled(std=spread * math.sqrt(rng.chisquare(dof) / dof), dof=dof) if dof else None
        highest = max(e_value(values[:n], prior=lent) for n in range(1, 11))
        for bound in reached:
            reached[bound] += highest >= bound
    for bound, times in reached.items():
        assert times / num <= 1 / bound, "Ville's inequality"
    assert reached[20.0] > 0, "it can find something at all"


def test_a_t_test_after_every_seed_would_break_that_promise() -> None:
    rng = np.random.default_rng(2)
    bounds = {2: 6.314, 3: 2.920, 4: 2.353, 5: 2.132, 6: 2.015, 7: 1.943, 8: 1.895, 9: 1.860, 10: 1.833}  # one-sided 5%
    found = 0
    for _ in range(4000):
        values = rng.normal(0, 1, 10)
        found += any(
            -values[:n].mean() / (values[:n].std(ddof=1) / math.sqrt(n)) > bound for n, bound in bounds.items()
        )
    assert found / 4000 > 0.1


def test_the_interval_covers_the_mean_at_all_looks_at_once() -> None:
    rng = np.random.default_rng(3)
    missed = 0
    for _ in range(2000):
        values = rng.normal(0.7, 2.0, 8)
        intervals = [sequential_interval(values[:n]) for n in range(1, 9)]
        missed += any(one.low is not None and not one.low <= 0.7 <= (one.high or 0) for one in intervals)
    assert 0 < missed / 2000 <= 0.05


@pytest.mark.parametrize("prior", [None, LENT])
def test_an_end_below_zero_and_enough_evidence_are_the_same_thing(prior: Pooled | None) -> None:
    rng = np.random.default_rng(4)
    seen = set()
    for _ in range(300):
        values = rng.normal(rng.choice([-3.0, 0.0]), 1.0, int(rng.integers(2, 8)))
        high = sequential_interval(values, prior=prior).high
        below = high is not None and high < 0
        assert below == (e_value(values, prior=prior) >= ALONE)
        seen.add(below)
    assert seen == {True, False}


def test_so_few_seeds_that_nothing_can_be_refuted_have_no_interval() -> None:
    assert sequential_interval([-0.3, -0.31]).high is None
    assert sequential_interval([-0.3, -0.31], prior=LENT).high is not None
    assert sequential_interval([-0.3]).std is None
    assert math.isinf(critical_t(2, 1, ALONE))
    assert smallest_effect(1.0, 2, ALONE) is None


@pytest.mark.parametrize(("effect", "num", "dof"), [(3.0, 5, 0), (2.0, 8, 0), (6.0, 3, 2), (1.0, 20, 0)])
def test_power_is_as_computed(effect: float, num: int, dof: int) -> None:
    rng, tries, found = np.random.default_rng(5), 4000, 0
    for _ in range(tries):
        lent = Pooled(std=math.sqrt(rng.chisquare(dof) / dof), dof=dof) if dof else None
        found += e_value(rng.normal(-effect, 1.0, num), prior=lent) >= ALONE
    computed = power(effect, 1.0, num, ALONE, prior_dof=dof)
    assert 0.02 < computed < 0.999
    assert abs(found / tries - computed) < 3.5 * math.sqrt(computed * (1 - computed) / tries) + 1e-9


def test_the_smallest_effect_is_found_in_four_of_five_cases() -> None:
    for num, dof in ((5, 0), (3, 2), (8, 0)):
        effect = smallest_effect(0.5, num, ALONE, prior_dof=dof)
        assert effect is not None
        assert power(effect, 0.5, num, ALONE, prior_dof=dof) == pytest.approx(0.8, abs=0.001)
    assert power(0.1, 0.0, 3, ALONE) == 1.0


def test_the_seeds_that_are_needed_are_the_fewest_that_reach_the_bound() -> None:
    values = [-0.2, -0.3, -0.25]
    need = further_needed(values, ALONE)
    assert need is not None
    mean, std = float(np.mean(values)), float(np.std(values, ddof=1))

    def with_more(more: int) -> float:
        num = 3 + more
        pattern = np.array([1.0, -1.0] * (num // 2) + [0.0] * (num % 2))
        return e_value(mean + std * pattern / pattern.std(ddof=1))

    assert with_more(need) >= ALONE > with_more(need - 1)
    assert further_needed(values, e_value(values)) == 0
    assert further_needed([0.1, 0.2], ALONE) is None
    assert further_needed([-0.1], ALONE) is None
    assert further_needed([-1.001, 1.0], ALONE) is None, "over 1,000"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: e_value([1.0, math.nan]), "leave failed observations out"),
        (lambda: e_value([1.0], tau=0.0), "tau is 0.0"),
        (lambda: sequential_interval([]), "give at least one"),
        (lambda: sequential_interval([1.0], confidence=1.0), "confidence 1.0"),
    ],
)
def test_what_is_no_observation_is_refused(call: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        call()  # type: ignore[operator]

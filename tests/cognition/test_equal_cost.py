"""Ways of searching at what they cost."""

from __future__ import annotations

import numpy as np
import pytest

from cognition.statistics import Attempt, at_equal_cost


def attempts(losses: list[float | None], cost: float = 1.0) -> list[Attempt]:
    return [Attempt(cost=cost, loss=loss) for loss in losses]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_all_are_held_to_what_the_cheapest_took() -> None:
    many, few = attempts([float(n) for n in range(10)]), attempts([5.0] * 10, cost=1.0)
    common, found = at_equal_cost({"many": many, "few": few}, bar=5.5, control="few", rng=rng())
    assert common == 5.0
    # The lowest of five drawn from 0..9 without replacement is 5/6 on average.
    assert found["many"].best == pytest.approx(5 / 6, abs=0.25)
    assert (found["many"].num_hits, found["few"].num_hits) == (6, 10)
    assert found["many"].hit_share == 0.6
    assert found["many"].hit_low < 0.6 < found["many"].hit_high
    assert found["few"].best == 5.0
    assert found["many"].difference == pytest.approx(found["many"].best - 5.0)
    assert found["many"].high is not None
    assert found["many"].high < 0
    assert found["few"].difference is None


def test_who_costs_twice_as_much_has_half_as_many() -> None:
    losses: list[float | None] = [float(n) for n in range(10)]
    _, found = at_equal_cost({"a": attempts(losses), "b": attempts(losses, 2.0)}, bar=20.0, control="a", rng=rng())
    assert found["b"].best is not None
    assert found["a"].best is not None
    assert found["a"].best < found["b"].best - 0.5


def test_who_finds_nothing_has_the_bar_and_one_find_among_failures_is_worth_its_chance() -> None:
    groups = {"a": attempts([None] * 10), "b": attempts([1.0] + [None] * 9), "c": attempts([1.1] * 10)}
    _, found = at_equal_cost(groups, bar=2.0, control="c", rng=rng())
    assert (found["a"].best, found["a"].num_hits) == (2.0, 0)
    assert found["b"].best == pytest.approx(1.5, abs=0.1)  # by half of the cost it is found in half of the orders
    assert found["b"].difference == pytest.approx(0.4, abs=0.1)


def test_who_cost_nothing_does_not_set_the_cost() -> None:
    groups = {"a": [Attempt(cost=0.0, loss=None)] * 6, "b": attempts([1.0] * 6)}
    common, found = at_equal_cost(groups, bar=2.0, control=None, rng=rng())
    assert (common, found["a"].best, found["b"].best) == (3.0, 2.0, 1.0)


def test_without_a_bar_the_worst_loss_is_in_hand_and_nothing_is_a_hit() -> None:
    _, found = at_equal_cost({"a": attempts([None, 1.0, 3.0, None])}, bar=None, control=None, rng=rng())
    assert found["a"].num_hits == 0
    assert found["a"].best is not None
    assert 1.0 < found["a"].best < 3.0
    _, found = at_equal_cost({"a": attempts([None, None])}, bar=None, control=None, rng=rng())
    assert found["a"].best is None


def test_few_attempts_have_no_interval_and_none_no_row() -> None:
    common, found = at_equal_cost({"a": attempts([1.0]), "b": []}, bar=2.0, control="b", rng=rng())
    assert (common, set(found)) == (0.5, {"a"})
    assert (found["a"].best, found["a"].best_low, found["a"].difference) == (2.0, None, None)  # half of it buys none
    assert at_equal_cost({}, bar=0.0, control=None, rng=rng()) == (0.0, {})


def test_two_alike_are_rarely_told_apart() -> None:
    """The interval of the difference of two equal searches holds zero in nearly all cases."""
    source, apart = np.random.default_rng(1), 0
    for _ in range(60):
        groups = {name: attempts(list(source.normal(2, 0.1, 20))) for name in "ab"}
        _, found = at_equal_cost(groups, bar=1.9, control="a", rng=source)
        low, high = found["b"].low, found["b"].high
        assert low is not None
        assert high is not None
        apart += not low <= 0 <= high
    assert apart <= 8  # one in twenty, and luck


def test_a_cost_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="group 'a' has a cost that is negative or not finite"):
        at_equal_cost({"a": attempts([1.0], cost=-1.0)}, bar=0.0, control=None, rng=rng())

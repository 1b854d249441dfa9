"""States of candidates and who is given a seed; many at once; noise. The simulation is benchmarks/claims.py's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognition.records import ClaimState
from cognition.statistics import (
    Evidence,
    Pooled,
    Rival,
    alone,
    benjamini_hochberg,
    decide,
    e_benjamini_hochberg,
    held,
    holm,
    paired_noise,
    seeds_needed,
    smallest_by_interval,
    wants_seed,
)

BETTER = (-0.30, -0.29, -0.31, -0.30, -0.30, -0.29)
CLOSE = (-0.30, -0.20, -0.35)
SLIGHT = (-0.30, 0.20, -0.10)
WORSE = (0.30, 0.29, 0.31, 0.30, 0.30)


def evidence(name: str, *rivals: tuple[float, ...], num_failed: int = 0) -> Evidence:
    found = tuple(Rival(baseline_id=f"b{place}", differences=one) for place, one in enumerate(rivals))
    return Evidence(candidate_id=name, rivals=found, num_failed=num_failed)


def states(*everybody: Evidence, num_planned: int = 0) -> dict[str, ClaimState]:
    return {name: one.state for name, one in decide(everybody, num_planned=num_planned).items()}


def test_each_state_has_its_case() -> None:
    found = states(evidence("a", BETTER), evidence("b", SLIGHT), evidence("c", WORSE), evidence("d", (0.1, -0.05)))
    assert found == {
        "a": ClaimState.discovery,
        "b": ClaimState.undecided,
        "c": ClaimState.rejected,
        "d": ClaimState.rejected,
    }
    assert states(evidence("a", BETTER[:4]), num_planned=10_000) == {"a": ClaimState.promising}
    assert states(evidence("a", BETTER, num_failed=1)) == {"a": ClaimState.rejected}


def test_the_baseline_that_is_hardest_to_beat_decides() -> None:
    decision = decide([evidence("a", BETTER, SLIGHT)])["a"]
    assert decision.state is ClaimState.undecided
    assert decision.hardest.baseline_id == "b1"
    assert decision.hardest.e_value == min(one.e_value for one in decision.against)
    assert states(evidence("a", BETTER, WORSE)) == {"a": ClaimState.rejected}


def test_a_discovery_has_its_interval_below_zero_whatever_the_number_of_others() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        everybody = [evidence(str(n), tuple(rng.normal(-rng.choice([0, 3]), 1, 5))) for n in range(12)]
        for decision in decide(everybody).values():
            if decision.state is ClaimState.discovery:
                assert decision.hardest.difference.high is not None
                assert decision.hardest.difference.high < 0


def test_what_is_open_says_what_it_would_take_and_what_is_settled_does_not() -> None:
    found = decide([evidence("a", CLOSE), evidence("b", WORSE), evidence("c", BETTER)])
    assert found["a"].bound == max(alone(), 3 / (0.05 * 2)), "it would be the second of three"
    assert found["b"].bound is found["c"].bound is None
    need = seeds_needed(evidence("a", CLOSE), 40.0)
    assert need is not None
    assert 0 < need < (seeds_needed(evidence("a", CLOSE), 4000.0) or 0)


def test_a_seed_is_worth_it_where_it_may_still_settle_something() -> None:
    promising = evidence("a", CLOSE)
    need = seeds_needed(promising, 3 / 0.05)
    assert need == 2
    assert wants_seed(promising, num_places=3, num_left=2)
    assert not wants_seed(promising, num_places=300, num_left=1), "one is too few, however well it goes"
    assert wants_seed(promising, num_places=300, num_left=5)
    assert not wants_seed(promising, num_places=3, num_left=0)
    assert not wants_seed(evidence("a", BETTER), num_places=3, num_left=4), "settled"
    assert not wants_seed(evidence("a", SLIGHT), num_places=30, num_left=1), "too far"
    assert not wants_seed(evidence("a", CLOSE, num_failed=1), num_places=3, num_left=4)
    assert not wants_seed(evidence("a", CLOSE, WORSE), num_places=3, num_left=4)


@given(st.lists(st.floats(0, 1e6), max_size=12), st.floats(0.01, 0.5), st.integers(0, 5))
def test_e_bh_finds_the_largest_set_whose_members_all_reach_its_bound(
    e_values: list[float], rate: float, more: int
) -> None:
    num = len(e_values) + more
    found = e_benjamini_hochberg(e_values, rate, num_tested=num)
    assert all(e_values[place] >= num / (rate * len(found)) for place in found)
    for size in range(len(found) + 1, len(e_values) + 1):
        assert sum(value >= num / (rate * size) for value in e_values) < size


def test_holm_and_benjamini_hochberg_find_what_their_papers_say() -> None:
    # Benjamini and Hochberg 1995, section 3.2: of 15 p-values Bonferroni's family finds 3, theirs 4.
    p_values = [
        *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459),
        *(0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
    ]
    assert benjamini_hochberg(p_values, 0.05) == {0, 1, 2, 3}
    assert holm(p_values, 0.05) == {0, 1, 2}
    assert holm(p_values, 0.05, num_tested=1000) == frozenset()
    with pytest.raises(ValueError, match="count all of them"):
        holm(p_values, 0.05, num_tested=3)
    with pytest.raises(ValueError, match="rate is 1"):
        e_benjamini_hochberg([1.0], 1.0)


def test_paired_noise_is_what_seeds_leave_when_their_common_part_is_taken_away() -> None:
    rng = np.random.default_rng(1)
    common = rng.normal(0, 5.0, 4)
    tables = [rng.normal(0, 0.1, (3, 4)) + common + np.array([[1.0], [2.0], [3.0]]) for _ in range(500)]
    found = [paired_noise(table) for table in tables]
    assert {one.dof for one in found if one} == {6}
    assert math.sqrt(np.mean([one.std**2 for one in found if one])) == pytest.approx(0.1 * math.sqrt(2), rel=0.05)
    assert paired_noise([[1.0, 2.0]]) is paired_noise([[1.0], [2.0]]) is None
    with pytest.raises(ValueError, match="give each mixer all the seeds"):
        paired_noise([[1.0, 2.0], [1.0]])


def test_the_smallest_difference_of_a_fixed_interval_is_shown_in_four_of_five_cases() -> None:
    effect = smallest_by_interval(Pooled(std=1.0, dof=10_000), 4)
    assert effect == pytest.approx((1.959964 + 0.841621) / 2, rel=1e-3)


def test_held_names_the_hardest_baseline_first() -> None:
    order = [one.baseline_id for one in held(evidence("a", BETTER, WORSE, SLIGHT))]
    assert order == ["b1", "b2", "b0"]

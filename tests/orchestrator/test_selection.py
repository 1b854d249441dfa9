from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from agents.brief import Member
from cognition.records import Candidate, Verdict
from orchestrator.selection import RULES, SelectionSettings, parent_weights, ranked, rule_of


def member(number: int, fitness: float | None, num_children: int = 0) -> Member:
    identity = f"c{number:03}"
    candidate = Candidate(
        candidate_id=identity, number=number, arm="grammar", slot="token_mixer", name=identity, motivation="", source=""
    )
    verdict = Verdict(candidate_id=identity, number=number, stage="explore", fitness=fitness)
    return Member(candidate=candidate, verdict=verdict, num_children=num_children)


def numbers(members: tuple[Member, ...]) -> list[int]:
    return [m.candidate.number for m in members]


POPULATION = [member(n, n / 100) for n in range(100)]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_picks_depend_on_numbers_not_on_arrival(rule: str) -> None:
    selector = rule_of(SelectionSettings(rule=rule))
    shuffled = [POPULATION[i] for i in np.random.default_rng(5).permutation(len(POPULATION))]
    one = selector.pick(POPULATION, np.random.default_rng(1), 2)
    assert one == selector.pick(shuffled, np.random.default_rng(1), 2)
    assert len(one.parents) == 2
    assert len(one.references) == 4
    assert not set(numbers(one.parents)) & set(numbers(one.references))


@pytest.mark.parametrize("rule", sorted(RULES))
def test_members_without_fitness_are_never_picked_and_few_are_no_error(rule: str) -> None:
    selector = rule_of(SelectionSettings(rule=rule))
    population = [member(0, None), member(1, 0.3), member(2, None), Member(candidate=member(3, None).candidate)]
    for seed in range(10):
        selection = selector.pick(population, np.random.default_rng(seed), 2)
        assert numbers(selection.parents) == [1]
        assert selection.references == ()
    empty = selector.pick([member(0, None)], np.random.default_rng(0), 2)
    assert (empty.parents, empty.references) == ((), ())
    assert selector.pick([], np.random.default_rng(0), 1).parents == ()


def test_two_tiers_take_parents_from_the_best_ten_and_references_from_ranks_11_to_50() -> None:
    selector = rule_of(SelectionSettings(rule="two_tier"))
    parents: Counter[int] = Counter()
    for seed in range(400):
        selection = selector.pick(POPULATION, np.random.default_rng(seed), 1)
        parents.update(numbers(selection.parents))
        assert all(50 <= n < 90 for n in numbers(selection.references))
    assert set(parents) == set(range(90, 100))
    assert min(parents.values()) > 15


def test_the_pool_of_two_tiers_waits_for_its_refresh() -> None:
    selector = rule_of(SelectionSettings(rule="two_tier", refresh_every=50))
    for seed in range(50):
        assert selector.pick(POPULATION[:99], np.random.default_rng(seed), 1).parents[0].candidate.number < 50
    assert selector.pick(POPULATION, np.random.default_rng(0), 1).parents[0].candidate.number >= 90
    assert selector.pick(POPULATION[:7], np.random.default_rng(0), 1).parents


def test_good_members_with_few_children_weigh_most() -> None:
    weights = parent_weights([member(0, 0.5), member(1, 0.9), member(2, 0.9, num_children=3), member(3, 0.1)])
    assert weights[1] > weights[0] > weights[3]
    assert weights[2] == pytest.approx(weights[1] / 4)
    assert parent_weights([member(0, 0.5), member(1, 0.5)]) == pytest.approx([0.5, 0.5])


def test_an_outlier_does_not_take_all_the_weight() -> None:
    weights = parent_weights([*(member(n, 0.5 + n / 1000) for n in range(9)), member(9, 1e6)])
    assert weights[-1] / weights.sum() < 0.3


def test_weights_decide_how_often_a_member_is_a_parent() -> None:
    population = [member(0, 0.5), member(1, 0.6), member(2, 0.7, num_children=9)]
    selector = rule_of(SelectionSettings(rule="mad_sigmoid"))
    picks = Counter(
        selector.pick(population, np.random.default_rng(seed), 1).parents[0].candidate.number for seed in range(1500)
    )
    weights = parent_weights(population)
    for number in range(3):
        assert picks[number] / 1500 == pytest.approx(weights[number] / weights.sum(), abs=0.05)


def test_ties_go_to_the_earlier_number() -> None:
    assert numbers(tuple(ranked([member(2, 0.5), member(1, 0.5), member(0, 0.1)]))) == [1, 2, 0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "best"}, "selection.rule is 'best'; choose one of mad_sigmoid, two_tier, uniform"),
        ({"num_references": -1}, "num_references is -1"),
        ({"num_best": 0}, "num_best is 0"),
        ({"pool_size": 5}, "pool_size is 5"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelectionSettings(**fields)  # type: ignore[arg-type]

"""Who climbs."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.brief import Member
from orchestrator.promotion import Entrant, best_baselines, earned
from orchestrator.stages import StageSettings
from tests.cognition.factories import make_candidate, make_verdict


def member(number: int, *, arm: str = "grammar", fitness: float | None = 0.5, loss: float | None = 2.5) -> Member:
    candidate = make_candidate(number, arm=arm)
    return Member(candidate=candidate, verdict=make_verdict(candidate, fitness, loss=loss))


def test_the_baseline_to_beat_is_the_one_with_the_lowest_loss() -> None:
    members = [
        member(0, arm="baseline", loss=2.6),
        member(1, arm="baseline", loss=2.4, fitness=0.1),
        member(2, arm="baseline", loss=2.5, fitness=0.9),
        member(3, loss=1.0),
    ]
    assert best_baselines(members) == [members[1], members[2], members[0]]


def test_equal_baselines_go_to_the_earlier_number_in_any_order() -> None:
    one, other = member(1, arm="baseline", loss=2.4), member(2, arm="baseline", loss=2.4)
    assert best_baselines([one, other]) == best_baselines([other, one]) == [one, other]


def test_without_a_trained_baseline_there_is_none_to_beat() -> None:
    untrained = Member(candidate=make_candidate(1, arm="baseline"))
    assert best_baselines([member(0, arm="baseline", fitness=None, loss=None), untrained, member(3)]) == []
    assert best_baselines([]) == []


def entrant(number: int, score: float | None = 0.5, *, ended: bool = True) -> Entrant:
    return Entrant(number=number, candidate_id=f"c{number}", ended=ended, score=score)


def climbing(
    scores: Sequence[float | str | None],
    best: int = 2,
    after: float = 0.5,
    *,
    planned: int | None = None,
    complete: bool = True,
    in_order: bool = False,
) -> Sequence[str]:
    """Who climbs of those with these scores, by number; "open" has not ended."""
    entrants = [
        entrant(number, ended=False) if isinstance(score, str) else entrant(number, score)
        for number, score in enumerate(scores)
    ]
    rule = StageSettings(pool="verify", best=best, after=after)
    num_planned = len(scores) if planned is None else planned
    return earned(entrants, rule, num_planned=num_planned, complete=complete, in_order=in_order)


def test_when_all_have_ended_the_best_climb_earlier_numbers_first_among_equals() -> None:
    assert climbing([0.7, 0.7, 0.8, 0.2, 0.7], best=3) == ("c2", "c0", "c1")
    assert climbing([0.7, 0.7], best=0) == ()
    assert climbing([], best=3) == ()


def test_who_has_no_score_never_climbs() -> None:
    assert climbing([None, 0.0, None], best=5) == ("c1",)


@pytest.mark.parametrize("in_order", [False, True])
def test_nobody_climbs_before_enough_have_ended_then_the_best_so_far_do(in_order: bool) -> None:
    three = [0.1, 0.9, 0.5, "open", "open", "open", "open", "open"]
    four = [0.1, 0.9, 0.5, None, "open", "open", "open", "open"]
    assert climbing(three, in_order=in_order) == ()
    assert climbing(four, in_order=in_order) == ("c1", "c2")
    assert climbing(four, after=0.6, in_order=in_order) == ()


def test_a_share_of_those_expected_climbs_one_at_least() -> None:
    rule = StageSettings(pool="verify", share=0.1)
    assert [rule.places(num) for num in (0, 1, 10, 24, 26)] == [0, 1, 1, 2, 3]


def test_more_may_be_expected_than_have_come() -> None:
    assert climbing([0.3, 0.2], after=0.8, planned=4, complete=False) == ()
    assert climbing([0.3, 0.2], best=1, after=0.5, planned=4, complete=False) == ("c0",)
    assert climbing([0.3, 0.2], best=1, after=1.0, planned=4, complete=True) == ("c0",), "nobody else comes"


@pytest.mark.parametrize("in_order", [False, True])
def test_a_climb_is_not_taken_back_when_fewer_came_than_were_expected(in_order: bool) -> None:
    rule = StageSettings(pool="verify", share=0.34, after=0.5)
    three = [entrant(number, number / 10) for number in range(3)]
    for complete in (False, True):
        assert earned(three, rule, num_planned=6, complete=complete, in_order=in_order) == ("c2", "c1")
    assert earned(three, rule, num_planned=3, complete=True, in_order=False) == ("c2",)


def test_in_order_a_gap_hides_who_comes_after_it() -> None:
    scores = [0.1, 0.2, "open", 0.9]
    assert climbing(scores, best=1, in_order=False) == ("c3",)
    assert climbing(scores, best=1, in_order=True) == ("c1",)


SCORES = st.lists(st.one_of(st.none(), st.integers(0, 9).map(float)), max_size=12)
RULES = st.one_of(
    st.builds(StageSettings, pool=st.just("verify"), best=st.integers(0, 4), after=st.floats(0.1, 1.0)),
    st.builds(StageSettings, pool=st.just("verify"), share=st.floats(0.05, 1.0), after=st.floats(0.1, 1.0)),
)


@given(SCORES, RULES, st.randoms(use_true_random=False), st.booleans(), st.integers(0, 14))
def test_in_the_end_the_best_have_climbed_whatever_came_when(
    scores: list[float | None], rule: StageSettings, order: random.Random, in_order: bool, planned: int
) -> None:
    entrants = [entrant(number, score) for number, score in enumerate(scores)]
    climbed = set[str]()
    for seen in completions(entrants, order):
        climbed |= set(earned(seen, rule, num_planned=planned, complete=True, in_order=in_order))
    ranked = sorted((e for e in entrants if e.score is not None), key=lambda e: (-(e.score or 0.0), e.number))
    assert {one.candidate_id for one in ranked[: rule.places(len(entrants))]} <= climbed


@given(SCORES, RULES, st.randoms(use_true_random=False), st.integers(0, 14))
def test_in_order_the_climbers_do_not_depend_on_who_came_and_ended_first(
    scores: list[float | None], rule: StageSettings, order: random.Random, planned: int
) -> None:
    entrants = [entrant(number, score) for number, score in enumerate(scores)]
    at_once = earned(entrants, rule, num_planned=planned, complete=True, in_order=True)
    so_far: Sequence[str] = ()
    for seen in completions(entrants, order):
        ended = max(position for position, one in enumerate(seen, start=1) if one.ended)
        come = seen[: order.randint(ended, len(seen))]
        complete = len(come) == len(entrants) and order.random() < 0.5  # it may be known only later
        now = earned(come, rule, num_planned=planned, complete=complete, in_order=True)
        assert now[: len(so_far)] == so_far, "nobody is taken back"
        so_far = now
    assert at_once[: len(so_far)] == so_far


def completions(entrants: Sequence[Entrant], order: random.Random) -> Iterator[Sequence[Entrant]]:
    """All as they are when one more has ended, in any order."""
    ended = set[int]()
    for number in order.sample(range(len(entrants)), len(entrants)):
        ended.add(number)
        yield [dataclasses.replace(one, ended=one.number in ended) for one in entrants]

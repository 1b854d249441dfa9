"""Who climbs, and what is claimed afterwards."""

from __future__ import annotations

from statistics import fmean, stdev

import pytest

from agents.brief import Member
from cognition.records import Trial
from orchestrator.promotion import best_baseline, claims_of, climbers
from tests.cognition.factories import make_candidate, make_trial, make_verdict


def member(number: int, *, arm: str = "grammar", fitness: float | None = 0.5, loss: float | None = 2.5) -> Member:
    candidate = make_candidate(number, arm=arm)
    return Member(candidate=candidate, verdict=make_verdict(candidate, fitness, loss=loss))


def verified(of: Member, losses: dict[int, float | None]) -> list[Trial]:
    return [make_trial(of.candidate, loss=loss, seed=seed, stage="verify") for seed, loss in losses.items()]


BASELINE = member(0, arm="baseline")
CANDIDATE = member(7, loss=2.25)


def test_the_baseline_to_beat_is_the_one_with_the_lowest_loss() -> None:
    members = [
        member(0, arm="baseline", loss=2.6),
        member(1, arm="baseline", loss=2.4, fitness=0.1),
        member(2, arm="baseline", loss=2.5, fitness=0.9),
        member(3, loss=1.0),
    ]
    assert best_baseline(members) == members[1]


def test_equal_baselines_go_to_the_earlier_number_in_any_order() -> None:
    one, other = member(1, arm="baseline", loss=2.4), member(2, arm="baseline", loss=2.4)
    assert best_baseline([one, other]) == best_baseline([other, one]) == one


def test_without_a_trained_baseline_there_is_none_to_beat() -> None:
    untrained = Member(candidate=make_candidate(1, arm="baseline"))
    assert best_baseline([member(0, arm="baseline", fitness=None, loss=None), untrained, member(3)]) is None
    assert best_baseline([]) is None


def test_the_fittest_candidates_climb_earlier_ones_first_among_equals() -> None:
    members = [member(9, fitness=0.7), member(5, fitness=0.7), member(6, fitness=0.8), member(4, fitness=0.2)]
    assert [m.candidate.number for m in climbers(members, 3)] == [6, 5, 9]
    assert climbers(members, 0) == []


def test_baselines_and_those_without_fitness_never_climb() -> None:
    unjudged = Member(candidate=make_candidate(3))
    members = [member(0, arm="baseline", fitness=0.99), member(1, fitness=None), unjudged, member(2, fitness=0.0)]
    assert [m.candidate.number for m in climbers(members, 5)] == [2]


def test_a_claim_compares_on_the_seeds_that_both_finished() -> None:
    ours = verified(CANDIDATE, {101: 2.0, 102: 2.1, 103: None, 104: 9.0, 105: 2.3})
    theirs = verified(BASELINE, {105: 2.6, 103: 1.0, 101: 2.1, 102: 2.3, 106: 0.5})
    (claim,) = claims_of(CANDIDATE, ours, BASELINE, theirs, now=12.0)
    assert claim.num_seeds == 3
    assert claim.mean_loss == pytest.approx(fmean([2.0, 2.1, 2.3]))
    assert claim.std_loss == pytest.approx(stdev([2.0, 2.1, 2.3]))
    assert claim.baseline_mean_loss == pytest.approx(fmean([2.1, 2.3, 2.6]))
    assert claim.baseline_std_loss == pytest.approx(stdev([2.1, 2.3, 2.6]))
    assert claim.difference == pytest.approx(-0.2)
    margin = 4.302652730 * 0.1 / 3**0.5  # t(0.975, 2 degrees) on the differences -0.1, -0.2, -0.3
    assert (claim.low, claim.high) == (pytest.approx(-0.2 - margin), pytest.approx(-0.2 + margin))
    assert (claim.candidate_id, claim.baseline_id) == (
        CANDIDATE.candidate.candidate_id,
        BASELINE.candidate.candidate_id,
    )
    assert (claim.stage, claim.exploration_loss, claim.created_at) == ("verify", 2.25, 12.0)


def test_one_common_seed_gives_a_difference_without_an_interval() -> None:
    (claim,) = claims_of(
        CANDIDATE, verified(CANDIDATE, {101: 2.0, 102: None}), BASELINE, verified(BASELINE, {101: 2.1, 102: 2.2})
    )
    assert claim.num_seeds == 1
    assert claim.difference == pytest.approx(-0.1)
    assert (claim.low, claim.high, claim.std_loss, claim.baseline_std_loss) == (None, None, None, None)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [({101: 2.0}, {102: 2.1}), ({101: None}, {101: 2.1}), ({}, {101: 2.1}), ({101: 2.0}, {})],
)
def test_without_a_common_seed_nothing_is_claimed(
    ours: dict[int, float | None], theirs: dict[int, float | None]
) -> None:
    assert claims_of(CANDIDATE, verified(CANDIDATE, ours), BASELINE, verified(BASELINE, theirs)) == ()

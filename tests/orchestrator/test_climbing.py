"""How far everybody has climbed, read from rows: three stages, two baselines, candidates from number 2 on."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest

from cognition.records import Candidate, Event, Record, Report, Trial, Verdict
from orchestrator.climbing import Climb, Climbing
from orchestrator.config import Settings, compose, settings_from
from orchestrator.population import CLIMBED, EXPLAINED, Population
from tests.cognition.factories import make_candidate, make_report, make_trial, make_verdict

SEEDS = {"sift": (11, 12), "verify": (101, 102)}
BASELINES = [make_candidate(number, arm="baseline") for number in (0, 1)]
EVERY = range(2, 8)


def settings(*overrides: str, scale: str = "tiny_ladder") -> Settings:
    few = ("campaign.founders=[delta_net,linear_attention]", f"budget.candidates={len(EVERY)}")
    return settings_from(compose(["+campaign=linear_attn", f"scale={scale}", *few, *overrides]))


TWO_THEN_ONE = ("+stages.sift.best=2", "+stages.sift.after=0.5", "stages.verify.best=1")


def explored(candidate: Candidate, fitness: float | None, loss: float = 2.5) -> list[Record]:
    explained = Event(event_id=f"e{candidate.number}", kind=EXPLAINED, subject=candidate.candidate_id)
    trial = make_trial(candidate, loss=None if fitness is None else loss)
    return [
        candidate,
        make_report(candidate),
        trial,
        make_verdict(candidate, fitness, loss=None if fitness is None else loss),
        explained,
    ]


def trained(number: int, stage: str, *losses: float | None) -> list[Trial]:
    candidate = BASELINES[number] if number < 2 else make_candidate(number)
    return [make_trial(candidate, stage=stage, seed=seed, loss=x) for seed, x in zip(SEEDS[stage], losses, strict=True)]


FOUNDERS = [*explored(BASELINES[0], 0.5, 2.6), *explored(BASELINES[1], 0.4, 2.5)]  # 1 is the better one by its loss


def climbing(*rows: Record | Sequence[Record], config: Settings | None = None) -> Climbing:
    flat = itertools.chain.from_iterable([row] if isinstance(row, Record) else row for row in rows)
    return Climbing(config or settings(*TWO_THEN_ONE), Population(flat))


def numbers(climbs: Sequence[Climb]) -> list[tuple[str, int]]:
    known = {one.candidate_id: one.number for one in (*BASELINES, *map(make_candidate, EVERY))}
    return [(climb.stage, known[climb.candidate_id]) for climb in climbs]


def scored(**fitness: float | None) -> list[Record]:
    """Explored candidates, as c2=0.5."""
    return [row for name, value in fitness.items() for row in explored(make_candidate(int(name[1:])), value)]


def test_the_best_baseline_climbs_to_every_stage_as_soon_as_it_is_known() -> None:
    assert numbers(climbing(FOUNDERS).climbs(unclosed=EVERY)) == [("sift", 1), ("verify", 1)]
    assert climbing(FOUNDERS).climbs(unclosed=(1, *EVERY)) == (), "the other might be better"


def test_nobody_climbs_where_there_are_no_places_or_no_candidates() -> None:
    none = settings("+stages.sift.best=0")
    assert climbing(FOUNDERS, scored(c2=0.9), config=none).climbs(unclosed=()) == []
    alone = settings("budget.candidates=0")
    assert climbing(FOUNDERS, config=alone).climbs(unclosed=()) == []
    one_stage = settings("~scale.stages.verify", scale="tiny")
    assert climbing(FOUNDERS, scored(c2=0.9), config=one_stage).climbs(unclosed=()) == []
    assert climbing(FOUNDERS, scored(c2=0.9), config=one_stage).concluded()


def test_half_of_those_expected_are_in_and_the_best_of_them_climb() -> None:
    two = climbing(FOUNDERS, scored(c2=0.3, c3=0.9))
    assert numbers(two.climbs(unclosed=(4, 5, 6, 7))) == [("sift", 1), ("verify", 1)]
    three = climbing(FOUNDERS, scored(c2=0.3, c3=0.9, c5=0.7))
    assert numbers(three.climbs(unclosed=(4, 6, 7))) == [("sift", 1), ("sift", 3), ("sift", 5), ("verify", 1)]


def test_in_deterministic_mode_a_number_that_is_open_holds_up_the_decision_on_later_ones() -> None:
    config = settings(*TWO_THEN_ONE, "deterministic=true")
    gap = climbing(FOUNDERS, scored(c2=0.3, c3=0.9, c5=0.7), config=config)
    assert ("sift", 3) not in numbers(gap.climbs(unclosed=(4, 6, 7)))
    closed = climbing(FOUNDERS, scored(c2=0.3, c3=0.9, c4=None, c5=0.7), config=config)
    assert numbers(closed.climbs(unclosed=(6, 7)))[:4] == [("sift", 1), ("sift", 3), ("sift", 2), ("sift", 5)]


def test_who_was_refused_or_failed_ends_too_and_climbs_nowhere() -> None:
    rows = climbing(FOUNDERS, scored(c2=None, c3=None, c4=None))
    assert numbers(rows.climbs(unclosed=())) == [("sift", 1), ("verify", 1)], "5 to 7 gave nothing at all"


ALL = scored(c2=0.3, c3=0.9, c4=0.8, c5=0.1, c6=0.2, c7=None)


def test_from_a_higher_stage_the_lowest_mean_loss_climbs() -> None:
    half = climbing(FOUNDERS, ALL, trained(3, "sift", 2.0, 2.4), trained(4, "sift", 2.1, None))
    assert numbers(half.climbs(unclosed=()))[3:] == [("verify", 1), ("verify", 3)], "4 has failed on a seed"
    both = climbing(FOUNDERS, ALL, trained(3, "sift", 2.0, 2.4), trained(4, "sift", 2.1, 2.2))
    assert numbers(both.climbs(unclosed=()))[3:] == [("verify", 1), ("verify", 4)]
    waiting = climbing(FOUNDERS, ALL, trained(3, "sift", 2.0, 2.4))
    assert numbers(waiting.climbs(unclosed=()))[3:] == [("verify", 1)], "two are expected, one of them is in"


def test_a_higher_stage_is_not_over_while_somebody_may_still_come_to_it() -> None:
    rows = (FOUNDERS, scored(c2=None, c3=0.9, c4=None), trained(3, "sift", 2.0, 2.0))
    assert ("verify", 3) not in numbers(climbing(*rows).climbs(unclosed=(5, 6, 7))), "two are expected at sift"
    assert ("verify", 3) in numbers(climbing(*rows).climbs(unclosed=())), "nobody else comes"


def test_who_climbed_under_another_decision_stays_there_and_may_go_on() -> None:
    early = Event(event_id="x", kind=CLIMBED, subject=make_candidate(2).candidate_id, detail="sift")
    rows = (FOUNDERS, ALL, early, trained(2, "sift", 1.0, 1.0), trained(3, "sift", 2.0, 2.4))
    rows = (*rows, trained(4, "sift", 2.1, 2.2))
    assert numbers(climbing(*rows).climbs(unclosed=())) == [
        *[("sift", 1), ("sift", 3), ("sift", 4), ("sift", 2)],
        *[("verify", 1), ("verify", 2)],
    ]
    in_order = climbing(*rows, config=settings(*TWO_THEN_ONE, "deterministic=true"))
    assert ("sift", 2) in numbers(in_order.climbs(unclosed=()))
    assert ("verify", 2) not in numbers(in_order.climbs(unclosed=())), "nothing was decided on it in order"


@pytest.mark.parametrize("lost", [Candidate, Report, Verdict])
def test_who_climbed_waits_for_rows_that_were_lost_to_be_made_again(lost: type[Record]) -> None:
    early = Event(event_id="x", kind=CLIMBED, subject=make_candidate(2).candidate_id, detail="sift")
    ours, trials = scored(c2=0.3), [*trained(1, "sift", 2.0, 2.0), *trained(2, "sift", 1.0, 1.0)]
    whole = climbing(FOUNDERS, ours, early, trials)
    assert ("sift", 2) in numbers(whole.climbs(unclosed=range(3, 8)))
    assert len(whole.claims(settings().scale.stage("sift"))) == 1
    left = climbing(FOUNDERS, [row for row in ours if not isinstance(row, lost)], early, trials)
    assert ("sift", 2) not in numbers(left.climbs(unclosed=EVERY))
    assert left.claims(settings().scale.stage("sift")) == []


def finished_rows() -> list[Record]:
    rows: list[Record] = [*FOUNDERS, *ALL]
    rows += trained(1, "sift", 2.3, 2.4) + trained(3, "sift", 2.0, 2.4) + trained(4, "sift", 2.1, 2.2)
    return rows + trained(1, "verify", 2.2, 2.2) + trained(4, "verify", 2.0, 2.1)


def test_claims_are_due_at_every_stage_once_both_sides_have_their_trials() -> None:
    rows = climbing(finished_rows())
    sift, verify = (rows.claims(stage) for stage in settings().scale.stages[1:])
    assert [round(claim.difference, 3) for claim in sift] == [-0.15, -0.2]
    assert [(claim.stage, round(claim.difference, 3)) for claim in verify] == [("verify", -0.15)]
    assert not rows.concluded(), "they are not in the store"
    done = climbing(finished_rows(), sift, verify)
    assert done.claims(settings().scale.stage("sift")) == []
    assert done.concluded()


@pytest.mark.parametrize(("number", "claimed"), [(1, []), (4, [3])])
def test_who_lacks_a_trial_is_not_compared_yet(number: int, claimed: list[int]) -> None:
    lacking = trained(number, "sift", 2.0, 2.0)[0].trial_id
    rows = [row for row in finished_rows() if not (isinstance(row, Trial) and row.trial_id == lacking)]
    claims = climbing(rows).claims(settings().scale.stage("sift"))
    assert [claim.candidate_id for claim in claims] == [make_candidate(one).candidate_id for one in claimed]


@pytest.mark.parametrize("lost", ["sift", "verify"])
def test_a_lost_trial_is_not_concluded_and_claims_wait_for_the_baseline(lost: str) -> None:
    claims = [claim for stage in settings().scale.stages[1:] for claim in climbing(finished_rows()).claims(stage)]
    rows = [
        row
        for row in finished_rows()
        if not (isinstance(row, Trial) and row.stage == lost and row.candidate_id == BASELINES[1].candidate_id)
    ]
    assert not climbing(rows, claims).concluded()
    assert climbing(rows).claims(settings().scale.stage(lost)) == []


def test_ranks_at_neighbouring_stages_are_correlated_baselines_included_once_for_each_number_of_pairs() -> None:
    config = settings("+stages.sift.best=4")
    rows = (FOUNDERS, ALL, trained(1, "sift", 2.5, 2.5), trained(3, "sift", 2.0, 2.0), trained(4, "sift", 2.1, 2.1))
    assert climbing(*rows[:-1], config=config).correlations(config.scale.stage("sift")) == [], "two pairs say nothing"
    losses = {3: 2.1, 4: 2.3}  # at exploration, where the baseline has 2.5
    changed = [
        dataclasses.replace(row, loss=losses[number])
        for number in losses
        for row in ALL
        if isinstance(row, Trial) and row.candidate_id == make_candidate(number).candidate_id
    ]
    (found,) = climbing(*rows, changed, config=config).correlations(config.scale.stage("sift"))
    assert (found.scale, found.lower, found.upper) == ("tiny_ladder", "explore", "sift")
    assert (found.num_pairs, found.rho, found.low) == (3, pytest.approx(1.0), None)
    assert climbing(*rows, changed, found, config=config).correlations(config.scale.stage("sift")) == []
    more = (*rows, changed, found, trained(2, "sift", 1.9, 1.9))
    (fourth,) = climbing(*more, config=config).correlations(config.scale.stage("sift"))
    assert fourth.num_pairs == 4
    assert fourth.low is not None
    failed = (*rows, changed, found, trained(2, "sift", 1.9, None))
    assert climbing(*failed, config=config).correlations(config.scale.stage("sift")) == []

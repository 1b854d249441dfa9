"""What the trials at a stage allow to say, and who is given another seed: three baselines, candidates from 3 on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import pytest

from cognition.records import Claim, ClaimState, Event, Record, Trial
from cognition.statistics import e_value
from orchestrator.climbing import Climb, Climbing
from orchestrator.config import Settings, compose, settings_from
from orchestrator.errors import UsageError
from orchestrator.population import EXPLAINED, Population
from tests.cognition.factories import make_candidate, make_report, make_trial, make_verdict

SEEDS, MORE = (101, 102), (103, 104, 105, 106)
ALL = (*SEEDS, *MORE)
EVERY = range(3, 9)
ALONE = 40.0


def settings(*overrides: str) -> Settings:
    few = ("campaign.founders=[delta_net,linear_attention,retnet]", f"budget.candidates={len(EVERY)}")
    return settings_from(compose(["+campaign=linear_attn", "scale=tiny", *few, *overrides]))


ONE = ("stages.verify.best=2", f"stages.verify.more_seeds={len(MORE)}")
EACH = (*ONE, "stages.verify.baselines=null")


def candidate_id(number: int) -> str:
    return make_candidate(number, arm="baseline" if number < 3 else "grammar").candidate_id


def explored(number: int, fitness: float, loss: float) -> list[Record]:
    one = make_candidate(number, arm="baseline" if number < 3 else "grammar")
    return [
        one,
        make_report(one),
        make_trial(one, loss=loss),
        make_verdict(one, fitness, loss=loss),
        Event(event_id=f"e{number}", kind=EXPLAINED, subject=one.candidate_id),
    ]


# The baselines rank 1, 2, 0 at exploration; 3 and 4 climb.
EXPLORED = [
    *[*explored(0, 0.4, 2.7), *explored(1, 0.5, 2.5), *explored(2, 0.5, 2.6)],
    *[*explored(3, 0.9, 2.2), *explored(4, 0.8, 2.3), *explored(5, 0.1, 2.6)],
]
Losses = Mapping[int, Sequence[float | None]]


def verified(losses: Losses) -> list[Trial]:
    found = []
    for number, values in losses.items():
        one = make_candidate(number, arm="baseline" if number < 3 else "grammar")
        trials = [make_trial(one, stage="verify", seed=s, loss=x) for s, x in zip(ALL, values, strict=False)]
        found += [dataclasses.replace(trial, split="heldout") for trial in trials]
    return found


def climbing(losses: Losses, *rows: Record, config: Settings | None = None) -> Climbing:
    return Climbing(config or settings(*ONE), Population([*EXPLORED, *verified(losses), *rows], "explore"))


def claims(losses: Losses, *rows: Record, config: Settings | None = None) -> dict[int, list[Claim]]:
    """By candidate."""
    config = config or settings(*ONE)
    found: dict[int, list[Claim]] = {}
    for claim in climbing(losses, *rows, config=config).claims(config.scale.stage("verify")):
        number = next(n for n in range(9) if candidate_id(n) == claim.candidate_id)
        found.setdefault(number, []).append(claim)
    return found


def seeds(losses: Losses, *rows: Record, config: Settings | None = None) -> list[tuple[int, int]]:
    """Numbers and seeds that are given beyond the stage's."""
    given = [climb for climb in climbing(losses, *rows, config=config).climbs(unclosed=()) if climb.seed is not None]
    numbers = {candidate_id(number): number for number in range(9)}
    return [(numbers[climb.candidate_id], climb.seed or 0) for climb in given]


CLEAR = (2.0, 2.11, 2.0, 2.1, 2.0, 2.1)  # of a candidate; 0.3 better than these, with a spread of 0.007
RIVAL = (2.3, 2.4, 2.31, 2.4, 2.3, 2.41)
WORSE = (2.5, 2.6, 2.5, 2.62, 2.51, 2.6)


def test_a_claim_is_the_paired_difference_with_what_it_stands_on() -> None:
    (claim,) = claims({1: RIVAL[:2], 3: CLEAR[:2]})[3]
    gaps = [ours - theirs for ours, theirs in zip(CLEAR[:2], RIVAL[:2], strict=True)]
    assert (claim.baseline_id, claim.stage, claim.split, claim.num_seeds) == (
        *(candidate_id(1), "verify", "heldout", 2),
    )
    assert (claim.mean_loss, claim.std_loss) == (pytest.approx(fmean(CLEAR[:2])), pytest.approx(stdev(CLEAR[:2])))
    assert (claim.baseline_mean_loss, claim.baseline_std_loss) == (
        *(pytest.approx(fmean(RIVAL[:2])), pytest.approx(stdev(RIVAL[:2]))),
    )
    assert claim.difference == pytest.approx(fmean(gaps))
    assert claim.e_value == pytest.approx(e_value(gaps))
    assert (claim.low, claim.high) == (None, None), "two seeds alone refute nothing"
    assert claim.state is ClaimState.undecided
    assert (claim.deciding, claim.num_baselines, claim.num_tested, claim.revision) == (True, 1, 2, 1)
    assert (claim.exploration_loss, claim.promised) == (2.2, pytest.approx(-0.3))
    assert claim.gap == pytest.approx(fmean(gaps) + 0.3)


def test_all_looks_at_the_split_are_counted() -> None:
    (claim,) = claims({1: RIVAL[:2], 3: CLEAR[:2], 4: (2.0, None)})[3]
    assert claim.num_looks == 5, "each sealed evaluation on held-out data; none of the failed one, none of exploration"


def test_enough_seeds_make_a_discovery_and_the_interval_lies_below_zero() -> None:
    found = claims({1: RIVAL, 3: CLEAR, 4: WORSE})
    (best,), (worst,) = found[3], found[4]
    assert best.state is ClaimState.discovery
    assert best.high is not None
    assert best.high < 0
    assert best.seeds_needed is None
    assert worst.state is ClaimState.rejected
    assert worst.low is not None
    assert worst.low > 0
    assert worst.reason == "worse than a baseline"


def test_what_would_be_found_alone_is_promising_among_many() -> None:
    losses = {1: RIVAL[:4], 3: CLEAR[:4]}
    (alone,) = claims(losses, config=settings(*ONE, "stages.verify.best=1"))[3]
    (among,) = claims(losses, config=settings("stages.verify.best=6", *ONE[1:], "budget.candidates=2000"))[3]
    (many,) = claims(losses, config=settings("budget.candidates=9000", "stages.verify.best=9000", *ONE[1:]))[3]
    assert alone.e_value == among.e_value == many.e_value >= ALONE
    assert alone.state is ClaimState.discovery
    assert many.state is ClaimState.promising
    assert many.num_tested == 9000
    assert many.seeds_needed is not None
    assert many.seeds_needed > 0
    assert many.slot_hours_needed == pytest.approx(2 * many.seeds_needed * 10.0 / 3600), "the baseline's beside it"
    assert many.gpu_hours_needed == 0.0


def test_every_baseline_that_climbs_has_to_be_beaten_and_the_hardest_decides() -> None:
    losses = {0: (2.9, 3.0), 1: RIVAL[:2], 2: (2.05, 2.2), 3: (2.1, 2.2)}
    found = {claim.baseline_id: claim for claim in claims(losses, config=settings(*EACH))[3]}
    assert set(found) == {candidate_id(0), candidate_id(1), candidate_id(2)}
    assert [one for one, claim in found.items() if claim.deciding] == [candidate_id(2)]
    assert {claim.state for claim in found.values()} == {ClaimState.rejected}
    assert {claim.reason for claim in found.values()} == {"no better than every baseline on its seeds"}
    (against_best,) = claims(losses, config=settings(*ONE))[3]
    assert against_best.state is ClaimState.undecided


def test_other_baselines_lend_the_noise_of_their_own_difference() -> None:
    losses = {0: (2.9, 3.0), 1: RIVAL[:2], 2: (2.5, 2.605), 3: CLEAR[:2]}
    found = {claim.baseline_id: claim for claim in claims(losses, config=settings(*EACH))[3]}
    lent = found[candidate_id(1)]
    assert lent.low is not None, "which two seeds of its own do not give"
    own = (CLEAR[0] - RIVAL[0], CLEAR[1] - RIVAL[1])
    assert lent.e_value > e_value(own)
    few = settings(*ONE, "stages.verify.baselines=2")
    (two, _) = claims({1: RIVAL[:2], 2: (2.5, 2.605), 3: CLEAR[:2]}, config=few)[3]
    assert two.low is None, "two baselines leave one other, which has no difference"


def test_claims_wait_for_all_the_baselines_that_climb() -> None:
    losses = {1: RIVAL[:2], 2: (2.5, 2.6), 0: (2.9,), 3: CLEAR[:2]}
    assert claims(losses, config=settings(*EACH)) == {}
    assert 3 in claims(losses, config=settings(*ONE))


def test_who_failed_on_a_seed_is_rejected_whatever_the_others_say() -> None:
    (claim,) = claims({1: RIVAL, 3: (*CLEAR[:5], None)})[3]
    assert claim.state is ClaimState.rejected
    assert claim.reason == "its training failed on 1 seeds"
    assert claim.num_seeds == 5


def test_a_claim_is_made_anew_when_seeds_or_state_change_and_not_otherwise() -> None:
    two: Losses = {1: RIVAL[:2], 3: CLEAR[:2]}
    (first,) = claims(two)[3]
    assert claims(two, first) == {}
    (second,) = claims({1: RIVAL[:3], 3: CLEAR[:3]}, first)[3]
    assert (second.revision, second.num_seeds) == (2, 3)
    assert claims({1: RIVAL[:3], 3: CLEAR[:3]}, first, second) == {}
    assert claims({1: RIVAL[:3], 3: CLEAR[:3]}, second, first) == {}, "in whatever order they are read"


def test_another_seed_goes_to_whom_it_may_settle_something_and_to_its_baseline() -> None:
    assert seeds({1: RIVAL[:2], 3: CLEAR[:2], 4: WORSE[:2]}) == [(1, 103), (3, 103)]
    assert seeds({1: RIVAL[:2], 3: CLEAR[:2], 4: CLEAR[:2]}) == [(1, 103), (3, 103), (4, 103)]


def test_seeds_are_given_one_by_one_until_it_is_settled_or_they_are_used_up() -> None:
    given, losses = 2, {1: RIVAL[:2], 3: CLEAR[:2]}
    while (1, ALL[given]) in (now := seeds(losses)):
        assert now == [(1, ALL[given]), (3, ALL[given])]
        assert seeds({1: RIVAL[: given + 1], 3: CLEAR[:given]}) == now, "the candidate's own is out"
        given += 1
        losses = {1: RIVAL[:given], 3: CLEAR[:given]}
    (claim,) = claims(losses)[3]
    assert 2 < given < len(ALL), "not all of them were needed"
    assert claim.state is ClaimState.discovery


def test_nobody_is_given_a_seed_that_cannot_settle_anything() -> None:
    slight = {1: RIVAL[:2], 3: (RIVAL[0] - 0.03, RIVAL[1] + 0.02)}
    assert seeds(slight) == [], "a difference so small needs more than are left"
    assert seeds({1: RIVAL[:2], 3: (2.0, None)}) == []
    assert seeds({1: RIVAL[:2], 3: CLEAR[:2]}, config=settings("stages.verify.best=2")) == []


def test_what_was_written_down_stays_and_one_seed_serves_all() -> None:
    begun = Event(event_id="s", kind="seeded", subject=candidate_id(4), detail="verify 103")
    assert seeds({1: RIVAL[:2], 4: WORSE[:2]}, begun) == [(4, 103)]
    config = settings(*EACH)
    every = {0: WORSE[:2], 1: RIVAL[:2], 2: WORSE[:2], 3: CLEAR[:2], 4: CLEAR[:2]}
    assert sorted(set(seeds(every, config=config))) == sorted(seeds(every, config=config)), "each once"


def test_a_campaign_is_not_over_while_a_seed_is_out() -> None:
    losses: Losses = {1: RIVAL[:2], 3: CLEAR[:2], 4: WORSE[:2]}
    found = [claim for each in claims(losses).values() for claim in each]
    assert not climbing(losses, *found).concluded()
    assert climbing(losses, *found, config=settings("stages.verify.best=2")).concluded()
    assert Climb(candidate_id=candidate_id(3), stage="verify", seed=103) in climbing(losses).climbs(unclosed=())


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("stages.verify.baselines=0", "baselines is 0: use 1 or more, or null for all"),
        ("stages.verify.more_seeds=-1", "more_seeds is -1: use 0 (none) or more"),
        ("stages.explore.more_seeds=1", "stages.explore.more_seeds is 1: it is the first stage"),
        ("scale.stages.explore.seeds=[104]", "stages.verify.more_seeds is 4: seeds [104] would follow"),
    ],
)
def test_settings_that_cannot_hold_are_refused(override: str, told: str) -> None:
    with pytest.raises(UsageError, match=told.replace("[", r"\[").replace("(", r"\(").replace(")", r"\)")):
        settings(*ONE, override)

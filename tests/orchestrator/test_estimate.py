"""What a campaign is expected to take."""

from __future__ import annotations

import dataclasses

import pytest

from cognition.records import Event
from orchestrator.config import Settings, compose, settings_from
from orchestrator.estimate import estimate
from orchestrator.population import CLIMBED, Population
from tests.cognition.factories import make_candidate, make_trial

EXPLORE = 10 * 1 + 4 * (1 + 2)  # candidates on one seed; four baselines with two extra seeds
VERIFY = (3 + 1) * 2  # the best three and the best baseline on two seeds


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_from(
        compose(["+campaign=linear_attn", "scale=tiny", "budget.candidates=10", "campaign.noise_seeds=2"])
    )


def verifying(settings: Settings, num_best: int) -> Settings:
    verify = dataclasses.replace(settings.stages["verify"], best=num_best)
    return dataclasses.replace(settings, stages={**settings.stages, "verify": verify})


def trained(num: int, slot_s: float, loss: float | None = 2.5) -> Population:
    return Population(make_trial(make_candidate(n), slot_s=slot_s, loss=loss) for n in range(num))


def test_before_the_start_the_scale_says_what_a_trial_takes(settings: Settings) -> None:
    expected = estimate(settings, num_slots=1)
    assert (expected.trials, expected.usd) == ({"explore": EXPLORE, "verify": VERIFY}, 0.0)
    work = EXPLORE * 0.7 + VERIFY * 0.8  # conf/scale/tiny.yaml
    start = expected.seconds - work
    assert start > 0, "Ray takes a while to start"
    assert estimate(settings, num_slots=4).seconds == pytest.approx(start + work / 4)
    assert estimate(settings, num_slots=4, population=Population()) == estimate(settings, num_slots=4)


def test_a_running_campaign_counts_what_is_left_at_its_own_pace(settings: Settings) -> None:
    left = estimate(settings, 2, trained(5, slot_s=3.0))
    assert left.trials["explore"] == EXPLORE
    assert left.seconds == pytest.approx(((EXPLORE - 5) * 3.0 + VERIFY * 0.8) / 2)


def test_failed_trials_are_done_but_say_nothing_of_the_pace(settings: Settings) -> None:
    left = estimate(settings, 1, trained(5, slot_s=500.0, loss=None))
    assert left.seconds == pytest.approx((EXPLORE - 5) * 0.7 + VERIFY * 0.8)


def test_nothing_left_takes_no_time(settings: Settings) -> None:
    verified = [make_trial(make_candidate(n), seed=seed, stage="verify") for n in range(4) for seed in (101, 102)]
    population = Population([*trained(EXPLORE + 5, slot_s=3.0).trials(), *verified])
    assert estimate(settings, 1, population).seconds == 0.0


@pytest.mark.parametrize(("num_best", "num_trials"), [(0, 0), (1, 4), (50, 22)])
def test_verification_takes_the_best_and_their_rival_as_far_as_there_are_candidates(
    settings: Settings, num_best: int, num_trials: int
) -> None:
    assert estimate(verifying(settings, num_best), 1).trials["verify"] == num_trials


def test_every_stage_of_a_ladder_is_counted() -> None:
    settings = settings_from(
        compose(["+campaign=linear_attn", "scale=ladder", "budget.candidates=40", "campaign.noise_seeds=1"])
    )
    founders, (m20, m60, m340) = 4, (10, 3, 2)  # a quarter of 40, 0.34 of those, two
    expected = estimate(settings, num_slots=2)
    assert expected.trials == {
        "m5": 40 + founders * 2,
        "m20": m20 + 1,
        "m60": (m60 + 1) * 2,
        "m340": (m340 + founders) * 3,
    }
    work = sum(expected.trials[stage.name] * stage.expected_s for stage in settings.scale.stages)
    assert expected.seconds == pytest.approx(work / 2, abs=60)


def test_who_climbed_early_beyond_the_places_is_counted(settings: Settings) -> None:
    climbed = [
        Event(event_id=str(n), kind=CLIMBED, subject=make_candidate(n).candidate_id, detail="verify") for n in range(6)
    ]
    assert estimate(settings, 1, Population(climbed)).trials["verify"] == 6 * 2

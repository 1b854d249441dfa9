"""What a campaign is expected to take."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.config import Settings, compose, settings_from
from orchestrator.estimate import estimate
from orchestrator.population import Population
from tests.cognition.factories import make_candidate, make_trial

EXPLORE = 10 * 1 + 4 * (1 + 2)  # candidates on one seed; four baselines with two extra seeds
VERIFY = (3 + 1) * 2  # the best three and the best baseline on two seeds


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_from(
        compose(["+campaign=linear_attn", "scale=tiny", "budget.candidates=10", "campaign.noise_seeds=2"])
    )


def verifying(settings: Settings, num_best: int) -> Settings:
    return dataclasses.replace(settings, campaign=dataclasses.replace(settings.campaign, verify_best=num_best))


def trained(num: int, slot_s: float, stage: str = "explore", loss: float | None = 2.5) -> Population:
    return Population(make_trial(make_candidate(n), slot_s=slot_s, stage=stage, loss=loss) for n in range(num))


def test_before_the_start_the_scale_says_what_a_trial_takes(settings: Settings) -> None:
    expected = estimate(settings, num_slots=1)
    assert (expected.explore_trials, expected.verify_trials, expected.usd) == (EXPLORE, VERIFY, 0.0)
    work = EXPLORE * 0.7 + VERIFY * 0.8  # conf/scale/tiny.yaml
    start = expected.seconds - work
    assert start > 0, "Ray takes a while to start"
    assert estimate(settings, num_slots=4).seconds == pytest.approx(start + work / 4)
    assert estimate(settings, num_slots=4, population=Population()) == estimate(settings, num_slots=4)


def test_a_running_campaign_counts_what_is_left_at_its_own_pace(settings: Settings) -> None:
    left = estimate(settings, 2, trained(5, slot_s=3.0))
    assert left.explore_trials == EXPLORE
    assert left.seconds == pytest.approx(((EXPLORE - 5) * 3.0 + VERIFY * 0.8) / 2)


def test_failed_trials_are_done_but_say_nothing_of_the_pace(settings: Settings) -> None:
    left = estimate(settings, 1, trained(5, slot_s=500.0, loss=None))
    assert left.seconds == pytest.approx((EXPLORE - 5) * 0.7 + VERIFY * 0.8)


def test_nothing_left_takes_no_time(settings: Settings) -> None:
    explored, verified = trained(EXPLORE + 5, slot_s=3.0), trained(VERIFY, slot_s=9.0, stage="verify")
    population = Population([*explored.trials(), *verified.trials()])
    assert estimate(settings, 1, population).seconds == 0.0


@pytest.mark.parametrize(("num_best", "num_trials"), [(0, 0), (1, 4), (50, 22)])
def test_verification_takes_the_best_and_their_rival_as_far_as_there_are_candidates(
    settings: Settings, num_best: int, num_trials: int
) -> None:
    assert estimate(verifying(settings, num_best), 1).verify_trials == num_trials

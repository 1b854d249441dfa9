"""What a campaign is expected to take, before it starts and while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.config import Settings
from orchestrator.population import Population

_START_S = 12.0  # Ray, actors and fork servers, measured on two cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Trials by stage, and the time and money that is left to spend."""

    explore_trials: int
    verify_trials: int
    seconds: float
    usd: float


def estimate(settings: Settings, num_slots: int, population: Population | None = None) -> Estimate:
    """Trials that are left, times what a trial takes: as measured in this campaign, else as conf/scale states it."""
    explore, verify = settings.scale.stage("explore"), settings.scale.stage("verify")
    founders = len(settings.campaign.founders)
    given_up = population.num_refused() if population else 0
    num_explore = (settings.budget.candidates - given_up) * len(explore.seeds) + founders * (
        len(explore.seeds) + settings.campaign.noise_seeds
    )
    best = min(settings.campaign.verify_best, settings.budget.candidates)
    num_verify = (best + 1) * len(verify.seeds) if best else 0
    seconds = 0.0
    for stage, num in ((explore, num_explore), (verify, num_verify)):
        trials = population.trials(stage.name) if population else ()
        measured = [trial.slot_s for trial in trials if trial.succeeded]
        each = sum(measured) / len(measured) if measured else stage.expected_s
        seconds += max(0, num - len(trials)) * each / num_slots
    if population is None or not population.trials():
        seconds += _START_S
    return Estimate(explore_trials=num_explore, verify_trials=num_verify, seconds=seconds, usd=0.0)

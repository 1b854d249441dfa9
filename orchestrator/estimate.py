"""What a campaign is expected to take, before it starts and while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from agents.llm.prices import prices_of
from orchestrator.arms import arm_named
from orchestrator.config import EXPLORE, Settings
from orchestrator.population import Population

_ENOUGH = 8  # exploration trials after which what models cost is measured
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
    usd = _usd(settings, num_explore, population)
    return Estimate(explore_trials=num_explore, verify_trials=num_verify, seconds=seconds, usd=usd)


# Input and output tokens of one answered call, and calls for each exploration: as seen with contracts of 2,000 tokens.
_TYPICAL = {"researcher": (9_000, 3_500), "engineer": (6_000, 3_000), "judge": (4_000, 400), "analyst": (4_000, 600)}
_SUMMARY = (4_000, 400)
_REPAIRS = 0.5  # for each proposal of a model


def _usd(settings: Settings, num_explore: int, population: Population | None) -> float:
    """What models are expected to cost: as measured in this campaign, else typical tokens at their prices."""
    llm, prices = settings.llm, prices_of(settings.llm)
    if not llm.models:
        return 0.0
    done = len(population.trials(EXPLORE)) if population else 0
    left = max(0, num_explore - done)
    if population is not None and done >= _ENOUGH:
        return left * sum(call.usd for call in population.calls) / done
    weights = settings.arms.weights
    written = sum(w for arm, w in weights.items() if arm_named(arm).asks_models) / sum(weights.values())
    calls = {
        "researcher": written,
        "engineer": written * _REPAIRS,
        "summary": written,
        "judge": float(llm.judge_samples) if settings.fitness.opinion_share > 0 else 0.0,
        "analyst": 1.0,
    }
    each = 0.0
    for role, num in calls.items():
        known = llm.role(role)
        total = sum(known.models.values())
        tokens_in, tokens_out = _TYPICAL.get(role, _SUMMARY)
        for name, weight in known.models.items():
            price = prices[llm.models[name].model]
            each += num * (weight / total if total else 0) * (tokens_in * price.input + tokens_out * price.output) / 1e6
    return left * each

"""What a campaign is expected to take, before it starts and while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.llm.prices import prices_of
from orchestrator.arms import arm_named
from orchestrator.config import Settings
from orchestrator.population import Population

_ENOUGH = 8  # exploration trials after which what models cost is measured
_START_S = 12.0  # Ray, actors and fork servers, measured on two cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Trials in all by stage, and the time and money that is left to spend."""

    trials: Mapping[str, int]  # by stage, from the first to the highest
    seconds: float
    usd: float


def estimate(settings: Settings, num_slots: int, population: Population | None = None) -> Estimate:
    """Trials that are left, times what a trial takes: as measured in this campaign, else as conf/scale states it."""
    trials, seconds = _trials(settings, population), 0.0
    for stage in settings.scale.stages:
        done = population.trials(stage.name) if population else ()
        measured = [trial.slot_s for trial in done if trial.succeeded]
        each = sum(measured) / len(measured) if measured else stage.expected_s
        seconds += max(0, trials[stage.name] - len(done)) * each / num_slots
    if population is None or not population.trials():
        seconds += _START_S
    usd = _usd(settings, trials[settings.ladder.first.name], population)
    return Estimate(trials=trials, seconds=seconds, usd=usd)


def _trials(settings: Settings, population: Population | None) -> Mapping[str, int]:
    """Where more have climbed early than there are places, they are counted; those still to come are not."""
    first, founders = settings.ladder.first, len(settings.campaign.founders)
    given_up = population.num_refused() if population else 0
    explored = (settings.budget.candidates - given_up) * len(first.seeds)
    trials = {first.name: explored + founders * (len(first.seeds) + settings.campaign.noise_seeds)}
    num = len(settings.contestants)
    for _, upper in settings.ladder.climbs:
        num = settings.ladder.rule(upper).places(num)
        climbed = len(population.at(upper.name)) if population else 0
        trials[upper.name] = max(num + 1 if num else 0, climbed) * len(upper.seeds)  # with the baseline to beat
    return trials


# Input and output tokens of one answered call, and calls for each exploration: as seen with contracts of 2,000 tokens.
_TYPICAL = {"researcher": (9_000, 3_500), "engineer": (6_000, 3_000), "judge": (4_000, 400), "analyst": (4_000, 600)}
_SUMMARY = (4_000, 400)
_REPAIRS = 0.5  # for each proposal of a model


def _usd(settings: Settings, num_explore: int, population: Population | None) -> float:
    """What models are expected to cost: as measured in this campaign, else typical tokens at their prices."""
    llm, prices = settings.llm, prices_of(settings.llm)
    if not llm.models:
        return 0.0
    done = len(population.trials(settings.ladder.first.name)) if population else 0
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

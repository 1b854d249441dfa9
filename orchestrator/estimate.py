"""What a campaign is expected to take, before it starts and while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.llm.prices import prices_of
from models.scale import CANARY, TEXT, Stage
from orchestrator.arms import arm_named
from orchestrator.charges import share_of
from orchestrator.config import Settings
from orchestrator.population import Population

if TYPE_CHECKING:
    from orchestrator.board import RunningTrial

_ENOUGH = 8  # exploration trials after which what models cost is measured
_TELLING = 0.1  # share of a trial's tokens after which its own pace says when it will end
_START_S = 12.0  # Ray, actors and fork servers, measured on two cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Trials in all by stage, and the time and money that is left to spend."""

    trials: Mapping[str, int]  # by stage, from the first to the highest
    seconds: float
    usd: float
    slot_hours: float
    gpu_hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageWork:
    """The trials of a stage, done ones included, and what each is expected to take."""

    stage: str
    num_trials: int
    expected_s: float
    num_gpus: float = 0.0


def stage_works(settings: Settings, population: Population | None = None) -> tuple[StageWork, ...]:
    """What the whole campaign has to train, as far as that is known by now.

    Where more have climbed early than there are places, they are counted; those still to come are not. Nor are further
    seeds that have not been given yet.
    """
    first, founders = settings.ladder.first, len(settings.campaign.founders)
    given_up = population.tallies.num_refused if population else 0
    explored = (settings.budget.candidates - given_up) * len(first.seeds)
    trials = {first.name: explored + founders * (len(first.seeds) + settings.campaign.noise_seeds)}
    for _, upper in settings.ladder.climbs:
        num = settings.ladder.places(settings.num_contestants)[upper.name]
        climbed = len(population.at(upper.name)) if population else 0
        rivals = settings.ladder.rule(upper).rivals(settings.num_baselines)  # the baselines to beat
        trials[upper.name] = max(num + rivals if num else 0, climbed) * len(upper.seeds)
        trials[upper.name] += len(population.verified.seeded(upper.name)) if population else 0
    return tuple(
        StageWork(
            stage=stage.name,
            num_trials=trials[stage.name],
            expected_s=stage.expected_s,
            num_gpus=share_of(settings, stage.name).num_gpus,
        )
        for stage in settings.scale.stages
    )


def estimate(settings: Settings, num_slots: int, population: Population | None = None) -> Estimate:
    """Trials that are left, times what a trial takes: as measured in this campaign, else as conf/scale states it."""
    works = stage_works(settings, population)
    slot_s = gpu_s = 0.0
    for work in works:
        done = population.tallies.num_trials[work.stage] if population else 0
        each = (population.tallies.mean_slot_s(work.stage) if population else None) or work.expected_s
        left_s = max(0, work.num_trials - done) * each
        slot_s, gpu_s = slot_s + left_s, gpu_s + left_s * work.num_gpus
    started = population is not None and population.tallies.num_trials.total() > 0
    return Estimate(
        trials={work.stage: work.num_trials for work in works},
        seconds=slot_s / num_slots + (0.0 if started else _START_S),
        usd=_usd(settings, works[0].num_trials, population),
        slot_hours=slot_s / 3600,
        gpu_hours=gpu_s / 3600,
    )


def rest_s(trial: RunningTrial, stage: Stage, mean_s: float | None) -> float:
    """What a running trial is expected to take from here: at its own pace, and as others of its stage took.

    Args:
        trial: as the engine sees it: the task it is at and the step of that.
        stage: of the trial.
        mean_s: what finished trials of the stage took; None: not known yet.
    """
    tasks = (CANARY, TEXT, *(probe.name for probe in stage.probes))  # in this order
    work = {task: _tokens(stage, task) for task in tasks}
    before = tasks[: tasks.index(trial.task)] if trial.task in tasks else ()
    done = float(sum(work[task] for task in before))
    if trial.task in tasks:
        done += work[trial.task] * trial.step / stage.plan(trial.task).steps
    share = done / sum(work.values())
    usual_s = mean_s or stage.expected_s
    if share < _TELLING:  # most of what has passed was spent on getting ready
        return (1 - share) * max(usual_s, trial.elapsed_s)
    return max(trial.elapsed_s * (1 - share) / share, usual_s - trial.elapsed_s)


def _tokens(stage: Stage, task: str) -> int:
    plan = stage.plan(task)
    return plan.steps * plan.batch_size * plan.length


# Input and output tokens of one answered call, and calls for each exploration: as seen with contracts of 2,000 tokens.
_TYPICAL = {"researcher": (9_000, 3_500), "engineer": (6_000, 3_000), "judge": (4_000, 400), "analyst": (4_000, 600)}
_SUMMARY = (4_000, 400)
_REPAIRS = 0.5  # for each proposal of a model


def _usd(settings: Settings, num_explore: int, population: Population | None) -> float:
    """What models are expected to cost: as measured in this campaign, else typical tokens at their prices."""
    llm, prices = settings.llm, prices_of(settings.llm)
    if not llm.models:
        return 0.0
    done = population.tallies.num_trials[settings.ladder.first.name] if population else 0
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

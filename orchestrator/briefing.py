"""What the agents are told, read from the population. Pure functions."""

from __future__ import annotations

import dataclasses
import time
from statistics import fmean

import numpy as np

from agents.analyst import Context
from agents.brief import Brief, Member, Noise
from cognition.insights import subject_for
from cognition.records import Candidate
from cognition.statistics import pooled_std
from models.scale import Stage
from orchestrator.arms import arm_named
from orchestrator.config import Settings
from orchestrator.errors import UsageError
from orchestrator.founders import BASELINE_ARM
from orchestrator.population import Population
from orchestrator.selection import rule_of

_NUM_PARENTS = 2
_FEW_SIBLINGS = 8


def brief_of(settings: Settings, population: Population, number: int, attempt: int, horizon: int | None) -> Brief:
    """The brief of one proposal: its arm, parents and references, what was learned, what was refused before.

    Who reads is told the insights; the grammar what they come to, which does not grow with the campaign.

    The draw of arm and parents depends on seed and number alone, beside the population that may be seen.
    """
    members = population.finished(horizon)
    rng = np.random.default_rng([settings.seed, number])
    arm = _arm(settings, rng)
    picked = rule_of(settings.selection).pick(members, rng, num_parents=_NUM_PARENTS)
    reads = arm_named(arm).reads
    return Brief(
        slot=settings.campaign.slot,
        arm=arm,
        number=number,
        attempt=attempt,
        seed=settings.seed,
        parents=picked.parents,
        references=picked.references,
        insights=population.learned.told(horizon) if reads else (),
        effects=None if reads else population.learned.effects(settings.grammar.learning.prior_sd, horizon),
        refusals=tuple(population.reports(number)),
        now=time.time(),
    )


def reference_of(population: Population, stage: Stage) -> Member:
    """The reference baseline (number 0) with its trials on the stage's seeds: every score is relative to it.

    Raises:
        UsageError: it has no result, so nothing can be scored.
    """
    candidate, report = population.last_attempt(0)
    member = population.member(candidate.candidate_id) if candidate else None
    trials = tuple(t for t in member.trials if t.stage == stage.name and t.seed in stage.seeds) if member else ()
    if candidate is None or member is None or not any(trial.succeeded for trial in trials):
        failed = [trial.detail or (trial.failure or trial.status).value for trial in trials]
        why = next(iter(failed), report.detail or "not trained" if report else "never examined")
        name = candidate.name if candidate else "number 0"
        raise UsageError(f"the reference baseline {name} has no result ({why}): nothing can be scored")
    return dataclasses.replace(member, trials=trials)


def context_of(
    population: Population, candidate: Candidate, stage: Stage, scale: str, num_founders: int, horizon: int | None
) -> Context:
    """What a result is compared with, the noise of the founders over their seeds, and what is known of its changes."""
    parents = [population.member(parent_id) for parent_id in candidate.parent_ids]
    siblings = _siblings(population, candidate, stage, horizon)
    subjects = [subject_for(candidate.slot, scale, stage.name, change) for change in candidate.changes]
    return Context(
        stage=stage.name,
        scale=scale,
        earlier=tuple(population.learned.on(subjects, horizon)),
        noise=noise_of(population, stage, num_founders),
        parents=tuple(on_seeds(parent, stage) for parent in parents if parent is not None),
        siblings=siblings,
        baseline=None if candidate.number == 0 else reference_of(population, stage),
    )


def _siblings(population: Population, candidate: Candidate, stage: Stage, horizon: int | None) -> tuple[Member, ...]:
    """Other children of the first parent, by number: a few to be read, and the best one."""
    if not candidate.parent_ids:
        return ()
    found = [on_seeds(member, stage) for member in population.children(candidate.parent_ids[0], horizon)]
    losses = [
        (fmean(known), place)
        for place, member in enumerate(found)
        if member.candidate != candidate
        and (known := [trial.loss for trial in member.trials if trial.succeeded and trial.loss is not None])
    ]
    kept = set(range(_FEW_SIBLINGS)) | {place for _, place in sorted(losses)[:1]}
    return tuple(member for place, member in enumerate(found) if place in kept)


def noise_of(population: Population, stage: Stage, num_founders: int) -> Noise | None:
    """The spread of the founders' losses over their seeds; None while no founder has two."""
    groups = []
    for number in range(num_founders):
        founder, _ = population.last_attempt(number)
        member = population.member(founder.candidate_id) if founder else None
        trials = member.trials if member else ()
        groups.append(sorted(t.loss for t in trials if t.stage == stage.name and t.loss is not None))
    repeated = [losses for losses in groups if len(losses) > 1]
    spread = pooled_std(repeated) if repeated else None
    return Noise(sigma=spread.std, dof=spread.dof) if spread and spread.std > 0 else None


def best_loss_of(population: Population, stage: Stage, num_founders: int) -> float | None:
    """The best baseline's mean loss on the stage's seeds; None where none has finished."""
    found = (population.last_attempt(number)[0] for number in range(num_founders))
    baselines = [one for one in found if one is not None and one.arm == BASELINE_ARM]
    losses = [population.loss(baseline.candidate_id, stage) for baseline in baselines]
    return min((loss for loss in losses if loss is not None), default=None)


def on_seeds(member: Member, stage: Stage) -> Member:
    """The member with the trials that are paired with a candidate's: the stage's seeds, not the noise seeds."""
    return dataclasses.replace(
        member, trials=tuple(t for t in member.trials if t.stage == stage.name and t.seed in stage.seeds)
    )


def _arm(settings: Settings, rng: np.random.Generator) -> str:
    weights = settings.arms.weights
    arms = sorted(arm for arm, weight in weights.items() if weight > 0)
    shares = np.array([weights[arm] for arm in arms])
    return str(rng.choice(arms, p=shares / shares.sum()))

"""What a brief holds for those who read: language models, people. Pure functions over the population."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from agents.brief import Brief, Curve, Failed, Member
from agents.llm.settings import LlmSettings
from cognition.records import Candidate, Synthesis, trial_id_of
from models.slots import contract_text, slot_named
from orchestrator.arms import Arm
from orchestrator.config import Settings
from orchestrator.population import Population
from orchestrator.selection import scored

_MOST_HISTORY = 40
_MOST_FAILURES = 24
_MOST_ANCESTORS = 6


def for_readers(
    brief: Brief,
    arm: Arm,
    settings: Settings,
    population: Population,
    horizon: int | None,
    curve: Callable[[str], Curve],
    synthesis: Synthesis | None,
) -> Brief:
    """The brief with what the arm may read; `curve` gives a trial's training curve.

    The mode's draw depends on seed and number alone, beside the population that may be seen.
    """
    rng = np.random.default_rng([settings.seed, brief.number, 1])
    members = population.finished(horizon)
    broken = population.broken(horizon)
    mode = mode_of(settings.llm, members, len(settings.campaign.founders), bool(broken), rng)
    parents = brief.parents
    if mode == "simplify" and (heavy := over_built(members)) is not None:
        parents = (heavy, *(parent for parent in parents if parent != heavy))
    first = settings.ladder.first
    curves = {
        parent.candidate.candidate_id: curve(trial_id_of(parent.candidate.candidate_id, first.name, first.seeds[0]))
        for parent in parents
    }
    return dataclasses.replace(
        brief,
        mode=mode,
        parents=parents,
        entry=slot_named(brief.slot).entry,
        contract=contract_text(brief.slot),
        ancestors=ancestors_of(parents[0].candidate, population) if parents else (),
        history=tuple(members[-_MOST_HISTORY:]),
        failures=_lately(population.failures(horizon), brief.number),
        broken=broken[-1] if broken and mode == "repair" else None,
        synthesis=synthesis if arm.analysis else None,
        insights=brief.insights if arm.analysis else (),
        curves=curves,
        horizon=horizon,
    )


def mode_of(
    llm: LlmSettings, members: Sequence[Member], num_founders: int, any_broken: bool, rng: np.random.Generator
) -> str:
    """What a proposal is to do: drawn by weight; on stagnation half of them explore. Modes without a basis fall out."""
    explores = rng.random() < 0.5
    if explores and stagnates(members, num_founders, llm.stagnation):
        return "explore"
    weights = {mode: weight for mode, weight in llm.modes.items() if weight > 0 and (mode != "repair" or any_broken)}
    if not weights:
        return "refine"
    modes = sorted(weights)
    shares = np.array([weights[mode] for mode in modes])
    return str(rng.choice(modes, p=shares / shares.sum()))


def stagnates(members: Sequence[Member], num_founders: int, patience: int) -> bool:
    """Whether the last so many scored candidates brought no better fitness."""
    found = [m.fitness or 0.0 for m in scored(members) if m.candidate.number >= num_founders]
    return len(found) > patience and max(found[:-patience]) >= max(found[-patience:])


def over_built(members: Sequence[Member]) -> Member | None:
    """Of the better half, the one with the most FLOPs per token: what is worth simplifying."""
    ranked = sorted(scored(members), key=lambda member: -(member.fitness or 0.0))
    better = [m for m in ranked[: max(1, len(ranked) // 2)] if m.report is not None and m.report.flops_per_token]
    return max(better, key=lambda m: (m.report.flops_per_token or 0.0) if m.report else 0.0, default=None)


def ancestors_of(candidate: Candidate, population: Population) -> tuple[Member, ...]:
    """First parents, nearest first."""
    found: list[Member] = []
    while candidate.parent_ids and len(found) < _MOST_ANCESTORS:
        member = population.member(candidate.parent_ids[0])
        if member is None or member in found:
            break
        found.append(member)
        candidate = member.candidate
    return tuple(found)


def _lately(failures: Sequence[Failed], number: int) -> tuple[Failed, ...]:
    return tuple(failed for failed in failures if failed.candidate.number != number)[-_MOST_FAILURES:]

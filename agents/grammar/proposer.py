"""The grammar as a proposer: mutation and crossover of the brief's parents, or a fresh random design (the control).

Decisions are pure functions of the brief, so a restarted process proposes the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agents.brief import Brief, Evidence, Member
from agents.grammar.genes import GenomeT
from agents.grammar.learning import LearningSettings, mutation_weights, uniform_weights
from agents.grammar.mutate import crossover, mutate, random_genome, with_gene
from agents.grammar.space import Space
from agents.grammar.spaces import space_of
from cognition.records import Candidate, ReportKind, candidate_id_of

_TRIES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class GrammarSettings:
    """How the grammar moves. Raises ValueError for shares outside [0, 1]."""

    crossover: float = 0.25  # share of proposals that cross two parents, where there are two
    second_change: float = 0.35  # chance that a mutation changes a second field
    learning: LearningSettings = field(default_factory=LearningSettings)

    def __post_init__(self) -> None:
        for name, value in (("crossover", self.crossover), ("second_change", self.second_change)):
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise ValueError(f"grammar.{name} is {value}; give a probability between 0 and 1")


def genome_of(candidate: Candidate) -> Any:
    """The design behind a candidate: its own note, or the nearest to a published one by name; None for foreign source.

    A file that happens to bear such a name is read as that design too: a place to start from, no more.
    """
    space = space_of(candidate.slot)
    if candidate.genome:
        return space.canonical(space.from_json(candidate.genome))
    return space.baselines.get(candidate.name) or space.known.get(candidate.name)


class GrammarProposer:
    """Mutates the brief's first parent that the grammar can read, or crosses the first two."""

    def __init__(self, settings: GrammarSettings | None = None) -> None:
        self.settings = settings or GrammarSettings()

    async def propose(self, brief: Brief) -> Candidate:
        """A new design near its parents. Parents in foreign source are passed over; without any, a baseline stands in.

        Duplicates among the refusals push the proposal further away.
        """
        space, rng = space_of(brief.slot), brief.rng()
        readable = [(member.candidate, genome) for member in brief.parents if (genome := genome_of(member.candidate))]
        if readable:
            parent_ids = tuple(candidate.candidate_id for candidate, _ in readable[:2])
            genomes = [genome for _, genome in readable[:2]]
        else:
            names = sorted(space.baselines)
            parent_ids, genomes = (), [space.baselines[names[int(rng.integers(len(names)))]]]
        known = _known_genomes(brief)
        weights = mutation_weights(space, brief.insights, self.settings.learning, brief.effects)
        extra = _num_duplicates(brief)
        crossed = len(genomes) == 2 and rng.random() < self.settings.crossover
        for _ in range(_TRIES):
            child = genomes[0]
            if crossed:
                child = crossover(space, genomes[0], genomes[1], rng)
            num_changes = extra + (0 if crossed else 1 + int(rng.random() < self.settings.second_change))
            if num_changes:
                child = mutate(space, child, rng, num_changes=num_changes, weights=weights)
            if child not in known:
                break
            extra += 1
        else:
            child = random_genome(space, rng)
        return candidate_from(
            child,
            brief,
            attempt=brief.attempt,
            parent_ids=parent_ids if crossed else parent_ids[:1],
            changes=space.changes_between(genomes[0], child) if parent_ids else (),
        )

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        """The next attempt: a duplicate moves on; a refused design loses what refused it, else one of its changes."""
        space, genome = space_of(candidate.slot), _own_genome(candidate)
        rng = brief.rng(candidate.attempt + 1)
        weights = mutation_weights(space, brief.insights, self.settings.learning, brief.effects)
        parent = next(
            (genome_of(m.candidate) for m in brief.parents if m.candidate.candidate_id in candidate.parent_ids[:1]),
            None,
        )
        if evidence.report.kind is ReportKind.duplicate:
            child = mutate(space, genome, rng, num_changes=2 + candidate.attempt, weights=weights)
        else:
            child = _without_offender(space, genome, parent, evidence.offence, rng)
        known = _known_genomes(brief) | {genome}
        for _ in range(_TRIES):
            if child not in known:
                break
            child = mutate(space, child, rng, weights=weights)
        return _repaired(candidate, child, brief, space.changes_between(parent, child) if parent else ())


class RandomProposer:
    """The control: designs drawn without looking at parents, insights or references."""

    async def propose(self, brief: Brief) -> Candidate:
        """A fresh random design; every duplicate among the refusals asks for the one after it."""
        space, rng = space_of(brief.slot), brief.rng()
        genome = random_genome(space, rng)
        for _ in range(_num_duplicates(brief)):
            genome = random_genome(space, rng)
        return candidate_from(genome, brief, attempt=brief.attempt)

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        """Another random design after a duplicate; otherwise the same design without what offended."""
        space, genome = space_of(candidate.slot), _own_genome(candidate)
        rng = brief.rng(candidate.attempt + 1)
        if evidence.report.kind is ReportKind.duplicate:
            child = random_genome(space, rng)
        else:
            child = _without_offender(space, genome, None, evidence.offence, rng)
        if child == genome:
            child = mutate(space, child, rng, weights=uniform_weights(space))
        return _repaired(candidate, child, brief, ())


def candidate_from(
    genome: Any,
    brief: Brief,
    *,
    attempt: int,
    parent_ids: tuple[str, ...] = (),
    changes: tuple[str, ...] = (),
    repairs: str | None = None,
) -> Candidate:
    """The rendered design, of the brief's slot, as a record of its number and arm."""
    space = space_of(brief.slot)
    source = space.render(genome)
    motivation = space.motivation_of(genome)
    if changes:
        motivation = f"Against its parent: {'; '.join(changes)}. {motivation}"
    return Candidate(
        candidate_id=candidate_id_of(source),
        number=brief.number,
        attempt=attempt,
        arm=brief.arm,
        slot=brief.slot,
        name=space.name_of(genome),
        motivation=motivation,
        source=source,
        parent_ids=parent_ids,
        changes=changes,
        repairs=repairs,
        genome=space.to_json(genome),
        created_at=brief.now,
    )


def _repaired(candidate: Candidate, genome: Any, brief: Brief, changes: tuple[str, ...]) -> Candidate:
    return candidate_from(
        genome,
        brief,
        attempt=candidate.attempt + 1,
        parent_ids=candidate.parent_ids,
        changes=changes,
        repairs=candidate.candidate_id,
    )


def _num_duplicates(brief: Brief) -> int:
    return sum(report.kind is ReportKind.duplicate for report in brief.refusals)


def _own_genome(candidate: Candidate) -> Any:
    genome = genome_of(candidate)
    if genome is None:
        raise ValueError(
            f"candidate {candidate.candidate_id} ({candidate.name!r}, arm {candidate.arm!r}) has no genome; "
            "let the arm that wrote it repair it"
        )
    return genome


def _known_genomes(brief: Brief) -> set[Any]:
    members: tuple[Member, ...] = brief.parents + brief.references
    return {genome for member in members if (genome := genome_of(member.candidate)) is not None}


def _without_offender(
    space: Space[GenomeT], genome: GenomeT, parent: GenomeT | None, offence: str, rng: np.random.Generator
) -> GenomeT:
    """The design with a safer value where the offence suggests one, else with one change taken back."""
    for name, value in space.remedies.get(offence, ()):
        safer = with_gene(space, genome, name, value)
        if safer != genome:
            return safer
    if parent is not None:
        changed = [name for name in space.domains if getattr(parent, name) != getattr(genome, name)]
        for index in rng.permutation(len(changed)):
            reverted = with_gene(space, genome, changed[index], getattr(parent, changed[index]))
            if reverted != genome:
                return reverted
    return mutate(space, genome, rng, num_changes=2)

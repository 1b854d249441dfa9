"""The grammar as a proposer: mutation and crossover of the brief's parents, or a fresh random design (the control).

Decisions are pure functions of the brief, so a restarted process proposes the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from agents.brief import Brief, Evidence, Member
from agents.grammar.canonical import canonical, changes_between
from agents.grammar.describe import motivation_of, name_of
from agents.grammar.genome import DOMAINS, Gene, Genome, OutputGate, OutputNorm, QKNorm, Width, from_json, to_json
from agents.grammar.known import BASELINE_GENOMES
from agents.grammar.learning import LearningSettings, mutation_weights, uniform_weights
from agents.grammar.mutate import crossover, mutate, random_genome, with_gene
from agents.grammar.render import render
from cognition.records import Candidate, ReportKind, candidate_id_of

_TRIES = 32

_LIGHTER: tuple[tuple[str, Gene], ...] = (("long_taps", 0), ("value_width", Width.same), ("key_width", Width.same))
_TAME: tuple[tuple[str, Gene], ...] = (("qk_norm", QKNorm.l2), ("output_norm", OutputNorm.rms))

# What to try first when a property of the gate refused a design, or its training failed: (field, value) in the order
# of trying.
_REMEDIES: Mapping[str, tuple[tuple[str, Gene], ...]] = {
    "contract": (("value_width", Width.same), ("key_width", Width.same), ("output_gate", OutputGate.head)),
    "cost": _LIGHTER,
    "finite": _TAME,
    "nonfinite": _TAME,
    "diverged": _TAME,
    "slow": _LIGHTER,
    "silent": _LIGHTER,
    "timeout": _LIGHTER,
    "memory": _LIGHTER,
    "gradients": (("qk_norm", QKNorm.none), ("output_norm", OutputNorm.rms)),
}


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


def genome_of(candidate: Candidate) -> Genome | None:
    """The design behind a candidate: its own note, or a hand-written baseline's by name; None for foreign source."""
    return canonical(from_json(candidate.genome)) if candidate.genome else BASELINE_GENOMES.get(candidate.name)


class GrammarProposer:
    """Mutates the brief's first parent that the grammar can read, or crosses the first two."""

    def __init__(self, settings: GrammarSettings | None = None) -> None:
        self.settings = settings or GrammarSettings()

    async def propose(self, brief: Brief) -> Candidate:
        """A new design near its parents. Parents in foreign source are passed over; without any, a baseline stands in.

        Duplicates among the refusals push the proposal further away.
        """
        rng = brief.rng()
        readable = [(member.candidate, genome) for member in brief.parents if (genome := genome_of(member.candidate))]
        if readable:
            parent_ids = tuple(candidate.candidate_id for candidate, _ in readable[:2])
            genomes = [genome for _, genome in readable[:2]]
        else:
            names = sorted(BASELINE_GENOMES)
            parent_ids, genomes = (), [BASELINE_GENOMES[names[int(rng.integers(len(names)))]]]
        known = _known_genomes(brief)
        weights = mutation_weights(brief.insights, self.settings.learning)
        extra = _num_duplicates(brief)
        crossed = len(genomes) == 2 and rng.random() < self.settings.crossover
        for _ in range(_TRIES):
            child = genomes[0]
            if crossed:
                child = crossover(genomes[0], genomes[1], rng)
            num_changes = extra + (0 if crossed else 1 + int(rng.random() < self.settings.second_change))
            if num_changes:
                child = mutate(child, rng, num_changes=num_changes, weights=weights)
            if child not in known:
                break
            extra += 1
        else:
            child = random_genome(rng)
        return candidate_from(
            child,
            brief,
            attempt=brief.attempt,
            parent_ids=parent_ids if crossed else parent_ids[:1],
            changes=changes_between(genomes[0], child) if parent_ids else (),
        )

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        """The next attempt: a duplicate moves on; a refused design loses what refused it, else one of its changes."""
        genome = _own_genome(candidate)
        rng = brief.rng(candidate.attempt + 1)
        weights = mutation_weights(brief.insights, self.settings.learning)
        parent = next(
            (genome_of(m.candidate) for m in brief.parents if m.candidate.candidate_id in candidate.parent_ids[:1]),
            None,
        )
        if evidence.report.kind is ReportKind.duplicate:
            child = mutate(genome, rng, num_changes=2 + candidate.attempt, weights=weights)
        else:
            child = _without_offender(genome, parent, evidence.offence, rng)
        known = _known_genomes(brief) | {genome}
        for _ in range(_TRIES):
            if child not in known:
                break
            child = mutate(child, rng, weights=weights)
        return _repaired(candidate, child, brief, changes_between(parent, child) if parent else ())


class RandomProposer:
    """The control: designs drawn without looking at parents, insights or references."""

    async def propose(self, brief: Brief) -> Candidate:
        """A fresh random design; every duplicate among the refusals asks for the one after it."""
        rng = brief.rng()
        genome = random_genome(rng)
        for _ in range(_num_duplicates(brief)):
            genome = random_genome(rng)
        return candidate_from(genome, brief, attempt=brief.attempt)

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        """Another random design after a duplicate; otherwise the same design without what offended."""
        genome = _own_genome(candidate)
        rng = brief.rng(candidate.attempt + 1)
        if evidence.report.kind is ReportKind.duplicate:
            child = random_genome(rng)
        else:
            child = _without_offender(genome, None, evidence.offence, rng)
        if child == genome:
            child = mutate(child, rng, weights=uniform_weights())
        return _repaired(candidate, child, brief, ())


def candidate_from(
    genome: Genome,
    brief: Brief,
    *,
    attempt: int,
    parent_ids: tuple[str, ...] = (),
    changes: tuple[str, ...] = (),
    repairs: str | None = None,
) -> Candidate:
    """The rendered design as a record of the brief's number and arm."""
    source = render(genome)
    motivation = motivation_of(genome)
    if changes:
        motivation = f"Against its parent: {'; '.join(changes)}. {motivation}"
    return Candidate(
        candidate_id=candidate_id_of(source),
        number=brief.number,
        attempt=attempt,
        arm=brief.arm,
        slot=brief.slot,
        name=name_of(genome),
        motivation=motivation,
        source=source,
        parent_ids=parent_ids,
        changes=changes,
        repairs=repairs,
        genome=to_json(genome),
        created_at=brief.now,
    )


def _repaired(candidate: Candidate, genome: Genome, brief: Brief, changes: tuple[str, ...]) -> Candidate:
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


def _own_genome(candidate: Candidate) -> Genome:
    genome = genome_of(candidate)
    if genome is None:
        raise ValueError(
            f"candidate {candidate.candidate_id} ({candidate.name!r}, arm {candidate.arm!r}) has no genome; "
            "let the arm that wrote it repair it"
        )
    return genome


def _known_genomes(brief: Brief) -> set[Genome]:
    members: tuple[Member, ...] = brief.parents + brief.references
    return {genome for member in members if (genome := genome_of(member.candidate)) is not None}


def _without_offender(genome: Genome, parent: Genome | None, offence: str, rng: np.random.Generator) -> Genome:
    """The design with a safer value where the offence suggests one, else with one change taken back."""
    for name, value in _REMEDIES.get(offence, ()):
        safer = with_gene(genome, name, value)
        if safer != genome:
            return safer
    if parent is not None:
        changed = [name for name in DOMAINS if getattr(parent, name) != getattr(genome, name)]
        for index in rng.permutation(len(changed)):
            reverted = with_gene(genome, changed[index], getattr(parent, changed[index]))
            if reverted != genome:
                return reverted
    return mutate(genome, rng, num_changes=2)

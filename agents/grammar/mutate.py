"""Moves in the space of designs: random, mutation, crossover. Each returns a canonical genome."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from agents.grammar.genes import Gene, GenomeT, text_of
from agents.grammar.learning import MutationWeights, uniform_weights
from agents.grammar.space import Space


def random_genome(space: Space[GenomeT], rng: np.random.Generator) -> GenomeT:
    """A design with every field drawn uniformly from its domain, then made canonical."""
    genes: dict[str, Any] = {name: domain[int(rng.integers(len(domain)))] for name, domain in space.domains.items()}
    return space.canonical(space.genome(**genes))


def with_gene(space: Space[GenomeT], genome: GenomeT, name: str, value: Gene) -> GenomeT:
    """The canonical design with one field set."""
    changed: dict[str, Any] = {name: value}
    return space.canonical(replace(genome, **changed))


def mutate(
    space: Space[GenomeT],
    genome: GenomeT,
    rng: np.random.Generator,
    *,
    num_changes: int = 1,
    weights: MutationWeights | None = None,
    keep: frozenset[str] = frozenset(),
) -> GenomeT:
    """Set `num_changes` different fields, drawn by weight among those values that make another design.

    The result always differs from `genome`. `keep` names fields that stay. Raises ValueError for num_changes < 1.
    """
    if num_changes < 1:
        raise ValueError(f"num_changes is {num_changes}; a mutation changes at least one field")
    weights = uniform_weights(space) if weights is None else weights
    mutant, changed = genome, set(keep)
    for _ in range(num_changes):
        moves: list[tuple[str, GenomeT]] = []
        masses: list[float] = []
        for name, domain in space.domains.items():
            if name in changed:
                continue
            for value in domain:
                if value == getattr(mutant, name):
                    continue
                moved = with_gene(space, mutant, name, value)
                if moved not in (mutant, genome):
                    moves.append((name, moved))
                    masses.append(weights[name, text_of(value)])
        share = np.asarray(masses)
        name, mutant = moves[int(rng.choice(len(moves), p=share / share.sum()))]
        changed.add(name)
    return mutant


def crossover(space: Space[GenomeT], first: GenomeT, second: GenomeT, rng: np.random.Generator) -> GenomeT:
    """A design that takes every field from either parent with equal chance; it may equal one of them."""
    genes: dict[str, Any] = {name: getattr(first if rng.random() < 0.5 else second, name) for name in space.domains}
    return space.canonical(space.genome(**genes))

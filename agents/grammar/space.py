"""A space of designs: one slot's genome, the rules that make it canonical, and how a design becomes a program.

Nothing here knows a slot. Mutation, crossover, learning and the proposers work on a `Space` alone, so that a slot's
grammar is its genome, its rules and its renderer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Generic

from agents.grammar.genes import Domains, Gene, GenomeT, text_of
from agents.grammar.rules import Rule, canonical_by

Remedies = Mapping[str, tuple[tuple[str, Gene], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space(Generic[GenomeT]):
    """What the grammar can say about one slot."""

    slot: str
    genome: type[GenomeT]  # its defaults are the neutral values that dormant fields take
    domains: Domains
    rules: tuple[Rule[GenomeT], ...]  # in order: a later rule sees what earlier ones settled
    render: Callable[[GenomeT], str]  # canonical design -> source; equal designs give equal text
    name_of: Callable[[GenomeT], str]  # different canonical designs have different names
    motivation_of: Callable[[GenomeT], str]
    baselines: Mapping[str, GenomeT]  # by the names under which models ships the hand-written programs
    known: Mapping[str, GenomeT]  # near other designs from the literature, by those names where models ships them
    remedies: Remedies  # what to set, in order of trying, where a property or a training failure names an offence

    def __post_init__(self) -> None:
        names = tuple(item.name for item in fields(self.genome))
        if names != tuple(self.domains):
            raise ValueError(f"space {self.slot}: the genome has fields {names}, the domains are of {[*self.domains]}")

    def canonical(self, genome: GenomeT) -> GenomeT:
        """The valid, non-redundant design that stands for this one; every genome has exactly one, and it is its own.

        So mutation and crossover may set fields blindly, and two designs that compute the same are one.
        """
        return canonical_by(self.rules, genome)

    def dormant_fields(self, genome: GenomeT) -> frozenset[str]:
        """Fields that do nothing in this (canonical) design."""
        return frozenset(name for rule in self.rules if rule.dormant and rule.applies(genome) for name in rule.values)

    def changes_between(self, old: GenomeT, new: GenomeT) -> tuple[str, ...]:
        """What differs, as "field: old -> new"; fields that do nothing in the new design are left out."""
        dormant = self.dormant_fields(new)
        return tuple(
            f"{name}: {text_of(getattr(old, name))} -> {text_of(getattr(new, name))}"
            for name in self.domains
            if name not in dormant and getattr(old, name) != getattr(new, name)
        )

    def to_json(self, genome: GenomeT) -> str:
        """One line of JSON, keys in the order of the fields."""
        return json.dumps(asdict(genome))

    def from_json(self, text: str) -> GenomeT:
        """Read back what `to_json` wrote. Raises ValueError for unknown fields and values."""
        stored: dict[str, Any] = json.loads(text)
        if unknown := sorted(set(stored) - set(self.domains)):
            raise ValueError(f"genome has unknown fields {unknown}; known are {sorted(self.domains)}")
        genes: dict[str, Any] = {}
        for name, value in stored.items():
            kind = type(self.domains[name][0])
            genes[name] = kind(value) if issubclass(kind, StrEnum) else value
        return self.genome(**genes)

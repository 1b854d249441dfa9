"""Which genes go together, as data: a slot's rules turn any genome into the one that stands for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from agents.grammar.genes import Gene, GenomeT


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Generic[GenomeT]):
    """Where `applies` holds, the fields take these values; `dormant`: the fields do nothing there."""

    why: str
    applies: Callable[[GenomeT], bool]
    values: Mapping[str, Gene]
    dormant: bool = False


def asleep(neutral: GenomeT, why: str, applies: Callable[[GenomeT], bool], *names: str) -> Rule[GenomeT]:
    """The rule for fields that do nothing where it applies: they take the neutral genome's values."""
    return Rule(why=why, applies=applies, values={name: getattr(neutral, name) for name in names}, dormant=True)


def canonical_by(rules: Sequence[Rule[GenomeT]], genome: GenomeT) -> GenomeT:
    """The genome after every rule that applies, in their order."""
    for rule in rules:
        if rule.applies(genome):
            genome = replace(genome, **dict[str, Any](rule.values))
    return genome

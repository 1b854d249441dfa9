"""Selection: which candidates become parents and references. Pure rules over the population.

Populations are read by candidate number, whatever order they come in, so one seed gives one selection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agents.brief import Member
from cognition.statistics import robust_standardise
from orchestrator.standing import Members

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Parents, first the one that is changed, and references to read; no member is in both."""

    parents: tuple[Member, ...] = ()
    references: tuple[Member, ...] = ()


class SelectionRule(Protocol):
    """One way to pick."""

    def pick(self, population: Sequence[Member], rng: np.random.Generator, num_parents: int) -> Selection:
        """Up to `num_parents` different parents and some references; only members with a fitness are picked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionSettings:
    """The rule and its figures. Raises ValueError for an unknown rule (it names the known ones) and odd figures."""

    rule: str = "mad_sigmoid"
    num_references: int = 4
    num_best: int = 10  # two_tier: parents come from these
    pool_size: int = 50  # two_tier: references come from the ranks between num_best and this
    refresh_every: int = 1  # two_tier: the pool is renewed whenever this many members have been added

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"selection.rule is {self.rule!r}; choose one of {', '.join(sorted(RULES))}")
        if self.num_references < 0:
            raise ValueError(f"selection.num_references is {self.num_references}; give 0 or more")
        if self.num_best < 1 or self.refresh_every < 1:
            raise ValueError(
                f"selection.num_best is {self.num_best}, refresh_every {self.refresh_every}; give at least 1 each"
            )
        if self.pool_size < self.num_best:
            raise ValueError(f"selection.pool_size is {self.pool_size}; it holds num_best ({self.num_best}): raise it")


class TwoTier:
    """ASI-Arch's rule (arXiv 2507.18074): parents uniform from the best, references from the ranks behind them.

    The paper refreshes the pool every 50 entries; `refresh_every=50` does so.
    """

    def __init__(self, settings: SelectionSettings) -> None:
        self.settings = settings

    def pick(self, population: Sequence[Member], rng: np.random.Generator, num_parents: int) -> Selection:
        """Parents from ranks 1..num_best, references from ranks num_best+1..pool_size."""
        members = Members.of(population)
        settled = len(members) // self.settings.refresh_every * self.settings.refresh_every
        known_N = members.fitness_N[:settled] if settled else members.fitness_N
        pool = _best(known_N, self.settings.pool_size)
        best, rest = pool[: self.settings.num_best], pool[self.settings.num_best :]
        return Selection(
            parents=_members(members, _draw(best, rng, num_parents)),
            references=_members(members, _draw(rest, rng, self.settings.num_references)),
        )


class MadSigmoid:
    """ShinkaEvolve's weights: sigmoid(fitness standardised by median and MAD) / (1 + number of children)."""

    def __init__(self, settings: SelectionSettings) -> None:
        self.settings = settings

    def pick(self, population: Sequence[Member], rng: np.random.Generator, num_parents: int) -> Selection:
        """Parents by weight without replacement; references are the best of the others."""
        members = Members.of(population)
        scored_N = np.flatnonzero(~np.isnan(members.fitness_N))
        weights_N = _weights(members.fitness_N[scored_N], members.num_children_N[scored_N])
        parents = _draw(scored_N, rng, num_parents, weights_N)
        best = _best(members.fitness_N, self.settings.num_references + len(parents))
        others = best[~np.isin(best, parents)][: self.settings.num_references]
        return Selection(parents=_members(members, parents), references=_members(members, others))


class Uniform:
    """Everybody with a fitness has the same chance: the control."""

    def __init__(self, settings: SelectionSettings) -> None:
        self.settings = settings

    def pick(self, population: Sequence[Member], rng: np.random.Generator, num_parents: int) -> Selection:
        """Parents, and then references, uniformly without replacement."""
        members = Members.of(population)
        scored_N = np.flatnonzero(~np.isnan(members.fitness_N))
        parents = _draw(scored_N, rng, num_parents)
        others_N = scored_N[~np.isin(scored_N, parents)]
        references = _draw(others_N, rng, self.settings.num_references)
        return Selection(parents=_members(members, parents), references=_members(members, references))


RULES: Mapping[str, Callable[[SelectionSettings], SelectionRule]] = {
    "two_tier": TwoTier,
    "mad_sigmoid": MadSigmoid,
    "uniform": Uniform,
}


def rule_of(settings: SelectionSettings) -> SelectionRule:
    """The rule that the settings name."""
    return RULES[settings.rule](settings)


def scored(population: Sequence[Member]) -> list[Member]:
    """Members with a fitness, by candidate number."""
    members = [member for member in population if member.fitness is not None]
    return sorted(members, key=lambda member: (member.candidate.number, member.candidate.attempt))


def ranked(population: Sequence[Member]) -> list[Member]:
    """Members with a fitness, the best first; ties go to the earlier number."""
    return sorted(scored(population), key=lambda member: -(member.fitness or 0.0))


def parent_weights(members: Sequence[Member]) -> Floats:
    """Weight of each scored member as a parent, shape [number of members], not normalised."""
    known = Members.of(members)
    return _weights(known.fitness_N, known.num_children_N)


def _weights(fitness_N: Floats, num_children_N: Floats) -> Floats:
    standardised_N = robust_standardise(fitness_N)
    weights_N: Floats = 1.0 / (1.0 + np.exp(-np.clip(standardised_N, -30.0, 30.0)))
    return weights_N / (1.0 + num_children_N)


def _best(fitness_N: Floats, num: int) -> Places:
    """Places of the highest, the best first; ties go to the earlier number, and who has none is nowhere."""
    places = np.flatnonzero(~np.isnan(fitness_N))
    if 0 < num < places.size:
        last = -np.partition(-fitness_N[places], num - 1)[num - 1]
        places = places[fitness_N[places] >= last]
    return places[np.argsort(-fitness_N[places], kind="stable")][: max(0, num)]


def _draw(places: Places, rng: np.random.Generator, num: int, weights: Floats | None = None) -> Places:
    num = min(num, len(places))
    if num <= 0:
        return places[:0]
    shares = None if weights is None else weights / weights.sum()
    return places[rng.choice(len(places), size=num, replace=False, p=shares)]


def _members(members: Members, places: Places) -> tuple[Member, ...]:
    return tuple(members[int(place)] for place in places)

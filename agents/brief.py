"""What an agent is told: members of the population and the brief of one proposal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cognition.records import Candidate, Insight, Report, Trial, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One candidate of the population with everything that is known about it at its stage."""

    candidate: Candidate
    report: Report | None = None
    trials: tuple[Trial, ...] = ()
    verdict: Verdict | None = None
    num_children: int = 0

    @property
    def fitness(self) -> float | None:
        """The verdict's fitness; None without a verdict, or where the verdict withholds it."""
        return self.verdict.fitness if self.verdict else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a researcher is asked for. A proposal is a pure function of it, randomness included."""

    slot: str
    arm: str
    number: int
    attempt: int = 0
    seed: int
    parents: tuple[Member, ...] = ()
    references: tuple[Member, ...] = ()
    insights: tuple[Insight, ...] = ()
    refusals: tuple[Report, ...] = ()  # reports on earlier attempts at this number
    reference_losses: Mapping[str, float] = field(default_factory=dict)  # baseline name -> nats per token
    now: float = 0.0  # seconds since the epoch; stamps what is proposed

    def __post_init__(self) -> None:
        for name, value in (("number", self.number), ("attempt", self.attempt), ("seed", self.seed)):
            if value < 0:
                raise ValueError(f"brief.{name} is {value}; give a non-negative integer, since it seeds the proposal")

    def rng(self, attempt: int | None = None) -> np.random.Generator:
        """The generator of one attempt: the same brief gives the same numbers in any process."""
        return np.random.default_rng([self.seed, self.number, self.attempt if attempt is None else attempt])

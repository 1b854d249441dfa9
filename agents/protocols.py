"""What the agents are given and what can stand in for them: seams, without implementations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agents.brief import Brief, Evidence
from agents.ledger import Cost, Refusal, Reservation, Spend
from cognition.records import Candidate, EarlyStop, Efficiency, Metric, Pace, Trial


class NoProposal(Exception):
    """Nobody gave a usable source text; says why. The loop writes it down as a report of that kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What one training left."""

    trial: Trial
    curve: tuple[Metric, ...] = ()
    early_stop: EarlyStop | None = None  # what a stopping policy said to it; controls were let run on all the same
    efficiency: tuple[Efficiency, ...] = ()  # where it was to be measured and not trained: the trial has no result


class Runner(Protocol):
    """Trains candidates somewhere; the engineer sees no more of a cluster than this."""

    async def run(
        self, candidate: Candidate, stage: str, seed: int, pace: Pace | None = None, horizon: int | None = None
    ) -> Trained:
        """One training, finished, stopped or failed; a failed training is a Trial too, not an exception.

        Args:
            pace: the reference baseline's, by which anomalies are told.
            horizon: the highest number whose curves may count against this one; None: all.
        """
        ...

    async def measure(self, candidate: Candidate, stage: str) -> Trained:
        """What the candidate costs at a stage, as rows beside a trial without a result that says how it ended."""
        ...


class Proposer(Protocol):
    """One way to propose and to repair; a researcher and an engineer hold one per arm.

    Both are pure functions of their arguments: a restarted process answers the same.
    """

    async def propose(self, brief: Brief) -> Candidate:
        """A new candidate for the brief's number and attempt. Raises NoProposal where there is none to be had."""
        ...

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        """The next attempt at a number whose last attempt was refused or failed in training; `repairs` names it.

        Raises NoProposal where it cannot be mended.
        """
        ...


class Ledger(Protocol):
    """Books a cost before it is made. `agents.ledger.BudgetLedger` is the one in process; an actor may wrap it."""

    def reserve(self, account: str, worst: Cost) -> Reservation | Refusal:
        """Hold the worst cost, or say which limit it would break."""
        ...

    def settle(self, reservation: Reservation, actual: Cost) -> None:
        """Replace a reservation by what it really cost."""
        ...

    def spent(self) -> Sequence[Spend]:
        """Spend per account."""
        ...

"""The Engineer: repairs what the gate refused, and has candidates trained."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from agents.brief import Brief
from agents.protocols import Proposer, Runner
from agents.researcher import default_proposers, proposer_of
from cognition.records import Candidate, Report, Trial


class Engineer:
    """Knows a Runner and one proposer per arm; keeps nothing between calls."""

    def __init__(self, runner: Runner, proposers: Mapping[str, Proposer] | None = None) -> None:
        self.runner = runner
        self.proposers = default_proposers() if proposers is None else proposers

    async def repair(self, candidate: Candidate, report: Report, brief: Brief) -> Candidate:
        """The next attempt at the same number, by the arm that wrote it; `repairs` names the refused attempt.

        Raises ValueError when the report is about another attempt or about one that passed.
        """
        if (report.number, report.attempt) != (candidate.number, candidate.attempt):
            raise ValueError(
                f"report on number {report.number} attempt {report.attempt} is not about number {candidate.number} "
                f"attempt {candidate.attempt}; pass that attempt's own report"
            )
        if not report.refused:
            raise ValueError(
                f"number {candidate.number} attempt {candidate.attempt} passed; only refusals are repaired"
            )
        return await proposer_of(self.proposers, candidate.arm).repair(candidate, report, brief)

    async def train(self, candidate: Candidate, stage: str, seeds: Sequence[int]) -> tuple[Trial, ...]:
        """One trial per seed, all at once, in the order of the seeds. Raises ValueError for none or repeated seeds."""
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds are {list(seeds)}; give at least one, each once: the same seed is the same trial")
        return tuple(await asyncio.gather(*(self.runner.run(candidate, stage, seed) for seed in seeds)))

"""The Engineer: repairs what the gate refused or a training failed at, and has candidates trained."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from agents.brief import Brief, Evidence
from agents.protocols import Proposer, Runner, Trained
from agents.researcher import default_proposers, proposer_of
from cognition.records import Candidate, Pace


class Engineer:
    """Knows a Runner and one proposer per arm; keeps nothing between calls."""

    def __init__(self, runner: Runner, proposers: Mapping[str, Proposer] | None = None) -> None:
        self.runner = runner
        self.proposers = default_proposers() if proposers is None else proposers

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        """The next attempt at the same number, by the arm that wrote it; `repairs` names the attempt that failed.

        Raises ValueError when the evidence is about another attempt or about one that has nothing to mend.
        """
        report = evidence.report
        if (report.number, report.attempt) != (candidate.number, candidate.attempt):
            raise ValueError(
                f"report on number {report.number} attempt {report.attempt} is not about number {candidate.number} "
                f"attempt {candidate.attempt}; pass that attempt's own report"
            )
        if not evidence.failed:
            raise ValueError(
                f"number {candidate.number} attempt {candidate.attempt} passed and trained; only refusals and failures "
                "are repaired"
            )
        return await proposer_of(self.proposers, candidate.arm).repair(candidate, evidence, brief)

    async def measure(self, candidate: Candidate, stage: str) -> Trained:
        """What it costs at a stage: `Trained.efficiency`."""
        return await self.runner.measure(candidate, stage)

    async def train(
        self,
        candidate: Candidate,
        stage: str,
        seeds: Sequence[int],
        pace: Pace | None = None,
        horizon: int | None = None,
    ) -> tuple[Trained, ...]:
        """One trial per seed, all at once, in the order of the seeds. Raises ValueError for none or repeated seeds."""
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds are {list(seeds)}; give at least one, each once: the same seed is the same trial")
        return tuple(await asyncio.gather(*(self.runner.run(candidate, stage, seed, pace, horizon) for seed in seeds)))

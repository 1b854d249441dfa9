"""Thin hosts for Ray: the four agents, the gate, the ledger and the trial engine. `orchestrator.crew` starts them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from agents.analyst import Analyst, Context
from agents.brief import Brief, Evidence, Member, Noise
from agents.engineer import Engineer
from agents.fitness import FitnessSettings
from agents.grammar.proposer import GrammarSettings
from agents.judge import Judge
from agents.ledger import BudgetLedger, Cost, Limits, Refusal, Reservation, Spend
from agents.protocols import Proposer
from agents.researcher import Researcher, default_proposers
from cognition.records import Candidate, FailureKind, Insight, Metric, Pace, Report, Trial, Verdict, trial_id_of
from models.anomalies import AnomalyLimits
from models.data import DataSpec
from models.sandbox.layer import Layer
from models.sandbox.settings import SandboxSettings
from models.scale import Scale
from models.trial import ExamJob, TrialJob
from orchestrator.config import Settings
from orchestrator.errors import UsageError

_NICENESS = 10
_SETTLE_POLL_S = 0.2
_HOST_RETRIES = 2  # a dead worker is not the candidate's fault


class BudgetReached(UsageError):
    """A trial was not started because its worst cost no longer fits the budget."""


def _give_way() -> None:
    """Let trials have the processor first; children inherit it."""
    os.nice(_NICENESS)


class ResearcherActor:
    """Hosts `agents.researcher.Researcher`."""

    def __init__(self, grammar: GrammarSettings, more: Mapping[str, Proposer]) -> None:
        _give_way()
        self._researcher = Researcher({**default_proposers(grammar), **more})

    async def propose(self, brief: Brief) -> Candidate:
        return await self._researcher.propose(brief)


class EngineerActor:
    """Hosts `agents.engineer.Engineer`; trials go to the engine through its runner."""

    def __init__(self, engine: str, ledger: str, settings: Settings, more: Mapping[str, Proposer]) -> None:
        runner = EngineRunner(
            engine=ray.get_actor(engine),
            ledger=ray.get_actor(ledger),
            scale=settings.scale,
            data=settings.data,
            anomalies=settings.anomalies,
        )
        self._engineer = Engineer(runner, {**default_proposers(settings.grammar), **more})

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        return await self._engineer.repair(candidate, evidence, brief)

    async def train(
        self, candidate: Candidate, stage: str, seeds: tuple[int, ...], pace: Pace | None
    ) -> tuple[Trial, ...]:
        return await self._engineer.train(candidate, stage, seeds, pace)


class JudgeActor:
    """Hosts `agents.judge.Judge`."""

    def __init__(self, settings: FitnessSettings) -> None:
        _give_way()
        self._judge = Judge(settings)

    async def assess(
        self, candidate: Candidate, report: Report, trials: tuple[Trial, ...], reference: Member, noise: Noise | None
    ) -> Verdict:
        return await self._judge.assess(candidate, report, trials, reference, noise)

    async def reconsider(self, verdict: Verdict, report: Report) -> Verdict:
        return await self._judge.reconsider(verdict, report)


class AnalystActor:
    """Hosts `agents.analyst.Analyst`."""

    def __init__(self) -> None:
        _give_way()
        self._analyst = Analyst()

    async def explain(
        self, candidate: Candidate, trials: tuple[Trial, ...], verdict: Verdict, context: Context
    ) -> tuple[Insight, ...]:
        return await self._analyst.explain(candidate, trials, verdict, context)


class ExaminerActor:
    """Runs the gate: every examination in a child of this actor's fork server."""

    def __init__(self, sandbox: SandboxSettings) -> None:
        _give_way()
        self._server = sandbox.fork_server()
        self._one_at_a_time = asyncio.Semaphore(1)
        threading.Thread(target=self._server.start, daemon=True).start()  # warm by the time that the first job comes

    async def layers(self) -> tuple[Layer, ...]:
        """What confines candidates here. Raises UsageError where that is less than was required."""
        from models.sandbox.parent import SandboxError

        try:
            return await asyncio.to_thread(self._server.layers)
        except SandboxError as error:
            raise UsageError(str(error)) from None

    async def examine(self, job: ExamJob) -> Report:
        from models.sandbox.parent import SandboxError
        from models.trial import examine

        async with self._one_at_a_time:
            for _ in range(_HOST_RETRIES):
                with contextlib.suppress(SandboxError):  # the fork server was lost, which says nothing of the candidate
                    return await asyncio.to_thread(examine, job, self._server)
            return await asyncio.to_thread(examine, job, self._server)


class LedgerActor:
    """Hosts the one purse. When its process ends, so does the campaign: the next start refills it from the store."""

    def __init__(self, limits: Limits, spend: Sequence[Spend]) -> None:
        self._ledger = BudgetLedger(limits)
        self._ledger.restore(spend)

    async def reserve(self, account: str, worst: Cost) -> Reservation | Refusal:
        return self._ledger.reserve(account, worst)

    async def settle(self, reservation: Reservation, actual: Cost) -> None:
        self._ledger.settle(reservation, actual)


class TrialEngineActor:
    """Hosts the trial engine: in an actor of its own, because Ray kills an actor's children with it.

    When its process ends, so does the campaign, cleanly: the same command goes on.
    """

    def __init__(self, cpus_per_trial: float, max_trials: int, sandbox: SandboxSettings) -> None:
        from orchestrator.pools import resources_of
        from orchestrator.trial_engine import TrialEngine

        self._engine = TrialEngine(resources_of(cpus_per_trial), max_trials, sandbox=sandbox)

    async def run(self, job: TrialJob) -> Trial:
        return await asyncio.wrap_future(self._engine.submit(job))

    async def curve(self, trial_id: str) -> tuple[Metric, ...]:
        return self._engine.curve(trial_id)

    async def close(self) -> None:
        await asyncio.to_thread(self._engine.close)

    async def running(self) -> tuple[Any, ...]:
        return self._engine.running()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRunner:
    """The Engineer's `Runner`: reserves a trial's worst cost, hands it to the engine, settles what it took."""

    engine: Any
    ledger: Any
    scale: Scale
    data: DataSpec
    anomalies: AnomalyLimits

    async def run(self, candidate: Candidate, stage: str, seed: int, pace: Pace | None = None) -> Trial:
        job = TrialJob(
            trial_id=trial_id_of(candidate.candidate_id, stage, seed),
            candidate_id=candidate.candidate_id,
            source=candidate.source,
            slot=candidate.slot,
            stage=self.scale.stage(stage),
            seed=seed,
            data=self.data,
            pace=pace,
            anomalies=self.anomalies,
        )
        worst = Cost(slot_hours=job.stage.deadline_s / 3600)
        reservation = await self._reserve(f"{stage}/{candidate.arm}", worst)
        slot_s = 0.0
        for _ in range(1 + _HOST_RETRIES):
            trial: Trial = await self._run(job)
            slot_s += trial.slot_s
            if trial.failure is not FailureKind.worker_died:
                break
        await self.ledger.settle.remote(reservation, Cost(slot_hours=slot_s / 3600))
        return trial

    async def _reserve(self, account: str, worst: Cost) -> Reservation:
        """Wait for trials under way to be settled where that may make room."""
        while True:
            answer: Reservation | Refusal = await self.ledger.reserve.remote(account, worst)
            if isinstance(answer, Reservation):
                return answer
            if answer.final:
                raise BudgetReached(f"budget reached, {answer.reason}: a larger one goes on from here")
            await asyncio.sleep(_SETTLE_POLL_S)

    async def _run(self, job: TrialJob) -> Trial:
        """Ask again where the engine could not be reached for a moment."""
        while True:
            try:
                trial: Trial = await self.engine.run.remote(job)
                return trial
            except ray.exceptions.ActorUnavailableError:
                await asyncio.sleep(1.0)

"""The trial engine's actor, and how the Engineer reaches whichever one there is."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from agents.ledger import Cost, Refusal, Reservation
from agents.protocols import Trained
from cognition.records import Candidate, FailureKind, Pace, trial_id_of
from models.checkpoints import CheckpointError, Checkpoints
from models.trial_job import TrialJob
from orchestrator.board import DONE_AGAIN, Order, RunningTrial
from orchestrator.charges import charge_of, measuring_id_of, share_of
from orchestrator.config import Settings
from orchestrator.early_stopping.recalled import Recalled
from orchestrator.errors import BudgetReached, UsageError, reached

_SETTLE_POLL_S = 0.2
_REBUILD_S = 120.0  # for which a lost engine is waited for
_ASK_AGAIN_S = 0.5
_GENERATIONS_AHEAD = 64  # who starts late may not know how many engines there were
HOST_RETRIES = 2  # a dead worker is not the candidate's fault, nor is one death by another's hand
_MOST_UNSTARTED = 32  # attempts that no host took


class TrialEngineActor:
    """Hosts the trial engine: in an actor of its own, because Ray kills an actor's children with it.

    When its process ends, the crew builds the next generation, and whoever waits asks that one.
    """

    def __init__(self, settings: Settings, past: Recalled) -> None:
        """`past`: what stopping policies compare with from the beginning."""
        from orchestrator.trial_engine import TrialEngine

        self._engine = TrialEngine(
            settings.pools,
            settings.cluster.slots,
            sandbox=settings.sandbox,
            stopping={name: stage.stopping for name, stage in settings.stages.items()},
            num_founders=len(settings.campaign.founders),
            past=past,
            ended=_leave,
        )

    async def run(self, order: Order) -> Trained:
        return await asyncio.shield(asyncio.wrap_future(self._engine.submit(order)))

    async def running(self) -> tuple[RunningTrial, ...]:
        return self._engine.running()

    async def drain(self) -> None:
        self._engine.drain()

    async def close(self) -> None:
        await asyncio.to_thread(self._engine.close)


def _engine_from(name: str, generation: int) -> tuple[int, Any] | None:
    """The first engine from this generation on that Ray knows by name, dead or alive, with its generation."""
    for later in range(generation, generation + _GENERATIONS_AHEAD):
        with contextlib.suppress(ValueError):
            return later, ray.get_actor(generation_name(name, later))
    return None


def generation_name(engine: str, generation: int) -> str:
    """The name of a campaign's first, second, ... engine: Ray keeps that of an actor which ended."""
    return f"{engine}-{generation}"


@dataclass(slots=True, kw_only=True)
class EngineRunner:
    """The Engineer's `Runner`: reserves an attempt's worst cost, hands it to the engine, books what it took."""

    engine: str  # the name of its generations
    ledger: Any
    settings: Settings
    corpus: str  # digest of the text that every trial has to find where it runs
    generation: int = 0  # of the engine to ask
    find: Callable[[str, int], tuple[int, Any] | None] = _engine_from  # by name, from a generation on

    async def run(
        self, candidate: Candidate, stage: str, seed: int, pace: Pace | None = None, horizon: int | None = None
    ) -> Trained:
        settings = self.settings
        pool = settings.pools[settings.stages[stage].pool]
        job = TrialJob(
            trial_id=trial_id_of(candidate.candidate_id, stage, seed),
            candidate_id=candidate.candidate_id,
            source=candidate.source,
            slot=candidate.slot,
            stage=settings.scale.stage(stage),
            seed=seed,
            data=settings.data,
            device=pool.device,
            num_processes=pool.num_processes,
            card_share=pool.card_share,
            pace=pace,
            anomalies=settings.anomalies,
            checkpoints=settings.checkpoints.spec(settings.scale.stage(stage)),
            corpus=self.corpus,
            keeps=settings.checkpoints.keeps() if stage != settings.ladder.first.name else None,
        )
        return await self._ended(candidate, job, job.stage.deadline_s, horizon)

    async def measure(self, candidate: Candidate, stage: str) -> Trained:
        """On one device, whatever number its trials train on."""
        settings = self.settings
        pool, trained_at = settings.pools[settings.stages[stage].pool], settings.scale.stage(stage)
        job = TrialJob(
            trial_id=measuring_id_of(candidate.candidate_id, stage, trained_at.seeds[0]),
            candidate_id=candidate.candidate_id,
            source=candidate.source,
            slot=candidate.slot,
            stage=trained_at,
            seed=trained_at.seeds[0],
            data=settings.data,
            device=pool.device,
            num_processes=pool.num_processes,
            card_share=pool.card_share,
            efficiency=settings.efficiency,
        )
        return await self._ended(candidate, job, settings.efficiency.deadline_s)

    async def _ended(
        self, candidate: Candidate, job: TrialJob, deadline_s: float, horizon: int | None = None
    ) -> Trained:
        """The last of as many attempts as it takes; each is reserved at its worst cost, and charged."""
        stage = job.stage.name
        share = share_of(self.settings, stage)
        order = Order(job=job, pool=share.pool, number=candidate.number, horizon=horizon)
        account, worst = f"{stage}/{candidate.arm}", share.worst(deadline_s)
        tries, furthest, unstarted = 1 + HOST_RETRIES, 0, 0
        while True:
            reservation = await self._reserve(account, worst, job.trial_id)
            while (
                trained := await self._run(order)
            ) is None:  # lost with its engine, and booked before there is a next
                await self._engine()
                reservation = await self._reserve(account, worst, job.trial_id, anew=True)
            trial = dataclasses.replace(trained.trial, pool=share.pool, num_gpus=share.num_gpus)
            await self.ledger.settle.remote(reservation, charge_of(candidate, trial, share))
            if trial.failure is FailureKind.corpus:
                remedy = "put the driver's data there (the doctor compares all nodes), then the same command goes on"
                raise UsageError(f"{trial.detail}: {remedy}")
            preempted = trial.failure is FailureKind.worker_died and job.checkpoints is not None
            if trial.failure is FailureKind.worker_died and not trial.worker and unstarted < _MOST_UNSTARTED:
                unstarted += 1  # a host that had died while it was idle: a lost node leaves as many as it had slots
            elif not (preempted and trial.steps > furthest):  # who goes on from a checkpoint comes to an end
                tries -= 1
            furthest = max(furthest, trial.steps)
            if trial.failure not in DONE_AGAIN:
                break
            if tries == 0:
                await asyncio.to_thread(_give_up, job)
                break
        return dataclasses.replace(trained, trial=trial)

    async def _reserve(self, account: str, worst: Cost, trial_id: str, *, anew: bool = False) -> Reservation:
        """Wait for trials under way to be settled where that may make room."""
        while True:
            answer: Reservation | Refusal = await self.ledger.reserve.remote(account, worst, trial_id, anew=anew)
            if isinstance(answer, Reservation):
                return answer
            if answer.final:
                raise BudgetReached(reached(answer.reason))
            await asyncio.sleep(_SETTLE_POLL_S)

    async def _run(self, order: Order) -> Trained | None:
        """What comes of an order; None where the engine that had it has ended."""
        while True:
            generation, engine = await self._engine()
            try:
                trained: Trained = await engine.run.remote(order)
                return trained
            except ray.exceptions.ActorUnavailableError:
                await asyncio.sleep(_ASK_AGAIN_S)
            except ray.exceptions.ActorDiedError:
                self.generation = max(self.generation, generation + 1)
                return None

    async def _engine(self) -> tuple[int, Any]:
        """The engine to ask, with its generation; waits where one ended and the next is being built.

        Raises UsageError when there is none for too long.
        """
        since = time.monotonic()
        while (found := self.find(self.engine, self.generation)) is None:
            if time.monotonic() - since > _REBUILD_S:
                raise UsageError("the trial engine ended and was not rebuilt: the same command goes on")
            await asyncio.sleep(_ASK_AGAIN_S)
        return found


def _give_up(job: TrialJob) -> None:
    """Nobody goes on from what its last attempt had saved."""
    if job.checkpoints is not None:
        with contextlib.suppress(CheckpointError):
            Checkpoints.at(job.checkpoints.uri).drop(job.trial_id)


def _leave() -> None:
    """End this actor's process: the crew sees that, and builds another engine."""
    os._exit(1)

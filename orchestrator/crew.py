"""The campaign's actors: started together, asked, ended together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from agents.ledger import Limits, Spend
from orchestrator import actors
from orchestrator.cluster import Cluster
from orchestrator.config import Settings
from orchestrator.tracking import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Handles of the four agents, the gate, the ledger, the trial engine, and the tracker."""

    engine: Any
    examiner: Any
    ledger: Any
    researcher: Any
    engineer: Any
    judge: Any
    analyst: Any
    tracker: Tracker

    @classmethod
    def start(cls, settings: Settings, cluster: Cluster, spent: Sequence[Spend], folder: Path) -> Crew:
        """Start all of them; the engine first, since trials wait for it."""
        limits = Limits(usd=settings.budget.usd, slot_hours=settings.budget.slot_hours)
        engine = _host(actors.TrialEngineActor, settings.cluster.cpus_per_trial, cluster.num_slots, retries=0)
        examiner = _host(actors.ExaminerActor)
        ledger = _host(actors.LedgerActor, limits, tuple(spent), restarts=0, retries=0)
        return cls(
            engine=engine,
            examiner=examiner,
            ledger=ledger,
            researcher=_host(actors.ResearcherActor),
            engineer=_host(actors.EngineerActor, engine, ledger, settings.scale, settings.data),
            judge=_host(actors.JudgeActor, settings.fitness),
            analyst=_host(actors.AnalystActor),
            tracker=Tracker.start(settings.tracking, folder),
        )

    def end(self) -> None:
        """End them, and with the trial engine its trials."""
        self.tracker.close()
        for actor in (
            self.engineer,
            self.engine,
            self.examiner,
            self.ledger,
            self.researcher,
            self.judge,
            self.analyst,
        ):
            ray.kill(actor)


async def answer(call: Any) -> Any:
    """Await an actor's answer; who stops waiting takes the question back."""
    try:
        return await call
    except asyncio.CancelledError:
        ray.cancel(call)
        raise


def _host(kind: type[Any], *arguments: Any, restarts: int = -1, retries: int = 3) -> Any:
    """An actor that takes no CPU from trials; restarted, and asked again, when its process dies."""
    options: Any = ray.remote(num_cpus=0, max_restarts=restarts, max_task_retries=retries)
    return options(kind).remote(*arguments)

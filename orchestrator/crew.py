"""The campaign's actors: started together, asked, ended together."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from agents.ledger import Limits
from agents.llm.prices import prices_of
from agents.protocols import NoProposal, Proposer
from agents.purse import PurseState
from cognition.records import LlmCall, Metric
from orchestrator import actors
from orchestrator.cluster import Cluster
from orchestrator.config import Settings
from orchestrator.errors import UsageError
from orchestrator.tracking import Tracker

if TYPE_CHECKING:
    from orchestrator.trial_engine import RunningTrial

INBOX = "inbox"  # in the run folder
_CLOSE_S = 10.0
_GONE = "the process of one of the campaign's actors ended and cannot be restarted"


class Crew:
    """The four agents, the gate, the ledger, the trial engine and the tracker.

    What the first trial waits for is started at once, the rest when it is first asked: nine processes starting
    together on two cores would hold the first trial up.
    """

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        state: PurseState,
        recording: Sequence[LlmCall],
        folder: Path,
        proposers: Mapping[str, Proposer],
    ) -> None:
        """`state`: what the purse has to remember; `recording`: the replies of a transcript."""
        settings = replace(settings, checkpoints=settings.checkpoints.within(folder))
        self._settings, self._folder, self._proposers = settings, folder, dict(proposers)
        self._started: list[Any] = []
        self._prefix = f"{settings.campaign.name}-{uuid.uuid4().hex[:8]}"
        self._recording = tuple(recording)
        budget = settings.budget
        limits = Limits(usd=budget.usd, slot_hours=budget.slot_hours, tokens=budget.tokens)
        self.engine = self._host(
            "engine",
            actors.TrialEngineActor,
            settings.cluster.cpus_per_trial,
            cluster.num_slots,
            settings.sandbox,
            restarts=0,
            retries=0,
        )
        self.examiner = self._host("examiner", actors.ExaminerActor, settings.sandbox)
        self.ledger = self._host(
            "ledger",
            actors.LedgerActor,
            *(limits, settings.llm, prices_of(settings.llm), settings.seed, state),
            restarts=0,
            retries=0,
        )
        self.engineer = self._host(
            "engineer",
            actors.EngineerActor,
            self._name("engine"),
            *self._agents_arguments,
        )

    @cached_property
    def researcher(self) -> Any:
        return self._host("researcher", actors.ResearcherActor, *self._agents_arguments)

    @cached_property
    def judge(self) -> Any:
        return self._host("judge", actors.JudgeActor, self._name("ledger"), self._settings, self._recording)

    @cached_property
    def analyst(self) -> Any:
        return self._host("analyst", actors.AnalystActor, self._name("ledger"), self._settings, self._recording)

    @cached_property
    def librarian(self) -> Any:
        return self._host("librarian", actors.LibrarianActor, self._name("ledger"), self._settings)

    @cached_property
    def tracker(self) -> Tracker:
        return Tracker.start(self._settings.tracking, self._folder)

    async def running(self) -> Sequence[RunningTrial]:
        """The trials that hold a slot; none while the engine is being restarted."""
        try:
            running: Sequence[RunningTrial] = await self.engine.running.remote()
        except ray.exceptions.RayError:
            return ()
        return running

    async def curve(self, trial_id: str) -> Sequence[Metric]:
        """A finished trial's curve; empty where it was lost with its engine."""
        try:
            curve: Sequence[Metric] = await self.engine.curve.remote(trial_id)
        except ray.exceptions.RayError:
            return ()
        return curve

    def end(self) -> None:
        """End them, and with the trial engine its trials.

        The engine is closed before it is killed: a killed actor's placement groups would stay until the whole Ray job
        ends, and its scratch folder for good.
        """
        if "tracker" in self.__dict__:
            self.tracker.close()
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self.engine.close.remote(), timeout=_CLOSE_S)
        for actor in reversed(self._started):
            ray.kill(actor)

    @property
    def _agents_arguments(self) -> tuple[Any, ...]:
        """What those who write candidates are started with."""
        inbox = (self._folder / INBOX).resolve()
        return (self._name("ledger"), self._settings, self._recording, inbox, self._proposers)

    def _name(self, role: str) -> str:
        return f"{self._prefix}-{role}"

    def _host(self, role: str, kind: type[Any], *arguments: Any, restarts: int = -1, retries: int = 3) -> Any:
        """An actor that takes no CPU from trials; restarted, and asked again, when its process dies."""
        remote: Any = ray.remote(kind)
        options = {"num_cpus": 0, "max_restarts": restarts, "max_task_retries": retries, "name": self._name(role)}
        actor = remote.options(**options).remote(*arguments)
        self._started.append(actor)
        return actor


async def answer(call: Any) -> Any:
    """Await an actor's answer; who stops waiting takes the question back.

    Raises:
        UsageError: the actor says so, or its process is gone for good.
        NoProposal: the actor's agent says so.
    """
    try:
        return await call
    except asyncio.CancelledError:
        if ray.is_initialized():
            ray.cancel(call)
        raise
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, UsageError | NoProposal):
            raise cause from None
        if isinstance(cause, ray.exceptions.RayActorError):
            raise UsageError(_GONE) from error
        raise
    except ray.exceptions.RayActorError as error:
        raise UsageError(_GONE) from error

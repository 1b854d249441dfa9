"""The campaign's actors: started together, asked, ended together."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from agents.llm.prices import prices_of
from agents.protocols import Proposer
from agents.purse import PurseState
from agents.telling import one_line
from cognition.reader import NoLineage
from cognition.records import Candidate, Charge, LlmCall, Metric, Trial
from orchestrator import actors, engine_actor, placement
from orchestrator.cluster import Cluster
from orchestrator.config import Settings
from orchestrator.early_stopping.recalled import Recalled
from orchestrator.errors import UsageError
from orchestrator.gates import Examiners
from orchestrator.pools import GATE
from orchestrator.run_folder import RunFolder
from orchestrator.tracking import Tracker

if TYPE_CHECKING:
    from orchestrator.board import RunningTrial

T = TypeVar("T")

INBOX = "inbox"  # in the run folder
_CLOSE_S = 10.0
_ANSWER_S = 10.0  # for which an actor that answers at once is waited for: whoever asks has the campaign to watch
_MOST_REBUILDS = 3  # of the engine, with no trial finished in between


class EngineLost(Exception):
    """The trial engine has ended, with what it had under way."""


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
        folder: RunFolder,
        proposers: Mapping[str, Proposer],
        past: Callable[[], Recalled],
        corpus: str,
    ) -> None:
        """`state`: what the purse has to remember; `recording`: the replies of a transcript; `past`: for engines;
        `corpus`: digest of the text that trials have to find."""
        settings = replace(settings, checkpoints=settings.checkpoints_of(folder.place))
        self._settings, self._folder, self._proposers = settings, folder, dict(proposers)
        self._started: list[Any] = []
        self._prefix = f"{settings.campaign.name}-{uuid.uuid4().hex[:8]}"
        self._recording = tuple(recording)
        self._past = past
        self._others = placement.groups_of_this_job()  # of whoever uses this Ray beside the campaign
        self._former: list[Any] = []  # engines that ended
        self._late_ones: dict[str, asyncio.Future[Any]] = {}
        self._tracker: asyncio.Future[Tracker] | None = None
        self._draining = False
        self._generation = 0  # of the engine
        self._rebuilt = 0  # generations in a row without a finished trial
        self.engine = self._engine(past())
        self.examiners = Examiners([self._examiner(index) for index in range(cluster.num_gates)])
        self.ledger = self._host(
            "ledger",
            actors.LedgerActor,
            *(settings.budget.limits, settings.llm, prices_of(settings.llm), settings.seed, state),
            restarts=0,
            retries=0,
        )
        self.engineer = self._host(
            "engineer",
            actors.EngineerActor,
            *(self._name("engine"), corpus),
            *self._agents_arguments,
        )

    async def researcher(self) -> Any:
        return await self._late("researcher", actors.ResearcherActor, *self._agents_arguments)

    async def judge(self) -> Any:
        return await self._late("judge", actors.JudgeActor, self._name("ledger"), self._settings, self._recording)

    async def analyst(self) -> Any:
        return await self._late("analyst", actors.AnalystActor, self._name("ledger"), self._settings, self._recording)

    async def librarian(self) -> Any:
        return await self._late("librarian", actors.LibrarianActor, self._name("ledger"), self._settings)

    async def track(self, candidate: Candidate, trial: Trial, curve: Sequence[Metric]) -> None:
        """Tell W&B, or whoever watches the runs."""
        if self._tracker is None:
            self._tracker = asyncio.ensure_future(
                _in_thread(lambda: Tracker.start(self._settings.tracking, self._folder))
            )
        (await asyncio.shield(self._tracker)).trial(candidate, trial, curve)

    async def running(self) -> Sequence[RunningTrial]:
        """The trials that hold a slot; none where the engine cannot be reached. Raises EngineLost when it has ended."""
        try:
            running: Sequence[RunningTrial] = await _soon(self.engine.running.remote())
        except ray.exceptions.ActorDiedError as error:
            raise EngineLost(str(error)) from None
        except (ray.exceptions.RayError, TimeoutError):
            return ()
        return running

    def trial_finished(self) -> None:
        """The engine works."""
        self._rebuilt = 0

    def _engine(self, past: Recalled) -> Any:
        role = engine_actor.generation_name("engine", self._generation)
        return self._host(role, engine_actor.TrialEngineActor, self._settings, past, restarts=0, retries=0)

    async def rebuild(self, why: str) -> None:
        """Another engine in place of one that ended; its trials are asked for again by those who wait for them.

        Not left to Ray: what a dead actor had set aside for its trials stays with the job, and would starve the next.

        Raises:
            UsageError: engine after engine ended, with no trial finished in between.
        """
        if self._rebuilt >= _MOST_REBUILDS:
            raise UsageError(
                f"the trial engine ended {1 + self._rebuilt} times in a row without a finished trial, the last because "
                f"of {one_line(why, 300)}: look at Ray's logs; the same command goes on"
            )
        try:
            past = self._past()
        except (OSError, NoLineage):  # the store is away: at the next look
            return
        self._rebuilt += 1
        self._generation += 1
        self._former.append(self.engine)  # Ray forgets the name of an actor that nobody holds
        self._started.remove(self.engine)
        await _in_thread(lambda: placement.remove(placement.groups_of_this_job() - self._others))
        self.engine = await _in_thread(lambda: self._engine(past))
        if self._draining:
            self.engine.drain.remote()

    def _examiner(self, index: int) -> Any:
        pool = self._settings.pools[GATE]
        return self._host(f"examiner-{index}", actors.ExaminerActor, self._settings.sandbox, cpus=pool.cpus)

    async def drain(self) -> None:
        """No more trials are handed out; those that hold a slot go on."""
        self._draining = True
        with contextlib.suppress(ray.exceptions.RayError, TimeoutError):
            await _soon(self.engine.drain.remote())

    async def num_open_calls(self) -> int:
        """Calls of models that wait for an answer."""
        try:
            num: int = await _soon(self.ledger.num_open.remote())
        except (ray.exceptions.RayError, TimeoutError):
            return 0
        return num

    async def book(self, charge: Charge) -> None:
        """Charge an attempt whose end nobody answers for; without a ledger, it is booked when the campaign ends."""
        with contextlib.suppress(ray.exceptions.RayError, TimeoutError):
            await _soon(self.ledger.book.remote(charge))

    def end(self, *, head_lost: bool = False) -> None:
        """End them, and with the trial engine its trials; without the cluster's head, by asking each itself.

        The engine is closed before it is killed: a killed actor's placement groups would stay until the whole Ray job
        ends, and its scratch folder for good. Those of one that takes too long to close are removed here.
        """
        if self._tracker is not None and self._tracker.done() and not head_lost:
            self._tracker.result().close()
        closed = False
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self.engine.close.remote(), timeout=_CLOSE_S)
            closed = True
        for actor in reversed(self._started):
            if head_lost:
                actor.__ray_terminate__.remote()
            else:
                ray.kill(actor)
        if not closed and not head_lost:
            with contextlib.suppress(ray.exceptions.RayError):
                placement.remove(placement.groups_of_this_job() - self._others)

    async def _late(self, role: str, kind: type[Any], *arguments: Any) -> Any:
        """An actor from when it is first asked for."""
        if role not in self._late_ones:
            self._late_ones[role] = asyncio.ensure_future(_in_thread(lambda: self._host(role, kind, *arguments)))
        return await asyncio.shield(self._late_ones[role])

    @property
    def inbox(self) -> Path:
        """Where people find briefs and leave answers."""
        return (self._folder.scratch / INBOX).resolve()

    @property
    def _agents_arguments(self) -> tuple[Any, ...]:
        """What those who write candidates are started with."""
        return (self._name("ledger"), self._settings, self._recording, self.inbox, self._proposers)

    def _name(self, role: str) -> str:
        return f"{self._prefix}-{role}"

    def _host(
        self, role: str, kind: type[Any], *arguments: Any, restarts: int = -1, retries: int = 3, cpus: float = 0
    ) -> Any:
        """An actor that takes no CPU from trials unless told; restarted, and asked again, when its process dies.

        Those that take none live on the driver's node: a node that is lost takes trials along, not the ledger.
        """
        remote: Any = ray.remote(kind)
        options: dict[str, Any] = {
            "num_cpus": cpus,
            "max_restarts": restarts,
            "max_task_retries": retries,
            "name": self._name(role),
        }
        if not cpus:
            here = ray.get_runtime_context().get_node_id()
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id=here, soft=False)
        actor = remote.options(**options).remote(*arguments)
        self._started.append(actor)
        return actor


async def _soon(call: Any) -> Any:
    """What an actor answers. Raises TimeoutError where it does not."""
    async with asyncio.timeout(_ANSWER_S):
        return await call


async def _in_thread(ask: Callable[[], T]) -> T:
    """What Ray answers that asks the cluster's head: where that is gone, nothing else would run in this loop.

    The thread is its own, and a daemon: those of asyncio are waited for at the end.
    """
    found: concurrent.futures.Future[T] = concurrent.futures.Future()
    found.set_running_or_notify_cancel()

    def work() -> None:
        try:
            found.set_result(ask())
        except BaseException as error:  # noqa: BLE001  whoever waits is told
            found.set_exception(error)

    threading.Thread(target=work, name="asks-ray", daemon=True).start()
    return await asyncio.wrap_future(found)

"""A campaign: the composition root, from claiming its folder to its result.

from orchestrator.campaign import Campaign
campaign = Campaign.compose("+campaign=linear_attn", "scale=tiny")
result = campaign.run()
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from agents.protocols import Proposer
from agents.purse import PurseState, unanswered_in
from cognition.records import Record
from models.data import load_corpus, require_enough
from models.sandbox.layer import Layer
from orchestrator.arms import arm_named
from orchestrator.books import Books
from orchestrator.burn import Plan
from orchestrator.charges import Starts, last_sign, look_again_s, lost
from orchestrator.climbing import Climbing
from orchestrator.cluster import Cluster, check_address, connect, disconnect
from orchestrator.cognition_base import CognitionBase
from orchestrator.cognition_settings import known_at_first
from orchestrator.config import Settings, compose, settings_from
from orchestrator.early_stopping.settings import NONE
from orchestrator.embedding import RemoteSource
from orchestrator.errors import BudgetReached, UsageError
from orchestrator.facts import facts_of, in_words
from orchestrator.flow import FIXED_LOOK_AHEAD, Flow
from orchestrator.head import until_lost
from orchestrator.language import recording_of
from orchestrator.lease import HEARTBEAT_S
from orchestrator.look_ahead import LookAhead
from orchestrator.population import Population
from orchestrator.prediction import latest
from orchestrator.result import Result, View
from orchestrator.rows import FINISHED, RESUMED, STARTED, STOPPED, STOPPING, Rows, event
from orchestrator.run_folder import RunFolder, fresh_path
from orchestrator.stopping import Ending, Halt, nearly_done, on_signals, users_error
from orchestrator.values import plain

if TYPE_CHECKING:
    from orchestrator.board import RunningTrial
    from orchestrator.steps import Steps

_HEADLESS_S = 5.0


class Campaign:
    """One campaign in one run folder, driven by this process.

    Raises:
        UsageError: from `compose` and `run`, for everything that is the user's to mend.
    """

    def __init__(
        self, settings: Settings, views: Sequence[View] = (), proposers: Mapping[str, Proposer] | None = None
    ) -> None:
        self.settings = settings
        self.proposers = dict(proposers or {})
        place = settings.run_folder
        self.folder = RunFolder(fresh_path(place) if settings.run.fresh else place)
        self.views = tuple(views)
        self.started_at = time.time()
        self._since = time.monotonic()
        self.halt = Halt()
        self._ending: Ending | None = None
        self.cluster: Cluster | None = None
        self.stopped_by: str | None = None
        self.fault = False
        self.layers: Sequence[Layer] = ()
        self._rows: Rows | None = None
        self._head_lost = False
        self._corpus = ""  # its digest

    @classmethod
    def compose(
        cls, *overrides: str, views: Sequence[View] = (), proposers: Mapping[str, Proposer] | None = None
    ) -> Campaign:
        """From Hydra overrides, as on the command line; `proposers` are arms of your own, by name."""
        return cls(settings_from(compose(overrides), proposers or ()), views, proposers)

    def run(self) -> Result:
        """Run to the end, or to a clean stop. Works beside a running event loop too (notebooks)."""
        self.started_at, self._since = time.time(), time.monotonic()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._run())
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="campaign") as thread:
            return thread.submit(asyncio.run, self._run()).result()

    async def _run(self) -> Result:
        on_signals(lambda name: self._signalled(name, None))  # heard between the steps of starting
        try:
            corpus = load_corpus(self.settings.data)
            for stage in self.settings.scale.stages:
                require_enough(corpus, stage, self.settings.data.seed)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self._corpus = corpus.digest
        self._known = known_at_first(self.settings.cognition, self.folder.folder)
        check_address(self.settings.cluster)
        self._recording = recording_of(self.settings.llm)
        self.folder.claim(plain(self.settings), facts_of(self.settings, corpus.digest), self.started_at)
        try:
            first, patience_s = self.settings.ladder.first.name, self.settings.flow.store_patience_s
            self._rows = Rows(self.folder.folder, self._tell, first, patience_s, confirm=self.folder.confirm)
            if await self._stopped_early():
                result = self._result()
            else:
                result = self._result(resumed_finished=True) if self.finished else await self._on_cluster()
            for view in self.views:
                view.ended(self, result)
            return result
        except BaseException:
            for view in self.views:
                view.failed()
            raise
        finally:
            if self._rows is not None:
                self._rows.close()
            self.folder.release()

    async def _on_cluster(self) -> Result:
        from orchestrator.crew import Crew

        first = self.settings.stages[self.settings.scale.stages[0].name].pool
        self.cluster = connect(self.settings.cluster, self.settings.pools, first, f"campaign-{uuid.uuid4().hex}")
        try:
            on_signals(lambda name: self._signalled(name, None))  # Ray has put its own in their place
            if await self._stopped_early():
                return self._result()
            self.flow = Flow(
                len(self.settings.campaign.founders),
                self._look_ahead(self.cluster.num_slots),
                deterministic=self.settings.deterministic,
                closed=self._closed(),
                num_desks=self._num_desks(),
            )
            self.rows.record(*unanswered_in(self.population.events, self.population.calls))
            self._book_lost(last_sign(self.population, self.folder.last_beat))
            state = PurseState(
                spent=self.population.spent(),
                rewards=tuple(self.population.rewards),
                paid=tuple(self.rows.answered_calls(self._closed())) if self.settings.llm.every_model else (),
            )
            stages = self.settings.stages.items()
            policies = {name: stage.stopping for name, stage in stages if stage.stopping.policy != NONE}
            self._crew = Crew(
                *(self.settings, self.cluster, state, self._recording, self.folder, self.proposers),
                past=lambda: self.rows.past(policies, len(self.settings.campaign.founders)),
                corpus=self._corpus,
            )
            self._books = Books(self._crew.ledger, self.rows)
            self._starts = Starts(self.settings, self.population)
            try:
                return await self._drive()
            finally:
                self._crew.end(head_lost=self._head_lost)
        finally:
            disconnect(self.cluster)

    async def _stopped_early(self) -> bool:
        """A signal came before anything was begun."""
        await asyncio.sleep(0)
        self.stopped_by = self.halt.reason
        return self.stopped_by is not None

    async def _drive(self) -> Result:
        from orchestrator.steps import Steps

        resumed = bool(self.population.candidates())
        self.layers = await self._crew.examiners.layers()
        self.rows.record(event(RESUMED if resumed else STARTED))
        self.rows.record(event("sandbox", detail=in_words(self.layers)))
        self.rows.record(Plan.of(self.settings, self.population).as_event())
        for view in self.views:
            view.started(self)
        self._books.start()
        base = CognitionBase(
            self.settings.cognition,
            self.rows,
            deterministic=self.settings.deterministic,
            source=RemoteSource(await self._crew.librarian()) if self.settings.llm.embedding.model else None,
        )
        await base.start(self._known, searched=any(arm_named(arm).reads for arm in self.settings.arms.drawn))
        steps = Steps(self.settings, self.rows, self.flow, self._crew, self._books, base, self.halt)
        main = asyncio.ensure_future(self._research(steps))
        watch = asyncio.ensure_future(self._watch(main))
        watch.add_done_callback(lambda _: _broken(watch) and main.cancel())  # nobody would hear of a stop any more
        head = asyncio.ensure_future(self._watch_head(main))
        on_signals(lambda name: self._signalled(name, main))
        try:
            await main
        except asyncio.CancelledError:
            if _broken(watch):
                watch.result()
            self.stopped_by, self.fault = self.halt.reason, self.halt.fault
            if self.stopped_by is None:
                raise
        except BaseExceptionGroup as group:
            self._failed(users_error(group))
        except UsageError as error:
            self._failed(error)
        finally:
            watch.cancel()
            head.cancel()
            self.rows.hurry()
            with contextlib.suppress(TimeoutError):  # without a head, the ledger may be out of reach
                await asyncio.wait_for(self._books.end(), _HEADLESS_S if self._head_lost else None)
        self._book_lost(time.time())
        if self.stopped_by is None:
            self.rows.record(event(FINISHED, detail=str(self.settings.budget.candidates)))
        else:
            self.rows.record(event(STOPPED, detail=self.stopped_by))
        try:
            await self.rows.on_disk()
        except UsageError as error:
            self.stopped_by = self.stopped_by or str(error)
        return self._result()

    async def _research(self, steps: Steps) -> None:
        """To the end, which is when the last rows are on disk."""
        from orchestrator.loop import research

        await research(steps)
        await self.rows.on_disk()

    async def _watch(self, main: asyncio.Future[None]) -> None:
        """Heartbeat, what runs, reasons to stop and progress, twice a second where no thousands of trials run."""
        from orchestrator.crew import EngineLost

        next_beat = 0.0
        while not main.done():
            if (now := time.monotonic()) > next_beat:
                self.folder.beat(time.time())
                next_beat = now + HEARTBEAT_S
            try:
                running = await self._crew.running()
            except EngineLost as error:
                await self._replace_engine(str(error))
                running = ()
            self.flow.look_again()
            self._heed()
            if self.halt.reason is not None and await self._ended(running):
                self._cut_off(main)
                return
            self.rows.record(*self._starts.new(running, time.time()))  # so that no attempt is lost without a charge
            for view in self.views:
                view.tick(self, running)
            await asyncio.sleep(look_again_s(len(running)))

    async def _watch_head(self, main: asyncio.Future[None]) -> None:
        assert self.cluster is not None
        why = await until_lost(self.cluster.head, self.settings.cluster.head_patience_s)
        self._head_lost = True
        self.halt.ask(why, at_once=True, fault=True)
        self._cut_off(main)  # at once: the watch may wait for an actor that cannot be reached

    def _signalled(self, name: str, main: asyncio.Future[None] | None) -> None:
        self.halt.signalled(name, time.monotonic())
        if self.halt.at_once and main is not None:
            self._cut_off(main)  # whatever the watch waits for

    def _failed(self, error: BaseException) -> None:
        """The research ended so; a limit that was reached is no fault."""
        self.stopped_by = str(error)
        self.fault = not isinstance(error, BudgetReached)

    def _cut_off(self, main: asyncio.Future[None]) -> None:
        self.rows.hurry()  # steps that are cut off wait for their rows
        main.cancel()

    def _heed(self) -> None:
        """Reasons to stop that nobody calls out."""
        budget = self.settings.budget
        if self.folder.asked_to_stop:
            self.halt.ask("stop request", at_once=self.folder.asked_to_stop_at_once)
        if (broken := self.folder.lost or self._books.broken or self.rows.broken) is not None:
            self.halt.ask(broken, at_once=True, fault=True)
        if budget.wall_s is not None and time.monotonic() - self._since > budget.wall_s:
            self.halt.ask(f"budget.wall={budget.wall} is used up: start again to go on, with a larger one if need be")

    async def _replace_engine(self, why: str) -> None:
        """Charge what a lost engine had under way, then build the next: what is reserved there comes on top of it."""
        if not self.rows.held:  # the watch never waits for the disk
            with contextlib.suppress(UsageError):  # heeded at the next look
                await self._books.caught_up()  # the charge of what had just ended may be on its way
        for start in self.population.unanswered():
            await self._crew.book(lost(start, time.time()))
        try:
            await self._crew.rebuild(why)
        except UsageError as error:
            self.halt.ask(str(error), at_once=True, fault=True)

    async def _ended(self, running: Sequence[RunningTrial]) -> bool:
        """There is a reason to stop, and nothing that is nearly done is waited for any more."""
        if self.halt.at_once:
            return True
        now = time.monotonic()
        if self._ending is None:
            await self._crew.drain()
            scale, grace_s = self.settings.scale, self.settings.flow.grace_s
            means = {stage.name: self.population.tallies.mean_slot_s(stage.name) for stage in scale.stages}
            self._ending = Ending(nearly_done(running, scale, means, grace_s), grace_s, now)
            waited = f"{len(self._ending.nearly_done)} of {len(running)} running trials are finished first"
            self.rows.record(event(STOPPING, detail=f"{self.halt.reason} ({waited})"))
        return self._ending.over(self.population, await self._crew.num_open_calls(), now)

    def _book_lost(self, until: float) -> None:
        """Charge what was under way and came to nothing."""
        self.rows.record(*(lost(start, until) for start in self.population.unanswered()))

    @property
    def elapsed_s(self) -> float:
        """Since this start."""
        return time.monotonic() - self._since

    @property
    def rows(self) -> Rows:
        assert self._rows is not None, "the store is open while the campaign runs"
        return self._rows

    @property
    def population(self) -> Population:
        return self.rows.population

    @property
    def finished(self) -> bool:
        """The end was recorded for a budget at least as large, and no row behind it was lost since."""
        ends = [int(event.detail) for event in self.population.events if event.kind == FINISHED]
        num = len(self.settings.campaign.founders) + self.settings.budget.candidates
        nothing_left = self._closed().issuperset(range(num))
        enough = bool(ends) and max(ends) >= self.settings.budget.candidates
        return enough and nothing_left and Climbing(self.settings, self.population).concluded()

    def _look_ahead(self, num_slots: int) -> int | LookAhead:
        flow = self.settings.flow
        if self.settings.deterministic:
            return flow.look_ahead or FIXED_LOOK_AHEAD
        trial_s = self.settings.scale.stages[0].expected_s
        return flow.look_ahead or LookAhead(num_slots, trial_s, flow.most_in_flight)

    def _num_desks(self) -> int:
        """A grammar proposes in milliseconds, at a desk for each gate; who thinks for minutes has one of its own."""
        assert self.cluster is not None
        slow = [arm for arm in self.settings.arms.drawn if arm_named(arm).reads]
        return (self.settings.flow.look_ahead or self.settings.flow.most_in_flight) if slow else self.cluster.num_gates

    def _closed(self) -> set[int]:
        return self.population.closed(self.settings.ladder.first.name, self.settings.may_repair)

    def _tell(self, record: Record) -> None:
        for view in self.views:
            view.recorded(self, record)

    def _result(self, *, resumed_finished: bool = False) -> Result:
        return Result(
            folder=self.folder.place,
            members=tuple(self.population.judged()),
            claims=tuple(self.population.verified.claims.values()),
            noise=tuple(self.population.verified.noise.values()),
            correlations=tuple(latest(self.population.correlations)),
            stages=tuple(stage.name for stage in self.settings.scale.stages),
            set_aside=self.rows.set_aside,
            spend=self.population.spent(),
            elapsed_s=self.elapsed_s,
            stopped_by=self.stopped_by,
            fault=self.fault,
            resumed_finished=resumed_finished,
        )


def _broken(task: asyncio.Future[None]) -> bool:
    """It has ended with an error."""
    return task.done() and not task.cancelled() and task.exception() is not None

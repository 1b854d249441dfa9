"""A campaign: the composition root, and the steps of the loop with their write-ahead and resume.

from orchestrator.campaign import Campaign
campaign = Campaign.compose("+campaign=linear_attn", "scale=tiny")
result = campaign.run()
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from agents.brief import Brief
from cognition.manifest import SetAside
from cognition.reader import Reader
from cognition.records import (
    RECORDS,
    Candidate,
    Claim,
    Event,
    Metric,
    Record,
    Report,
    Trial,
    Verdict,
    candidate_id_of,
    trial_id_of,
)
from cognition.store import Store
from models.data import load_corpus, require_enough
from models.scale import Stage
from models.slots import baseline_source
from models.trial import ExamJob
from orchestrator.briefing import brief_of, context_of, reference_of
from orchestrator.cluster import Cluster, check_address, connect, disconnect
from orchestrator.config import Settings, compose, plain, settings_from
from orchestrator.errors import UsageError
from orchestrator.facts import facts_of
from orchestrator.flow import Flow
from orchestrator.population import BASELINE_ARM, EXPLAINED, Population
from orchestrator.promotion import verified
from orchestrator.repetition import duplicate_by_source, with_nearest
from orchestrator.result import Result, View
from orchestrator.run_folder import HEARTBEAT_S, RunFolder, fresh_path
from orchestrator.stopping import on_signals, users_error

EXPLORE, VERIFY = "explore", "verify"
FINISHED = "campaign_finished"
STOPPED = "campaign_stopped"
_TICK_S = 0.5


class Campaign:
    """One campaign in one run folder, driven by this process.

    Raises:
        UsageError: from `compose` and `run`, for everything that is the user's to mend.
    """

    def __init__(self, settings: Settings, views: Sequence[View] = ()) -> None:
        self.settings = settings
        path = settings.run_folder
        self.folder = RunFolder(fresh_path(path) if settings.run.fresh else path)
        self.views = tuple(views)
        self.population = Population()
        self.started_at = time.time()
        self.cluster: Cluster | None = None
        self.set_aside: tuple[SetAside, ...] = ()
        self.stopped_by: str | None = None
        self._founders = settings.campaign.founder_names()
        self._store: Store | None = None

    @classmethod
    def compose(cls, *overrides: str, views: Sequence[View] = ()) -> Campaign:
        """From Hydra overrides, as on the command line."""
        return cls(settings_from(compose(overrides)), views)

    # ---- from start to end ------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Run to the end, or to a clean stop. Works beside a running event loop too (notebooks)."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._run())
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="campaign") as thread:
            return thread.submit(asyncio.run, self._run()).result()

    async def _run(self) -> Result:
        try:
            corpus = load_corpus(self.settings.data)
            for stage in self.settings.scale.stages:
                require_enough(corpus, stage, self.settings.data.seed)
        except ValueError as error:
            raise UsageError(str(error)) from error
        check_address(self.settings.cluster)
        self.folder.claim(plain(self.settings), facts_of(self.settings, corpus.digest), self.started_at)
        try:
            self._open_store()
            result = self._result(resumed_finished=True) if self.finished else await self._on_cluster()
            for view in self.views:
                view.ended(self, result)
            return result
        except BaseException:
            for view in self.views:
                view.failed()
            raise
        finally:
            if self._store is not None:
                self._store.close()
            self.folder.release()

    async def _on_cluster(self) -> Result:
        from orchestrator.crew import Crew

        self.cluster = connect(self.settings.cluster, namespace=f"campaign-{uuid.uuid4().hex}")
        try:
            self.flow = Flow(
                len(self._founders),
                self.settings.flow.look_ahead or self.cluster.num_slots + 2,
                deterministic=self.settings.deterministic,
                closed=self.population.closed(self.may_repair),
            )
            self._crew = Crew(self.settings, self.cluster, self.population.spent(), self.folder.path)
            try:
                return await self._drive()
            finally:
                self._crew.end()
        finally:
            disconnect(self.cluster)

    async def _drive(self) -> Result:
        from orchestrator.loop import research

        resumed = bool(self.population.candidates())
        self.record(self._event("campaign_resumed" if resumed else "campaign_started"))
        for view in self.views:
            view.started(self)
        main = asyncio.ensure_future(research(self))
        watch = asyncio.ensure_future(self._watch(main))
        on_signals(lambda name: self._stop(main, name))
        try:
            await main
        except asyncio.CancelledError:
            if self.stopped_by is None:
                raise
        except BaseExceptionGroup as group:
            self.stopped_by = str(users_error(group))
        except UsageError as error:
            self.stopped_by = str(error)
        finally:
            watch.cancel()
        if self.stopped_by is None:
            self.record(self._event(FINISHED, detail=str(self.settings.budget.candidates)))
        else:
            self.record(self._event(STOPPED, detail=self.stopped_by))
        return self._result()

    async def _watch(self, main: asyncio.Future[None]) -> None:
        """Heartbeat, requests to stop and progress, twice a second."""
        next_beat = 0.0
        while not main.done():
            now = time.time()
            if now > next_beat:
                self.folder.beat(now)
                next_beat = now + HEARTBEAT_S
            if self.folder.asked_to_stop:
                self._stop(main, "stop request")
            running = await self._crew.running()
            for view in self.views:
                view.tick(self, running)
            await asyncio.sleep(_TICK_S)

    def _stop(self, main: asyncio.Future[None], why: str) -> None:
        self.stopped_by = self.stopped_by or why
        main.cancel()

    # ---- the steps of the loop --------------------------------------------------------------------------------

    def numbers(self) -> Iterable[int]:
        """What is left to do: the founders, then one number for each candidate of the budget."""
        return self.flow.numbers(self.num_numbers)

    async def turn(self, number: int) -> None:
        """Wait until this number may start."""
        await self.flow.turn(number)
        self._check_wall()

    def close(self, number: int) -> None:
        self.flow.close(number)

    def last_attempt(self, number: int) -> tuple[Candidate | None, Report | None]:
        """Where an earlier start left this number; nothing where the candidate's row was lost, so it is made again."""
        candidate, report = self.population.last_attempt(number)
        if candidate is None:
            return None, None
        if report is not None:
            candidate = dataclasses.replace(candidate, number=number, attempt=report.attempt)
        return candidate, report

    async def propose(self, number: int) -> Candidate:
        attempt = 1 + max((report.attempt for report in self.population.reports(number)), default=-1)
        if number < len(self._founders):
            return self._admit(self._founder(number, attempt))
        brief = self._brief(number, attempt)
        self._intend(f"propose/{number}")
        return self._admit(await self._answer(self._crew.researcher.propose.remote(brief)))

    async def repair(self, candidate: Candidate, report: Report) -> Candidate:
        brief = self._brief(candidate.number, attempt=report.attempt + 1)
        self._intend(f"repair/{candidate.number}/{report.attempt + 1}")
        return self._admit(await self._answer(self._crew.engineer.repair.remote(candidate, report, brief)))

    def may_repair(self, report: Report) -> bool:
        return report.number >= len(self._founders) and report.attempt < self.settings.flow.max_repairs

    async def examine(self, candidate: Candidate) -> Report:
        """Novelty by source, the executed gate, novelty by behaviour: in order of cost."""
        report = duplicate_by_source(candidate, self.population, now=time.time())
        if report is None:
            stage = self._stage(EXPLORE)
            job = ExamJob(
                candidate_id=candidate.candidate_id,
                number=candidate.number,
                attempt=candidate.attempt,
                source=candidate.source,
                slot=candidate.slot,
                size=stage.size,
                length=stage.length,
                deadline_s=self.settings.flow.gate_deadline_s,
            )
            examined = await self._answer(self._crew.examiner.examine.remote(job))
            threshold = None if candidate.number < len(self._founders) else self.settings.flow.duplicate_distance
            report = with_nearest(examined, self.population, threshold)
        self.record(report)
        return report

    async def explore(self, candidate: Candidate) -> tuple[Trial, ...]:
        """Train at the exploration stage; baselines with extra seeds, from which the noise is measured."""
        stage = self._stage(EXPLORE)
        seeds = stage.seeds
        if candidate.arm == BASELINE_ARM:
            first = max(seeds) + 1
            seeds = (*seeds, *range(first, first + self.settings.campaign.noise_seeds))
        trials = await self._train(candidate, stage, seeds)
        self.flow.explored(candidate.number)
        return tuple(trial for trial in trials if trial.seed in stage.seeds)

    async def verify(self, candidate: Candidate) -> tuple[Trial, ...]:
        stage = self._stage(VERIFY)
        return await self._train(candidate, stage, stage.seeds)

    async def assess(self, candidate: Candidate, report: Report, trials: tuple[Trial, ...]) -> Verdict:
        earlier = self.population.verdict(candidate.candidate_id)
        if earlier is not None:
            return earlier
        await self.flow.founder()
        reference = reference_of(self.population, self._stage(EXPLORE))
        verdict: Verdict = await self._answer(self._crew.judge.assess.remote(candidate, report, trials, reference))
        verdict = dataclasses.replace(verdict, created_at=time.time())
        self.record(verdict)
        return verdict

    async def explain(self, candidate: Candidate, trials: tuple[Trial, ...], verdict: Verdict) -> None:
        if self.population.explained(candidate.candidate_id):
            return
        await self.flow.all_founders()
        horizon = self.flow.horizon(candidate.number)
        context = context_of(self.population, candidate, self._stage(EXPLORE), len(self._founders), horizon)
        insights = await self._answer(self._crew.analyst.explain.remote(candidate, trials, verdict, context))
        known = {insight.insight_id for insight in self.population.insights}
        new = [insight for insight in insights if insight.insight_id not in known]
        self.record(
            *(dataclasses.replace(insight, created_at=time.time()) for insight in new),
            self._event(EXPLAINED, subject=candidate.candidate_id),
        )

    def claim(self, *claims: Claim) -> None:
        known = {(claim.candidate_id, claim.baseline_id, claim.stage) for claim in self.population.claims}
        new = [claim for claim in claims if (claim.candidate_id, claim.baseline_id, claim.stage) not in known]
        self.record(*(dataclasses.replace(claim, created_at=time.time()) for claim in new))

    async def _train(self, candidate: Candidate, stage: Stage, seeds: Sequence[int]) -> tuple[Trial, ...]:
        async with asyncio.TaskGroup() as trials:
            tasks = [trials.create_task(self._train_once(candidate, stage, seed)) for seed in seeds]
        return tuple(task.result() for task in tasks)

    async def _train_once(self, candidate: Candidate, stage: Stage, seed: int) -> Trial:
        done = self.population.trial(candidate.candidate_id, stage.name, seed)
        if done is not None:
            return done
        self._check_wall()
        self._intend(f"train/{trial_id_of(candidate.candidate_id, stage.name, seed)}")
        trial: Trial
        (trial,) = await self._answer(self._crew.engineer.train.remote(candidate, stage.name, (seed,)))
        curve = await self._crew.curve(trial.trial_id)
        self.record(trial, *curve)
        self._crew.tracker.trial(candidate, trial, curve)
        return trial

    async def _answer(self, call: Any) -> Any:
        from orchestrator.crew import answer

        return await answer(call)

    def _brief(self, number: int, attempt: int) -> Brief:
        return brief_of(self.settings, self.population, number, attempt, self.flow.horizon(number))

    def _founder(self, number: int, attempt: int) -> Candidate:
        source = baseline_source(self.settings.campaign.slot, self._founders[number])
        return Candidate(
            candidate_id=candidate_id_of(source),
            number=number,
            attempt=attempt,
            arm=BASELINE_ARM,
            slot=self.settings.campaign.slot,
            name=self._founders[number],
            motivation="baseline",
            source=source,
        )

    def _stage(self, name: str) -> Stage:
        return self.settings.scale.stage(name)

    def _check_wall(self) -> None:
        limit = self.settings.budget.wall_hours
        if limit is not None and time.time() - self.started_at > limit * 3600:
            raise UsageError(
                f"budget.wall_hours={limit:g} is used up: start again to go on, with a larger one if need be"
            )

    # ---- rows -------------------------------------------------------------------------------------------------

    @property
    def num_numbers(self) -> int:
        return len(self._founders) + self.settings.budget.candidates

    @property
    def finished(self) -> bool:
        """The end was recorded for a budget at least as large, and no row behind it was lost since."""
        ends = [int(event.detail) for event in self.population.events if event.kind == FINISHED]
        nothing_left = self.population.closed(self.may_repair).issuperset(range(self.num_numbers))
        done = verified(self.population, self._stage(VERIFY), self.settings.campaign.verify_best)
        return bool(ends) and max(ends) >= self.settings.budget.candidates and nothing_left and done

    def record(self, *records: Record) -> None:
        """One durable commit; then everybody knows."""
        if not records:
            return
        assert self._store is not None
        self._store.append(*records)
        for record in records:
            self.population.add(record)
            for view in self.views:
                view.recorded(self, record)

    def _open_store(self) -> None:
        try:
            self._store = Store.open(self.folder.path)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.set_aside = self._store.set_aside
        reader = Reader(self.folder.path)
        self.population = Population(record for kind in RECORDS if kind is not Metric for record in reader.rows(kind))

    def _admit(self, candidate: Candidate) -> Candidate:
        candidate = dataclasses.replace(candidate, created_at=time.time())
        if self.population.candidate(candidate.candidate_id) is None:  # an exact duplicate gets a report, not a row
            self.record(candidate)
        return candidate

    def _intend(self, subject: str) -> None:
        self.record(self._event("intent", subject=subject))

    def _event(self, kind: str, subject: str = "", detail: str = "") -> Event:
        return Event(event_id=uuid.uuid4().hex, kind=kind, subject=subject, detail=detail, created_at=time.time())

    def _result(self, *, resumed_finished: bool = False) -> Result:
        return Result(
            folder=self.folder.path,
            members=tuple(self.population.judged()),
            claims=tuple(self.population.claims),
            set_aside=self.set_aside,
            spend=self.population.spent(),
            elapsed_s=time.time() - self.started_at,
            stopped_by=self.stopped_by,
            resumed_finished=resumed_finished,
        )

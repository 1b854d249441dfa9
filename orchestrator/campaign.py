"""A campaign: the composition root, and the steps of the loop with their write-ahead and resume.

    from orchestrator.campaign import Campaign
    campaign = Campaign.compose("+campaign=linear_attn", "scale=tiny")
    result = campaign.run()
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from agents.analyst import Context, Noise
from agents.brief import Brief, Member
from agents.ledger import Cost, Limits, Spend
from cognition.novelty import nearest, same_behaviour
from cognition.reader import Reader
from cognition.records import (
    RECORDS,
    Candidate,
    Claim,
    Event,
    FailureKind,
    Metric,
    Record,
    Report,
    ReportKind,
    Trial,
    TrialStatus,
    Verdict,
    candidate_id_of,
)
from cognition.statistics import pooled_std
from cognition.store import Store
from models.data import load_corpus
from models.scale import Stage
from models.slots import SLOTS, baseline_source
from models.trial import ExamJob
from orchestrator import cluster as ray_cluster
from orchestrator.config import Settings, compose, plain, settings_from
from orchestrator.errors import UsageError
from orchestrator.facts import facts_of
from orchestrator.population import BASELINE_ARM, EXPLAINED, Population
from orchestrator.run_folder import HEARTBEAT_S, RunFolder, fresh_path
from orchestrator.selection import rule_of

EXPLORE, VERIFY = "explore", "verify"
FINISHED = "campaign_finished"
STOPPED = "campaign_stopped"


class View(Protocol):
    """What watches a campaign: the terminal, a test, a notebook."""

    def started(self, campaign: Campaign) -> None: ...

    def recorded(self, campaign: Campaign, record: Record) -> None: ...

    def tick(self, campaign: Campaign, running: Sequence[Any]) -> None: ...

    def ended(self, campaign: Campaign, result: Result) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a campaign's start ended. `stopped_by` is None when it came to its end."""

    folder: Path
    members: tuple[Member, ...]
    claims: tuple[Claim, ...]
    spend: tuple[Spend, ...]
    elapsed_s: float
    stopped_by: str | None = None
    resumed_finished: bool = False


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
        self.slot = SLOTS[settings.campaign.slot]
        self.started_at = time.time()
        self.cluster: ray_cluster.Cluster | None = None
        self.stopped_by: str | None = None
        self.set_aside: tuple[str, ...] = ()
        self._founders = settings.campaign.founder_names()
        self._select = rule_of(settings.selection)
        self._closed: set[int] = set()
        self._open: set[int] = set()
        self._something_closed = asyncio.Event()
        self._founder_explored = [asyncio.Event() for _ in self._founders]
        self.desk = asyncio.Semaphore(1)

    @classmethod
    def compose(cls, *overrides: str, views: Sequence[View] = ()) -> Campaign:
        """From Hydra overrides, as on the command line."""
        return cls(settings_from(compose(overrides)), views)

    # ---- running ----------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Run to the end, or to a clean stop. Works beside a running event loop too (notebooks)."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._run())
        import threading

        outcome: list[Result | BaseException] = []

        def in_thread() -> None:
            try:
                outcome.append(asyncio.run(self._run()))
            except BaseException as error:  # noqa: BLE001  # handed to the caller's thread below
                outcome.append(error)

        thread = threading.Thread(target=in_thread, name="campaign")
        thread.start()
        thread.join()
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    async def _run(self) -> Result:
        from orchestrator.loop import research

        corpus = load_corpus(self.settings.data)
        config = plain(self.settings)
        self.folder.claim(config, facts_of(self.settings, corpus.digest), self.started_at)
        try:
            self._open_store()
            finished_before = self.finished
            if finished_before:
                result = self._result(resumed_finished=True)
            else:
                self.cluster = ray_cluster.connect(self.settings.cluster, namespace=f"campaign-{uuid.uuid4().hex}")
                try:
                    self._start_actors()
                    try:
                        result = await self._drive(research)
                    finally:
                        self._end_actors()
                finally:
                    ray_cluster.disconnect(self.cluster)
            for view in self.views:
                view.ended(self, result)
            return result
        finally:
            if hasattr(self, "_store"):
                self._store.close()
            self.folder.release()

    async def _drive(self, research: Callable[[Campaign], Any]) -> Result:
        resumed = bool(self.population.candidates())
        self.record(self._event("campaign_resumed" if resumed else "campaign_started"))
        for view in self.views:
            view.started(self)
        main = asyncio.ensure_future(research(self))
        watch = asyncio.ensure_future(self._watch(main))
        _on_signals(lambda name: self._stop(main, name))
        try:
            await main
        except asyncio.CancelledError:
            if self.stopped_by is None:
                raise
        except BaseExceptionGroup as group:
            expected, other = group.split(UsageError)
            if other is not None:
                raise other from None
            assert expected is not None
            self.stopped_by = str(_first(expected))
        finally:
            watch.cancel()
        if self.stopped_by is None:
            self.record(self._event(FINISHED, detail=str(self.settings.budget.candidates)))
        else:
            self.record(self._event(STOPPED, detail=self.stopped_by))
        return self._result(spend=tuple(await self._ledger.spent.remote()))

    async def _watch(self, main: asyncio.Future[Any]) -> None:
        """Heartbeat, requests to stop, wall clock and progress, a few times a second."""
        next_beat = 0.0
        while not main.done():
            now = time.time()
            if now > next_beat:
                self.folder.beat(now)
                next_beat = now + HEARTBEAT_S
            if self.folder.asked_to_stop:
                self._stop(main, "stop request")
            running = await self._engine.running.remote()
            for view in self.views:
                view.tick(self, running)
            await asyncio.sleep(0.5)

    def _stop(self, main: asyncio.Future[Any], why: str) -> None:
        self.stopped_by = self.stopped_by or why
        main.cancel()

    def _open_store(self) -> None:
        self._store = Store.open(self.folder.path)
        self.set_aside = tuple(str(fragment) for fragment in self._store.set_aside)
        reader = Reader(self.folder.path)
        self.population = Population(
            record for kind in RECORDS if kind is not Metric for record in reader.rows(kind)
        )
        for number in range(self.num_numbers):
            candidate, report = self.population.last_attempt(number)
            explained = candidate is not None and self.population.explained(candidate.candidate_id)
            if explained or (report is not None and report.refused and not self.may_repair(report)):
                self._closed.add(number)

    def _start_actors(self) -> None:
        from orchestrator import actors
        from orchestrator.tracking import Tracker

        settings = self.settings
        assert self.cluster is not None
        self._engine = actors.TrialEngineActor.remote(settings.cluster.cpus_per_trial, self.cluster.num_slots)
        self._examiner = actors.ExaminerActor.remote()
        limits = Limits(
            usd=settings.budget.usd, slot_hours=settings.budget.slot_hours
        )
        self._ledger = actors.LedgerActor.remote(limits, self._spent_before())
        self._researcher = actors.ResearcherActor.remote()
        self._engineer = actors.EngineerActor.remote(self._engine, self._ledger, settings.scale, settings.data)
        self._judge = actors.JudgeActor.remote(settings.fitness)
        self._analyst = actors.AnalystActor.remote()
        self._tracker = Tracker.start(settings.tracking, self.folder.path)

    def _end_actors(self) -> None:
        self._tracker.close()
        ray_cluster.end(
            self._engine, self._examiner, self._ledger, self._researcher, self._engineer, self._judge, self._analyst
        )

    def _spent_before(self) -> tuple[Spend, ...]:
        return tuple(
            Spend(
                account=f"{trial.stage}/{self._candidate(trial.candidate_id).arm}",
                settled=Cost(slot_hours=trial.slot_s / 3600),
                num_settled=1,
            )
            for trial in self.population.trials()
        )

    # ---- order ------------------------------------------------------------------------------------------------

    @property
    def num_numbers(self) -> int:
        return len(self._founders) + self.settings.budget.candidates

    def numbers(self) -> Iterator[int]:
        """Numbers that are not closed yet: the founders, then one for each candidate of the budget."""
        return (number for number in range(self.num_numbers) if number not in self._closed)

    @property
    def num_open(self) -> int:
        """Numbers in flight."""
        return len(self._open)

    @property
    def look_ahead(self) -> int:
        slots = self.cluster.num_slots if self.cluster else 1
        return self.settings.flow.look_ahead or slots + 2

    async def turn(self, number: int) -> None:
        """Wait until this number may start; look-ahead keeps slots busy without proposing blindly far ahead.

        In deterministic mode a number starts only when all that are `look_ahead` or more below it are closed, so that
        what its proposal may see does not depend on the clock.
        """
        while number >= len(self._founders) and not self._may_start(number):
            self._something_closed.clear()
            await self._something_closed.wait()
        self._check_wall()
        self._open.add(number)

    def _may_start(self, number: int) -> bool:
        if self.settings.deterministic:
            return all(below in self._closed for below in range(number - self.look_ahead + 1))
        return len(self._open) < self.look_ahead

    def _check_wall(self) -> None:
        limit = self.settings.budget.wall_hours
        if limit is not None and time.time() - self.started_at > limit * 3600:
            raise UsageError(f"budget.wall_hours={limit:g} is used up: start again with a larger one to go on")

    def close(self, number: int) -> None:
        self._closed.add(number)
        self._open.discard(number)
        if number < len(self._founders):
            self._founder_explored[number].set()
        self._something_closed.set()

    def _horizon(self, number: int) -> int | None:
        """The highest number that this one may know of; None: all that is finished."""
        return number - self.look_ahead if self.settings.deterministic else None

    # ---- the steps of the loop --------------------------------------------------------------------------------

    def last_attempt(self, number: int) -> tuple[Candidate | None, Report | None]:
        """Where an earlier start left this number."""
        candidate, report = self.population.last_attempt(number)
        if candidate is not None and report is not None:
            candidate = dataclasses.replace(candidate, number=number, attempt=report.attempt)
        return candidate, report

    async def propose(self, number: int) -> Candidate:
        if number < len(self._founders):
            candidate = self._founder(number)
        else:
            brief = self._brief(number, attempt=0)
            self._intend(f"propose/{number}")
            candidate = await self._researcher.propose.remote(brief)
        return self._admit(candidate)

    async def repair(self, candidate: Candidate, report: Report) -> Candidate:
        brief = self._brief(candidate.number, attempt=report.attempt + 1)
        self._intend(f"repair/{candidate.number}/{report.attempt + 1}")
        return self._admit(await self._engineer.repair.remote(candidate, report, brief))

    def may_repair(self, report: Report) -> bool:
        return report.number >= len(self._founders) and report.attempt < self.settings.flow.max_repairs

    async def examine(self, candidate: Candidate) -> Report:
        """Novelty by source, the executed gate, novelty by behaviour: in order of cost."""
        earlier = self.population.candidate(candidate.candidate_id)
        if earlier is not None and (earlier.number, earlier.attempt) != (candidate.number, candidate.attempt):
            report = Report(
                candidate_id=candidate.candidate_id,
                number=candidate.number,
                attempt=candidate.attempt,
                kind=ReportKind.duplicate,
                detail=f"same source as candidate {earlier.number} ({earlier.name})",
                nearest_id=earlier.candidate_id,
                nearest_distance=0.0,
                created_at=time.time(),
            )
        else:
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
            report = self._with_nearest(await self._examiner.examine.remote(job))
        self.record(report)
        return report

    def _with_nearest(self, report: Report) -> Report:
        if report.refused:
            return report
        found = nearest(report.fingerprint, {other.candidate_id: other.fingerprint for other in self.population.passed()})
        if found is None:
            return report
        report = dataclasses.replace(report, nearest_id=found.candidate_id, nearest_distance=found.distance)
        is_founder = report.number < len(self._founders)
        if is_founder or not same_behaviour(found, threshold=self.settings.flow.duplicate_distance):
            return report
        neighbour = self._candidate(found.candidate_id)
        return dataclasses.replace(
            report,
            kind=ReportKind.duplicate,
            detail=f"behaves as candidate {neighbour.number} ({neighbour.name}): distance {found.distance:.1e}",
        )

    async def explore(self, candidate: Candidate) -> tuple[Trial, ...]:
        """Train at the exploration stage; baselines with extra seeds, from which the noise is measured."""
        stage = self._stage(EXPLORE)
        seeds = stage.seeds
        if candidate.arm == BASELINE_ARM:
            first = max(seeds) + 1
            seeds = (*seeds, *range(first, first + self.settings.campaign.noise_seeds))
        trials = await self._train(candidate, stage, seeds)
        if candidate.number < len(self._founders):
            self._founder_explored[candidate.number].set()
        return tuple(trial for trial in trials if trial.seed in stage.seeds)

    async def verify(self, candidate: Candidate) -> tuple[Trial, ...]:
        stage = self._stage(VERIFY)
        return await self._train(candidate, stage, stage.seeds)

    async def _train(self, candidate: Candidate, stage: Stage, seeds: Sequence[int]) -> tuple[Trial, ...]:
        return tuple(await asyncio.gather(*(self._train_once(candidate, stage, seed) for seed in seeds)))

    async def _train_once(self, candidate: Candidate, stage: Stage, seed: int) -> Trial:
        done = self.population.trial(candidate.candidate_id, stage.name, seed)
        if done is not None:
            return done
        self._check_wall()
        self._intend(f"train/{candidate.candidate_id}-{stage.name}-s{seed}")
        (trial,) = await self._engineer.train.remote(candidate, stage.name, (seed,))
        curve = await self._engine.curve.remote(trial.trial_id)
        self.record(trial, *curve)
        self._tracker.trial(candidate, trial, curve)
        return trial

    async def assess(self, candidate: Candidate, report: Report, trials: tuple[Trial, ...]) -> Verdict:
        earlier = self.population.verdict(candidate.candidate_id)
        if earlier is not None:
            return earlier
        verdict: Verdict = await self._judge.assess.remote(candidate, report, trials, await self._reference())
        verdict = dataclasses.replace(verdict, created_at=time.time())
        self.record(verdict)
        return verdict

    async def explain(self, candidate: Candidate, trials: tuple[Trial, ...], verdict: Verdict) -> None:
        if self.population.explained(candidate.candidate_id):
            return
        context = await self._context(candidate)
        insights = await self._analyst.explain.remote(candidate, trials, verdict, context)
        now = time.time()
        self.record(
            *(dataclasses.replace(insight, created_at=now) for insight in insights),
            self._event(EXPLAINED, subject=candidate.candidate_id),
        )

    def claim(self, *claims: Claim) -> None:
        known = {(claim.candidate_id, claim.baseline_id, claim.stage) for claim in self.population.claims}
        now = time.time()
        self.record(
            *(
                dataclasses.replace(claim, created_at=now)
                for claim in claims
                if (claim.candidate_id, claim.baseline_id, claim.stage) not in known
            )
        )

    # ---- what the agents are told -----------------------------------------------------------------------------

    def _brief(self, number: int, attempt: int) -> Brief:
        horizon = self._horizon(number)
        members = self.population.finished(horizon)
        rng = np.random.default_rng([self.settings.seed, number])
        weights = self.settings.arms.weights
        arms = sorted(arm for arm, weight in weights.items() if weight > 0)
        shares = np.array([weights[arm] for arm in arms])
        arm = str(rng.choice(arms, p=shares / shares.sum()))
        picked = self._select.pick(members, rng, num_parents=2)
        known = {member.candidate.number for member in members}
        return Brief(
            slot=self.slot.name,
            arm=arm,
            number=number,
            attempt=attempt,
            seed=self.settings.seed,
            parents=tuple(picked.parents),
            references=tuple(picked.references),
            insights=tuple(
                sorted(
                    (i for i in self.population.insights if i.number in known),
                    key=lambda insight: (insight.number, insight.insight_id),
                )
            ),
            refusals=tuple(self.population.reports(number)),
            now=time.time(),
        )

    def _founder(self, number: int) -> Candidate:
        name = self._founders[number]
        source = baseline_source(self.slot.name, name)
        return Candidate(
            candidate_id=candidate_id_of(source),
            number=number,
            arm=BASELINE_ARM,
            slot=self.slot.name,
            name=name,
            motivation="baseline",
            source=source,
        )

    async def _reference(self) -> Member:
        """The reference baseline with its trials on the exploration seeds: every score is relative to it."""
        await self._founder_explored[0].wait()
        candidate, report = self.population.last_attempt(0)
        member = self.population.member(candidate.candidate_id) if candidate else None
        seeds = self._stage(EXPLORE).seeds
        trials = tuple(t for t in member.trials if t.stage == EXPLORE and t.seed in seeds) if member else ()
        if member is None or not any(trial.succeeded for trial in trials):
            why = next((t.detail for t in trials if t.detail), report.detail if report else "no report")
            raise UsageError(f"the reference baseline {self._founders[0]} has no result ({why}): nothing can be scored")
        return dataclasses.replace(member, trials=trials)

    async def _context(self, candidate: Candidate) -> Context:
        """Parents, siblings, reference and the noise of the baselines over seeds."""
        for explored in self._founder_explored:
            await explored.wait()
        horizon = self._horizon(candidate.number)
        members = self.population.finished(horizon)
        groups = []
        for number in range(len(self._founders)):
            founder, _ = self.population.last_attempt(number)
            member = self.population.member(founder.candidate_id) if founder else None
            losses = [t.loss for t in member.trials if t.stage == EXPLORE and t.loss is not None] if member else []
            if len(losses) > 1:
                groups.append(sorted(losses))
        spread = pooled_std(groups) if groups else None
        parents = [self.population.member(parent_id) for parent_id in candidate.parent_ids]
        return Context(
            stage=EXPLORE,
            noise=Noise(sigma=spread.std, dof=spread.dof) if spread and spread.std > 0 else None,
            parents=tuple(m for m in parents if m is not None),
            siblings=tuple(
                m for m in members if candidate.parent_ids and candidate.parent_ids[:1] == m.candidate.parent_ids[:1]
            ),
            baseline=None if candidate.number == 0 else await self._reference(),
        )

    # ---- writing ----------------------------------------------------------------------------------------------

    def record(self, *records: Record) -> None:
        """One durable commit; then everybody knows."""
        if not records:
            return
        self._store.append(*records)
        for record in records:
            self.population.add(record)
            for view in self.views:
                view.recorded(self, record)

    def _admit(self, candidate: Candidate) -> Candidate:
        candidate = dataclasses.replace(candidate, created_at=time.time())
        if self.population.candidate(candidate.candidate_id) is None:  # an exact duplicate gets a report, not a row
            self.record(candidate)
        return candidate

    def _intend(self, subject: str) -> None:
        self.record(self._event("intent", subject=subject))

    def _event(self, kind: str, subject: str = "", detail: str = "") -> Event:
        return Event(event_id=uuid.uuid4().hex, kind=kind, subject=subject, detail=detail, created_at=time.time())

    def _stage(self, name: str) -> Stage:
        return self.settings.scale.stage(name)

    def _candidate(self, candidate_id: str) -> Candidate:
        candidate = self.population.candidate(candidate_id)
        assert candidate is not None, candidate_id
        return candidate

    @property
    def finished(self) -> bool:
        """Every number closed and the end recorded for a budget at least as large."""
        ends = [int(event.detail) for event in self.population.events if event.kind == FINISHED]
        return bool(ends) and max(ends) >= self.settings.budget.candidates

    def _result(self, *, spend: tuple[Spend, ...] = (), resumed_finished: bool = False) -> Result:
        return Result(
            folder=self.folder.path,
            members=tuple(self.population.finished()),
            claims=tuple(self.population.claims),
            spend=spend or self._spent_before(),
            elapsed_s=time.time() - self.started_at,
            stopped_by=self.stopped_by,
            resumed_finished=resumed_finished,
        )


def _on_signals(stop: Callable[[str], None]) -> None:
    """Ctrl-C and SIGTERM (as `ray job stop` sends it) are a clean stop; only the main thread can hear them."""
    import threading

    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, signal.Signals(number).name)


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

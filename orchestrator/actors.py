"""Thin hosts for Ray: the four agents, the gate, the ledger and the trial engine. `orchestrator.crew` starts them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from agents.analyst import Analyst, Context
from agents.brief import Brief, Evidence, Member, Noise
from agents.engineer import Engineer
from agents.explaining import ExplainingAnalyst
from agents.ideas import IdeaJudge
from agents.inbox import InboxProposer
from agents.judge import Judge
from agents.ledger import Cost, Limits, Refusal, Reservation
from agents.llm.client import BudgetExhausted, Client, NobodyToAsk
from agents.llm.embedding import LlmEmbedder
from agents.llm.prices import prices_of
from agents.llm.settings import LlmSettings, Price
from agents.llm.transcript import TranscriptLine
from agents.llm.wire import Line, LiteLlmLine
from agents.llm_proposer import LlmProposer
from agents.opinion import Anchor, OpinionJudge, Opinions
from agents.protocols import Proposer, Trained
from agents.purse import Purse, PurseState, Ticket
from agents.researcher import Researcher, default_proposers
from agents.telling import one_line
from cognition.embedding import Vectors
from cognition.records import (
    Candidate,
    FailureKind,
    Insight,
    LlmCall,
    Pace,
    Report,
    Synthesis,
    Trial,
    Verdict,
    trial_id_of,
)
from models.sandbox.layer import Layer
from models.sandbox.settings import SandboxSettings
from models.slots import published_source
from models.trial import ExamJob, TrialJob
from orchestrator.arms import ARMS
from orchestrator.board import DONE_AGAIN, Order, RunningTrial
from orchestrator.charges import charge_of, share_of
from orchestrator.config import Settings
from orchestrator.early_stopping.recalled import Recalled
from orchestrator.errors import BudgetReached, UsageError

_NICENESS = 10
_SETTLE_POLL_S = 0.2
_REBUILD_S = 120.0  # for which a lost engine is waited for
_ASK_AGAIN_S = 0.5
_GENERATIONS_AHEAD = 64  # who starts late may not know how many engines there were
_HOST_RETRIES = 2  # a dead worker is not the candidate's fault, nor is one death by another's hand


def _reached(reason: str) -> str:
    return f"budget reached, {reason}: a larger one goes on from here"


def _give_way() -> None:
    """Let trials have the processor first; children inherit it."""
    os.nice(_NICENESS)


def _client(owner: str, ledger: str, settings: Settings, recording: Sequence[LlmCall]) -> Client:
    """Asks this campaign's models, or its transcript, with the ledger's actor as the purse.

    What an earlier process of this owner left open is lost: it was killed while it waited.
    """
    line: Line = TranscriptLine(recording) if settings.llm.transcript else LiteLlmLine()
    purse = RayPurse(ledger=ray.get_actor(ledger))
    if settings.llm.models:
        purse.ledger.orphan.remote(owner)
    return Client(settings.llm, prices_of(settings.llm), purse, line, owner=owner)


def _proposers(
    owner: str,
    ledger: str,
    settings: Settings,
    recording: Sequence[LlmCall],
    inbox: Path,
    more: Mapping[str, Proposer],
) -> dict[str, Proposer]:
    """Every researcher that this campaign can have, by arm."""
    found = default_proposers(settings.grammar)
    writer = LlmProposer(_client(owner, ledger, settings, recording))
    found |= {name: writer for name, arm in ARMS.items() if arm.proposer in ("llm", "transcript")}
    found["inbox"] = InboxProposer(inbox, settings.inbox.timeout_s)
    return {**found, **more}


@contextlib.contextmanager
def _within_budget() -> Iterator[None]:
    """A budget that has no room for another call ends the campaign with one line; so do models that refuse for good."""
    try:
        yield
    except BudgetExhausted as error:
        raise BudgetReached(_reached(str(error))) from None
    except NobodyToAsk as error:
        raise UsageError(
            f"no model can be asked any more ({one_line(str(error), 300)}): mend the key, the account or the "
            "recording, and the same command goes on"
        ) from None


class ResearcherActor:
    """Hosts `agents.researcher.Researcher`."""

    def __init__(
        self,
        ledger: str,
        settings: Settings,
        recording: Sequence[LlmCall],
        inbox: Path,
        more: Mapping[str, Proposer],
    ) -> None:
        _give_way()
        self._researcher = Researcher(_proposers("researcher", ledger, settings, recording, inbox, more))

    async def propose(self, brief: Brief) -> Candidate:
        with _within_budget():
            return await self._researcher.propose(brief)


class EngineerActor:
    """Hosts `agents.engineer.Engineer`; trials go to the engine through its runner."""

    def __init__(
        self,
        engine: str,
        ledger: str,
        settings: Settings,
        recording: Sequence[LlmCall],
        inbox: Path,
        more: Mapping[str, Proposer],
    ) -> None:
        runner = EngineRunner(engine=engine, ledger=ray.get_actor(ledger), settings=settings)
        self._engineer = Engineer(runner, _proposers("engineer", ledger, settings, recording, inbox, more))

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        with _within_budget():
            return await self._engineer.repair(candidate, evidence, brief)

    async def train(
        self, candidate: Candidate, stage: str, seeds: tuple[int, ...], pace: Pace | None, horizon: int | None
    ) -> tuple[Trained, ...]:
        return await self._engineer.train(candidate, stage, seeds, pace, horizon)


class LibrarianActor:
    """Hosts `agents.llm.embedding.LlmEmbedder`."""

    def __init__(self, ledger: str, settings: Settings) -> None:
        _give_way()
        purse = RayPurse(ledger=ray.get_actor(ledger))
        purse.ledger.orphan.remote("librarian")
        model = settings.llm.embedding.as_model
        assert model is not None, "started only where a model embeds"
        self._embedder = LlmEmbedder(
            settings.llm.embedding,
            prices_of(settings.llm)[model.model],
            purse,
            LiteLlmLine(),
            retries=settings.llm.retries,
            owner="librarian",
        )

    async def name(self) -> str:
        return await self._embedder.name()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return await self._embedder.embed(texts)


class JudgeActor:
    """Hosts `agents.judge.Judge`."""

    def __init__(self, ledger: str, settings: Settings, recording: Sequence[LlmCall]) -> None:
        _give_way()
        asked = settings.llm.plays("judge") and settings.fitness.opinion_share > 0
        anchors = [
            Anchor(source=published_source(settings.campaign.slot, name), score=score)
            for name, score in settings.campaign.anchors.items()
        ]
        opinions = OpinionJudge(_client("judge", ledger, settings, recording), anchors) if asked else None
        self._judge = Judge(settings.fitness, opinions)
        asked = settings.llm.plays("judge") and settings.novelty.ask_model
        self._ideas = IdeaJudge(_client("judge", ledger, settings, recording)) if asked else None

    async def assess(
        self,
        candidate: Candidate,
        report: Report,
        trials: tuple[Trial, ...],
        reference: Member,
        noise: Noise | None,
        horizon: int | None,
    ) -> Verdict:
        with _within_budget():
            return await self._judge.assess(candidate, report, trials, reference, noise, horizon=horizon)

    async def opinions(self, design: Candidate, purpose: str, number: int) -> Opinions:
        with _within_budget():
            return await self._judge.opinions(design, purpose=purpose, number=number)

    async def same_idea(self, candidate: Candidate, earlier: Candidate, horizon: int | None) -> bool | None:
        if self._ideas is None:
            return None
        with _within_budget():
            return await self._ideas.same(candidate, earlier, horizon=horizon)

    async def reconsider(self, verdict: Verdict, report: Report) -> Verdict:
        return await self._judge.reconsider(verdict, report)


class AnalystActor:
    """Hosts `agents.analyst.Analyst`."""

    def __init__(self, ledger: str, settings: Settings, recording: Sequence[LlmCall]) -> None:
        _give_way()
        asked = settings.llm.plays("analyst")
        self._words = ExplainingAnalyst(_client("analyst", ledger, settings, recording)) if asked else None
        self._analyst = Analyst(self._words)

    async def explain(
        self, candidate: Candidate, trials: tuple[Trial, ...], verdict: Verdict, context: Context
    ) -> tuple[Insight, ...]:
        with _within_budget():
            return await self._analyst.explain(candidate, trials, verdict, context)

    async def synthesise(self, turn: int, number: int, insights: tuple[Insight, ...]) -> Synthesis | None:
        if self._words is None:
            return None
        with _within_budget():
            return await self._words.synthesise(turn, number, insights)


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
                    return await asyncio.to_thread(examine, job, self._server, last_try=False)
            return await asyncio.to_thread(examine, job, self._server)


class LedgerActor(Purse):
    """Hosts the one purse. When its process ends, so does the campaign: the next start refills it from the store."""

    def __init__(
        self, limits: Limits, settings: LlmSettings, prices: Mapping[str, Price], seed: int, state: PurseState
    ) -> None:
        super().__init__(limits, settings, prices, seed=seed, state=state)


@dataclass(frozen=True, slots=True, kw_only=True)
class RayPurse:
    """The purse as a client sees it, in the ledger's actor."""

    ledger: Any

    async def choose(self, role: str, number: int, attempt: int, horizon: int | None = None) -> tuple[str, ...]:
        chosen: tuple[str, ...] = await self.ledger.choose.remote(role, number, attempt, horizon)
        return chosen

    async def open(self, call: LlmCall, worst: Cost, owner: str = "") -> Ticket | Refusal:
        ticket: Ticket | Refusal = await self.ledger.open.remote(call, worst, owner)
        return ticket

    async def close(self, ticket: Ticket, call: LlmCall, *, retry_after_s: float = 0.0) -> None:
        await self.ledger.close.remote(ticket, call, retry_after_s=retry_after_s)


class TrialEngineActor:
    """Hosts the trial engine: in an actor of its own, because Ray kills an actor's children with it.

    When its process ends, the crew builds another one under the same name, and whoever waits asks that one.
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

    async def waiting(self) -> Mapping[str, int]:
        return self._engine.waiting()

    async def drain(self) -> None:
        self._engine.drain()

    async def close(self) -> None:
        await asyncio.to_thread(self._engine.close)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRunner:
    """The Engineer's `Runner`: reserves an attempt's worst cost, hands it to the engine, books what it took."""

    engine: str  # the name of its generations
    ledger: Any
    settings: Settings

    async def run(
        self, candidate: Candidate, stage: str, seed: int, pace: Pace | None = None, horizon: int | None = None
    ) -> Trained:
        settings = self.settings
        name = settings.stages[stage].pool
        pool = settings.pools[name]
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
            pace=pace,
            anomalies=settings.anomalies,
            checkpoints=settings.checkpoints.spec(settings.scale.stage(stage)),
        )
        order = Order(job=job, pool=name, number=candidate.number, horizon=horizon)
        share = share_of(settings, stage)
        tries, furthest = 1 + _HOST_RETRIES, 0
        while True:
            reservation = await self._reserve(f"{stage}/{candidate.arm}", share.worst(job.stage.deadline_s), job)
            trained = await self._run(order)
            trial = dataclasses.replace(trained.trial, pool=share.pool, num_gpus=share.num_gpus)
            await self.ledger.settle.remote(reservation, charge_of(candidate, trial, share))
            preempted = trial.failure is FailureKind.worker_died and job.checkpoints is not None
            if not (preempted and trial.steps > furthest):  # who goes on from a checkpoint comes to an end
                tries -= 1
            furthest = max(furthest, trial.steps)
            if trial.failure not in DONE_AGAIN or tries == 0:
                break
        return dataclasses.replace(trained, trial=trial)

    async def _reserve(self, account: str, worst: Cost, job: TrialJob) -> Reservation:
        """Wait for trials under way to be settled where that may make room."""
        while True:
            answer: Reservation | Refusal = await self.ledger.reserve.remote(account, worst, job.trial_id)
            if isinstance(answer, Reservation):
                return answer
            if answer.final:
                raise BudgetReached(_reached(answer.reason))
            await asyncio.sleep(_SETTLE_POLL_S)

    async def _run(self, order: Order) -> Trained:
        """Ask again where the engine cannot be reached, or ended and another is being built in its place.

        Raises UsageError when there is none for too long.
        """
        generation, missing_since = 0, time.monotonic()
        while time.monotonic() - missing_since < _REBUILD_S:
            found = _engine_from(self.engine, generation)
            if found is None:  # not built yet; the one before has ended
                await asyncio.sleep(_ASK_AGAIN_S)
                continue
            generation, engine = found
            try:
                trained: Trained = await engine.run.remote(order)
                return trained
            except ray.exceptions.ActorUnavailableError:
                await asyncio.sleep(_ASK_AGAIN_S)
            except ray.exceptions.ActorDiedError:
                generation += 1
            missing_since = time.monotonic()
        raise UsageError("the trial engine ended and was not rebuilt: the same command goes on")


def _leave() -> None:
    """End this actor's process: the crew sees that, and builds another engine."""
    os._exit(1)


def _engine_from(name: str, generation: int) -> tuple[int, Any] | None:
    """The first engine from this generation on that Ray knows by name, dead or alive, with its generation."""
    for later in range(generation, generation + _GENERATIONS_AHEAD):
        with contextlib.suppress(ValueError):
            return later, ray.get_actor(generation_name(name, later))
    return None


def generation_name(engine: str, generation: int) -> str:
    """The name of a campaign's first, second, ... engine: Ray keeps that of an actor which ended."""
    return f"{engine}-{generation}"

"""Thin hosts for Ray: the four agents, the gate, the ledger and the trial engine. `orchestrator.crew` starts them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
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
from agents.ledger import Cost, Limits, Refusal
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
    Insight,
    LlmCall,
    Pace,
    Report,
    Synthesis,
    Trial,
    Verdict,
)
from models.sandbox.layer import Layer
from models.sandbox.settings import SandboxSettings
from models.slots import published_source
from models.trial import ExamJob
from orchestrator.arms import ARMS
from orchestrator.config import Settings
from orchestrator.engine_actor import HOST_RETRIES, EngineRunner
from orchestrator.errors import BudgetReached, UsageError, reached

_NICENESS = 10


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
        raise BudgetReached(reached(str(error))) from None
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
        corpus: str,
        ledger: str,
        settings: Settings,
        recording: Sequence[LlmCall],
        inbox: Path,
        more: Mapping[str, Proposer],
    ) -> None:
        """`corpus`: digest of the text that trials have to find where they run."""
        runner = EngineRunner(engine=engine, ledger=ray.get_actor(ledger), settings=settings, corpus=corpus)
        self._engineer = Engineer(runner, _proposers("engineer", ledger, settings, recording, inbox, more))

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        with _within_budget():
            return await self._engineer.repair(candidate, evidence, brief)

    async def train(
        self, candidate: Candidate, stage: str, seeds: tuple[int, ...], pace: Pace | None, horizon: int | None
    ) -> tuple[Trained, ...]:
        return await self._engineer.train(candidate, stage, seeds, pace, horizon)

    async def measure(self, candidate: Candidate, stage: str) -> Trained:
        return await self._engineer.measure(candidate, stage)


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
        best: float | None,
        horizon: int | None,
    ) -> Verdict:
        with _within_budget():
            return await self._judge.assess(candidate, report, trials, reference, noise, best, horizon=horizon)

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
    """Runs the gate: every examination in a child of this actor's fork server.

    Unlike the agents it does not give way to trials: they would end and find nobody who has been examined.
    """

    def __init__(self, sandbox: SandboxSettings) -> None:
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
            for _ in range(HOST_RETRIES):
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

"""Syntheses, and the steps that only campaigns with language models take: calibration of the judge, rewards."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import time
from collections.abc import Sequence
from statistics import fmean

from agents.brief import Member
from agents.condensing import condense
from cognition.records import Calibration, Candidate, Report, Synthesis, Trial, Verdict
from models.slots import slot_named
from orchestrator.answers import answer
from orchestrator.books import Books
from orchestrator.briefing import reference_of
from orchestrator.config import Settings
from orchestrator.crew import Crew
from orchestrator.errors import UsageError
from orchestrator.founders import founder, founder_names
from orchestrator.population import Population
from orchestrator.rewards import PURPOSES, proposal_reward, repair_reward, rewards_for
from orchestrator.rows import Rows, event

DRIFT = "judge_drift"
_REGULAR, _GROWTH = 64, 0.125  # syntheses at a fixed distance; share by which candidates grow between later ones


class LanguageSteps:
    """Idle where no model plays the role in question."""

    def __init__(self, settings: Settings, rows: Rows, crew: Crew, books: Books) -> None:
        self._settings, self._rows, self._crew, self._books = settings, rows, crew, books
        self._one_at_a_time = asyncio.Lock()
        self._without: set[int] = set()  # rounds of syntheses that no model could write

    @property
    def population(self) -> Population:
        return self._rows.population

    # ---- syntheses ------------------------------------------------------------------------------------------------

    async def synthesis(self, horizon: int | None) -> Synthesis | None:
        """The latest synthesis that a proposal may know, written now if it is due: by a model, where one is analyst."""
        llm = self._settings.llm
        if llm.synthesis_every == 0:
            return None
        num_founders = len(self._settings.campaign.founders)
        due = rounds_due(self.population.finished(horizon).num_from(num_founders), llm.synthesis_every)
        async with self._one_at_a_time:
            if due and due not in self.population.syntheses and due not in self._without:
                seen = self.population.finished(horizon).numbers_from(num_founders)
                await self._synthesise(due, max(seen), set(seen))
        written = [turn for turn in self.population.syntheses if turn <= due]
        return self.population.syntheses[max(written)] if written else None

    async def _synthesise(self, turn: int, number: int, seen: set[int]) -> None:
        insights = tuple(
            insight
            for insight in sorted(self.population.insights, key=lambda insight: (insight.number, insight.insight_id))
            if insight.from_run or insight.number in seen
        )
        if not self._settings.llm.plays("analyst"):
            condensed = condense(turn, number, insights)
            if condensed is None:
                self._without.add(turn)
            else:
                self._rows.record(dataclasses.replace(condensed, created_at=time.time()))
            return
        if not insights:
            return
        await self._rows.intend(f"synthesise/{turn}")
        analyst = await self._crew.analyst()
        written = await answer(analyst.synthesise.remote(turn, number, insights))
        await self._books.caught_up()
        if written is None:
            self._without.add(turn)
        else:
            self._rows.record(dataclasses.replace(written, created_at=time.time()))

    # ---- the judge's scale ----------------------------------------------------------------------------------------

    async def calibrated(self) -> None:
        """Score the calibration set first, and again after so many verdicts; what moved is an event."""
        llm = self._settings.llm
        if not llm.plays("judge") or self._settings.fitness.opinion_share == 0 or not llm.calibration:
            return
        async with self._one_at_a_time:
            done = {row.round for row in self.population.calibrations}
            due = 0
            if llm.recalibrate_every:
                due = self.population.num_opinions() // llm.recalibrate_every
            if due not in done:
                await self._calibrate(due)

    async def _calibrate(self, turn: int) -> None:
        slot = self._settings.campaign.slot
        names = [
            name
            for name in founder_names(slot_named(slot), self._settings.llm.calibration)
            if name not in self._settings.campaign.anchors
        ]
        known = {row.name for row in self.population.calibrations if row.round == turn}
        designs = [
            dataclasses.replace(founder(slot, name, 0, place), arm="calibration")
            for place, name in enumerate(names)
            if name not in known
        ]
        judge = await self._crew.judge()
        found = await asyncio.gather(*(answer(judge.opinions.remote(design, "calibrate", turn)) for design in designs))
        await self._books.caught_up()
        self._rows.record(
            *(
                Calibration(
                    round=turn,
                    name=design.name,
                    candidate_id=design.candidate_id,
                    opinion=opinions.middle,
                    spread=opinions.spread,
                    num_samples=len(opinions.samples),
                    created_at=time.time(),
                )
                for design, opinions in zip(designs, found, strict=True)
            )
        )
        if turn > 0 and (drift := drift_of(self.population.calibrations, turn)) is not None:
            self._rows.record(event(DRIFT, subject=f"calibration/{turn}", detail=json.dumps(drift)))

    # ---- rewards --------------------------------------------------------------------------------------------------

    async def reward_attempt(
        self, candidate: Candidate, report: Report, trials: Sequence[Trial], verdict: Verdict | None
    ) -> None:
        """What the model that wrote the attempt earned; nothing for attempts that no model wrote."""
        if candidate.model is None or not self._settings.llm.models:
            return
        await self._books.caught_up()
        if candidate.repairs is None:
            parent = self.population.member(candidate.parent_ids[0]) if candidate.parent_ids else self._reference()
            value, why = proposal_reward(candidate, report, trials, verdict, parent)
            await self._reward("researcher", candidate.number, candidate.attempt, value, why, candidate.model)
        else:
            value, why = repair_reward(report, trials)
            await self._reward("engineer", candidate.number, candidate.attempt, value, why, candidate.model)

    async def reward_nothing(self, number: int, attempt: int, why: str) -> None:
        """Nobody delivered: everybody who was asked gets 0 with what it cost."""
        if self._settings.llm.models:
            await self._books.caught_up()
            for role in ("researcher", "engineer"):
                await self._reward(role, number, attempt, 0.0, why)

    async def reward_words(self, candidate: Candidate, verdict: Verdict, num_worded: int) -> None:
        """Opinions and explanations are worth how many of them could be read."""
        if not self._settings.llm.models:
            return
        await self._books.caught_up()
        share = verdict.num_opinions / self._settings.llm.judge_samples
        for role, attempt, value in (
            ("judge", candidate.attempt, min(1.0, share)),
            ("analyst", candidate.attempt, float(num_worded > 0)),
            ("summary", 0, 1.0),
        ):
            model = self.population.answered_by(PURPOSES[role], candidate.number, attempt)
            await self._reward(role, candidate.number, attempt, value, "could be read", model)

    async def _reward(
        self, role: str, number: int, attempt: int, value: float, why: str, winner: str | None = None
    ) -> None:
        costs = self.population.costs(PURPOSES[role], number, attempt)
        known = {(r.role, r.number, r.attempt, r.model) for r in self.population.rewards_of(number)}
        rows = [
            dataclasses.replace(row, created_at=time.time())
            for row in rewards_for(role, number, attempt, costs, winner, value, why)
            if (row.role, row.number, row.attempt, row.model) not in known
        ]
        if rows:
            self._rows.record(*rows)
            await self._crew.ledger.reward.remote(*rows)

    def _reference(self) -> Member | None:
        try:
            return reference_of(self.population, self._settings.ladder.first)
        except UsageError:
            return None


def rounds_due(num: int, every: int) -> int:
    """How many syntheses are due after so many candidates: one for each `every`, later one for each eighth more.

    A synthesis reads everything that was learned, so that at a fixed distance their cost would grow with the square.
    """
    regular = num // every
    if regular <= _REGULAR:
        return regular
    return _REGULAR + int(math.log(regular / _REGULAR) / math.log1p(_GROWTH) + 1e-9)


def drift_of(rows: Sequence[Calibration], turn: int) -> dict[str, float] | None:
    """How far the judge's scores have moved since the first calibration: mean and largest difference, 1..10 scale."""
    first = {row.name: row.opinion for row in rows if row.round == 0}
    moved = [
        row.opinion - before
        for row in rows
        if row.round == turn and row.opinion is not None and (before := first.get(row.name)) is not None
    ]
    if not moved:
        return None
    return {"mean": fmean(moved), "largest": max(moved, key=abs), "num": float(len(moved))}

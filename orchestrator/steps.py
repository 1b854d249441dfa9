"""The steps of the loop: each that costs something is written ahead, and each outcome is a row.

A step that an earlier start has done answers from the rows, so that a resumed campaign pays for nothing twice.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterable, Sequence
from typing import Any

from agents.brief import Brief, Evidence
from agents.inbox import brief_in, tell_outcome
from agents.protocols import NoProposal, Trained
from agents.telling import one_line, outcome_text
from cognition.novelty import OPINION
from cognition.records import Candidate, Event, FailureKind, Report, ReportKind, Trial, Verdict, trial_id_of
from models.scale import Stage
from models.trial import ExamJob
from orchestrator.answers import answer
from orchestrator.arms import arm_named
from orchestrator.books import Books
from orchestrator.briefing import best_loss_of, brief_of, context_of, noise_of, on_seeds, reference_of
from orchestrator.charges import measuring_id_of
from orchestrator.climbing import Climb, Climbing
from orchestrator.cognition_base import CognitionBase
from orchestrator.config import Settings
from orchestrator.crew import INBOX, Crew
from orchestrator.early_stopping.settings import NONE
from orchestrator.errors import UsageError
from orchestrator.facts import figures_of
from orchestrator.flow import Flow
from orchestrator.founders import BASELINE_ARM, founder
from orchestrator.language_steps import LanguageSteps
from orchestrator.noise import noise_levels
from orchestrator.population import CLIMBED, EXPLAINED, Population
from orchestrator.reading import for_readers
from orchestrator.repetition import Compared, compared, duplicate_by_motivation, duplicate_by_source, refused
from orchestrator.rows import Rows, event
from orchestrator.stopping import Halt
from orchestrator.verified import SEEDED


class Steps:
    """What the loop can ask for."""

    def __init__(
        self,
        settings: Settings,
        rows: Rows,
        flow: Flow,
        crew: Crew,
        books: Books,
        base: CognitionBase,
        halt: Halt,
    ) -> None:
        """`since`: the monotonic clock when the campaign started."""
        self.settings = settings
        self._base = base
        self._books = books
        self._language = LanguageSteps(settings, rows, crew, books)
        self.flow = flow
        self._rows = rows
        self._crew = crew
        self.halt = halt
        self._asked: dict[int, str] = {}  # number -> arm
        self._num_founders = len(settings.campaign.founders)
        self._first = settings.ladder.first
        last = settings.stages[settings.scale.stages[-1].name]
        self._measures = settings.efficiency.wanted(settings.pools[last.pool].device)
        num = self._num_founders + settings.budget.candidates
        self._climbing = Climbing(settings, rows.population, set(range(num)).difference(flow.numbers(num)))

    @property
    def population(self) -> Population:
        return self._rows.population

    def numbers(self) -> Iterable[int]:
        """What is left to do: the founders, then one number for each candidate of the budget."""
        return self.flow.numbers(self._num_founders + self.settings.budget.candidates)

    async def turn(self, number: int) -> None:
        """Wait until this number may start."""
        await self.flow.turn(number)
        await self.halt.gate()

    async def close(self, number: int) -> None:
        """Nothing more happens to this number."""
        self.flow.close(number)
        self._climbing.close(number)
        if self.settings.llm.every_model:
            await self._crew.ledger.forget.remote(number)

    def last_attempt(self, number: int) -> tuple[Candidate | None, Report | None]:
        """Where an earlier start left this number; nothing where the candidate's row was lost, so it is made again."""
        candidate, report = self.population.last_attempt(number)
        if candidate is None:
            return None, None
        if report is not None:
            candidate = dataclasses.replace(candidate, number=number, attempt=report.attempt)
        return candidate, report

    async def propose(self, number: int) -> Candidate:
        await self.halt.gate()
        attempt = 1 + max((report.attempt for report in self.population.reports(number)), default=-1)
        if number < self._num_founders:
            slot = self.settings.campaign.slot
            return self._rows.admit(founder(slot, self.settings.campaign.founders[number], number, attempt))
        brief = await self._told(await self._brief(number, attempt))
        await self._rows.intend(f"propose/{number}")
        return await self._admitted((await self._crew.researcher()).propose.remote(brief), brief)

    async def repair(self, candidate: Candidate, evidence: Evidence) -> Candidate:
        await self.halt.gate()
        brief = await self._brief(candidate.number, attempt=evidence.report.attempt + 1)
        if evidence.report.refused:  # again, in case that the last start was cut off in between
            await self._language.reward_attempt(candidate, evidence.report, (), None)
        await self._rows.intend(f"repair/{candidate.number}/{brief.attempt}")
        return await self._admitted(self._crew.engineer.repair.remote(candidate, evidence, brief))

    async def _admitted(self, call: Any, asked: Brief | None = None) -> Candidate:
        """The candidate that an agent wrote, behind the rows of the calls that it took and of what these were told."""
        try:
            candidate: Candidate = await answer(call)
        finally:
            await self._books.caught_up()
            if asked is not None:
                await self._shown(asked)
        return self._rows.admit(candidate)

    async def unwritten(self, number: int, candidate: Candidate | None, nothing: NoProposal) -> Report:
        """Nobody gave a source text for this attempt: a report says so, and the number is closed."""
        attempt = 1 + max((report.attempt for report in self.population.reports(number)), default=-1)
        await self._language.reward_nothing(number, attempt, str(nothing))
        report = Report(
            candidate_id=candidate.candidate_id if candidate else "",
            number=number,
            attempt=attempt,
            kind=ReportKind.no_proposal,
            asked_arm=candidate.arm if candidate else self._asked.get(number, ""),
            detail=str(nothing),
            created_at=time.time(),
        )
        self._rows.record(report)
        in_vain = self.population.num_in_vain
        if in_vain >= self.settings.llm.patience:
            raise UsageError(
                f"{in_vain} numbers in a row got no proposal, the last because of {one_line(str(nothing), 200)}: mend "
                "that, or choose other models or arms with run.fresh=true; the same command goes on"
            )
        return report

    def may_repair(self, evidence: Evidence) -> bool:
        return self.settings.may_repair(evidence)

    async def examine(self, candidate: Candidate) -> Report:
        """Novelty by source and motivation, the executed gate, novelty by behaviour and structure: in order of cost."""
        novelty = None if candidate.number < self._num_founders else self.settings.novelty
        horizon, now = self.flow.horizon(candidate.number), time.time()
        report = duplicate_by_source(candidate, self.population, now)
        if report is None and arm_named(candidate.arm).reads:  # another's source has another's origins
            await self._base.trace(candidate, horizon)
        if report is None and novelty is not None:
            report = duplicate_by_motivation(candidate, self.population, novelty, now, horizon)
        if report is None:
            found = compared(await self._gate(candidate), candidate, self.population, novelty, horizon)
            report = await self._settled(candidate, found, horizon)
        report = dataclasses.replace(report, asked_arm=candidate.arm)
        self._rows.record(report)
        if report.refused:
            await self._language.reward_attempt(candidate, report, (), None)
            self._tell(candidate, report, ())
        if candidate.number == 0 and report.refused:
            raise UsageError(
                f"the reference baseline {candidate.name} did not pass the gate ({report.kind.value}: "
                f"{report.detail.splitlines()[0] if report.detail else ''}): nothing can be scored against it"
            )
        return report

    async def _settled(self, candidate: Candidate, found: Compared, horizon: int | None) -> Report:
        """What is doubtful is put to a model where that is asked for; without its answer it passes."""
        doubt = found.doubt
        if doubt is None or doubt.neighbour is None or not self.settings.novelty.ask_model:
            return found.report
        neighbour = self.population.candidate(doubt.neighbour.candidate_id)
        if neighbour is None:
            return found.report
        judge = await self._crew.judge()
        same: bool | None = await answer(judge.same_idea.remote(candidate, neighbour, horizon))
        await self._books.caught_up()
        return refused(found.report, doubt, self.population, OPINION) if same else found.report

    async def _gate(self, candidate: Candidate, *, thorough: bool = False) -> Report:
        stage = self._first
        job = ExamJob(
            candidate_id=candidate.candidate_id,
            number=candidate.number,
            attempt=candidate.attempt,
            source=candidate.source,
            slot=candidate.slot,
            size=stage.size,
            length=stage.length,
            deadline_s=self.settings.flow.gate_deadline_s * (4 if thorough else 1),
            policy=self.settings.sandbox.policy,
            thorough=thorough,
        )
        report: Report = await self._crew.examiners.examine(job)
        return report

    async def explore(self, candidate: Candidate) -> tuple[Trial, ...]:
        """Train at the first stage; baselines with extra seeds, from which the noise is measured."""
        stage = self._first
        seeds = stage.seeds
        if candidate.arm == BASELINE_ARM:
            first = max(seeds) + 1
            seeds = (*seeds, *range(first, first + self.settings.campaign.noise_seeds))
        with self.flow.at_slots(candidate.number):
            trials = await self._train(candidate, stage, seeds)
        for trial in trials:
            self.flow.trained(trial.slot_s)
        if candidate.arm == BASELINE_ARM:
            self._rows.record(*noise_levels(self.settings, self.population, stage))
        self.flow.explored(candidate.number)
        return tuple(trial for trial in trials if trial.seed in stage.seeds)

    def promoted(self) -> Sequence[Climb]:
        """Who has earned a stage, or had before this start, each told once; what is new is written ahead."""
        due = self._climbing.news()
        self._rows.record(*(written for climb in due if (written := self._ahead(climb)) is not None))
        return due

    def _ahead(self, climb: Climb) -> Event | None:
        """The decision, before anything is spent on it; None: it was written down before."""
        if climb.seed is None:
            known = self.population.climbed(climb.candidate_id, climb.stage)
            return None if known else event(CLIMBED, subject=climb.candidate_id, detail=climb.stage)
        known = (climb.candidate_id, climb.seed) in self.population.verified.seeded(climb.stage)
        return None if known else event(SEEDED, subject=climb.candidate_id, detail=f"{climb.stage} {climb.seed}")

    async def climb(self, climb: Climb) -> None:
        """Train at a higher stage, on its seeds or on one more, then record what these trials allow to say."""
        candidate, stage = self.population.candidate(climb.candidate_id), self.settings.scale.stage(climb.stage)
        assert candidate is not None, "only who has a row climbs"
        await self._train(candidate, stage, stage.seeds if climb.seed is None else (climb.seed,))
        await self._rows.on_disk()
        self._rows.record(*self._climbing.claims(stage), *self._climbing.correlations(stage))
        self._rows.record(*noise_levels(self.settings, self.population, stage))

    async def measure(self, climb: Climb) -> None:
        """What somebody costs who was trained at the last stage, once; nothing where that is not wanted."""
        candidate, stage = self.population.candidate(climb.candidate_id), self.settings.scale.stages[-1]
        if not self._measures or climb.stage != stage.name or candidate is None:
            return
        done = (candidate.candidate_id, stage.name) in self.population.tallies.measured
        if done or self.population.loss(candidate.candidate_id, stage) is None:
            return
        await self.halt.gate()
        await self._rows.intend(f"measure/{measuring_id_of(candidate.candidate_id, stage.name, stage.seeds[0])}")
        asked = answer(self._crew.engineer.measure.remote(candidate, stage.name))
        found: Trained = await self.halt.within_budget(asked)
        await self._books.caught_up()  # its charge comes first, as a trial's
        self._rows.record(*found.efficiency)
        await self._rows.on_disk()

    async def assess(self, candidate: Candidate, report: Report, trials: tuple[Trial, ...]) -> Verdict:
        earlier = self.population.verdict(candidate.candidate_id)
        if earlier is not None:
            return earlier
        await self.flow.founder()
        stage, noise, best = self._first, None, None
        if candidate.number >= self._num_founders:
            await self.flow.all_founders()
            noise = noise_of(self.population, stage, self._num_founders)
            best = best_loss_of(self.population, stage, self._num_founders)
        reference = reference_of(self.population, stage)
        judge = await self._crew.judge()
        if all(trial.succeeded for trial in trials):
            await self._language.calibrated()
        horizon = self.flow.horizon(candidate.number)
        verdict: Verdict = await answer(judge.assess.remote(candidate, report, trials, reference, noise, best, horizon))
        await self._books.caught_up()
        if verdict.suspicious:
            again = await self._gate(candidate, thorough=True)
            verdict = await answer(judge.reconsider.remote(verdict, again))
            self._rows.record(event("reexamined", subject=candidate.candidate_id, detail=figures_of(again)))
        verdict = dataclasses.replace(verdict, created_at=time.time())
        self._rows.record(verdict)
        return verdict

    async def explain(self, candidate: Candidate, trials: tuple[Trial, ...], verdict: Verdict) -> None:
        if self.population.explained(candidate.candidate_id):
            return
        await self.flow.all_founders()
        horizon = self.flow.horizon(candidate.number)
        stage, scale = self._first, self.settings.scale.name
        context = context_of(self.population, candidate, stage, scale, self._num_founders, horizon)
        analyst = await self._crew.analyst()
        insights = await answer(analyst.explain.remote(candidate, trials, verdict, context))
        await self._books.caught_up()
        new = {  # said twice: once
            insight.insight_id: insight for insight in insights if not self.population.learned.knows(insight.insight_id)
        }
        self._rows.record(*(dataclasses.replace(insight, created_at=time.time()) for insight in new.values()))
        await self._language.reward_words(candidate, verdict, sum(insight.source == "llm" for insight in insights))
        _, report = self.population.last_attempt(candidate.number)
        if report is not None:
            await self._language.reward_attempt(candidate, report, trials, verdict)
            self._tell(candidate, report, trials, verdict)
        self._rows.record(
            event(EXPLAINED, subject=candidate.candidate_id)
        )  # last: what is cut off before is done again

    async def _train(self, candidate: Candidate, stage: Stage, seeds: Sequence[int]) -> tuple[Trial, ...]:
        """On all seeds at once; one after another where a policy may end it: then the rest need not begin."""
        if candidate.number >= self._num_founders and self.settings.stages[stage.name].stopping.policy != NONE:
            found: list[Trial] = []
            for seed in seeds:
                found.append(await self._train_once(candidate, stage, seed))
                if found[-1].failure is FailureKind.unpromising:
                    break
            return tuple(found)
        async with asyncio.TaskGroup() as trials:
            tasks = [trials.create_task(self._train_once(candidate, stage, seed)) for seed in seeds]
        return tuple(task.result() for task in tasks)

    async def _train_once(self, candidate: Candidate, stage: Stage, seed: int) -> Trial:
        done = self.population.trial(candidate.candidate_id, stage.name, seed)
        if done is not None:
            return done
        await self.halt.gate()
        await self._rows.intend(f"train/{trial_id_of(candidate.candidate_id, stage.name, seed)}")
        pace, horizon = self._rows.paces.of(stage.name), self.flow.horizon(candidate.number)
        asked = answer(self._crew.engineer.train.remote(candidate, stage.name, (seed,), pace, horizon))
        trained: Trained
        (trained,) = await self.halt.within_budget(asked)
        self._crew.trial_finished()
        await self._books.caught_up()  # its charge comes first: a trial with a row was paid for
        trial, curve = trained.trial, trained.curve
        stop = trained.early_stop
        self._rows.record(trial, *curve, *([stop] if stop and stop.trial_id not in self.population.early_stops else []))
        if candidate.number == 0 and trial.succeeded:
            self._rows.paces.add(stage.name, curve)
        await self._crew.track(candidate, trial, curve)
        await self._rows.on_disk()  # it is paid for, so that nobody may train it again
        return trial

    async def _brief(self, number: int, attempt: int) -> Brief:
        horizon = self.flow.horizon(number)
        brief = brief_of(self.settings, self.population, number, attempt, horizon)
        self._asked[number] = brief.arm
        arm = arm_named(brief.arm)
        if arm.reads and horizon is None:  # who reads wants something to read
            await self.flow.founders_closed()
            brief = brief_of(self.settings, self.population, number, attempt, horizon)
        synthesis = await self._language.synthesis(horizon) if arm.analysis else None
        if not arm.reads:
            return brief
        return await self._rows.read(
            lambda: for_readers(brief, arm, self.settings, self.population, horizon, self._rows.curve, synthesis)
        )

    async def _told(self, brief: Brief) -> Brief:
        """The brief with what the cognition base has on the weakness of its parents, for arms that read."""
        arm = arm_named(brief.arm)
        if not arm.reads:
            return brief
        await self.flow.founder()
        stage = self._first
        parents = [on_seeds(parent, stage) for parent in brief.parents]
        return await self._base.tell(brief, arm, parents, reference_of(self.population, stage))

    async def _shown(self, brief: Brief) -> None:
        """What of it stood in the question that was asked."""
        arm = arm_named(brief.arm)
        if arm.reads:
            told = await self._rows.read(lambda: self._rows.questions(brief.number, brief.attempt))
            if brief.arm == INBOX:
                told = [brief_in(self._crew.inbox, brief.number, brief.attempt)]
            self._base.shown(brief.number, brief.attempt, told)

    def _tell(
        self, candidate: Candidate, report: Report, trials: Sequence[Trial], verdict: Verdict | None = None
    ) -> None:
        """Who wrote into the inbox finds there what came of it."""
        if candidate.arm == "inbox":
            told = outcome_text(candidate, report, trials)
            if verdict is not None:
                score = "none" if verdict.fitness is None else f"{verdict.fitness:.3f}"
                told += f"\n\nFitness: {score}. {verdict.reason}"
            tell_outcome(self._crew.inbox, candidate, told)

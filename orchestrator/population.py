"""What the campaign knows of itself: the store's rows, indexed for the loop. Rebuilt from the rows on resume."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from agents.brief import Evidence, Failed, Member
from agents.ledger import BudgetLedger, Limits, Spend, account_of, cost_of
from agents.purse import CALL_INTENT, spends_of
from cognition.records import (
    Calibration,
    CallOutcome,
    Candidate,
    Charge,
    ChargeOutcome,
    Claim,
    EarlyStop,
    Efficiency,
    Entry,
    Event,
    Insight,
    LlmCall,
    Metric,
    NoiseLevel,
    Origin,
    Paper,
    RankCorrelation,
    Record,
    Report,
    ReportKind,
    Retrieval,
    Reward,
    Synthesis,
    Trial,
    Vector,
    Verdict,
    trial_id_of,
)
from cognition.tried import Tried
from models.scale import Stage
from orchestrator.learned import Learned
from orchestrator.standing import Members, Standing
from orchestrator.tallies import Tallies
from orchestrator.verified import SEEDED, Verified

EXPLAINED = "explained"
CLIMBED = "climbed"
STARTED = "started"  # a trial is first seen to hold a slot


class Population:
    """Candidates by number with all that happened to them.

    Members and evidence, which is what agents are told, hold trials of the `first_stage` alone: what comes of those
    that climb is measured while others are explored, partly on held-out data, and no proposal may depend on either.
    """

    def __init__(self, records: Iterable[Record] = (), first_stage: str | None = None) -> None:
        """`first_stage`: where candidates are explored; None: trials of every stage are told."""
        self._first_stage = first_stage
        self._candidates: dict[str, Candidate] = {}
        self._reports: dict[int, dict[int, Report]] = defaultdict(dict)
        self._attempts: dict[int, dict[int, Candidate]] = defaultdict(dict)
        self._trials: dict[str, Trial] = {}
        self._trials_of: dict[str, list[Trial]] = defaultdict(list)
        self.charges: list[Charge] = []
        self._charges_of: dict[str, list[Charge]] = defaultdict(list)  # by trial
        self._starts: dict[str, list[Charge]] = defaultdict(list)  # of attempts that nobody answered for, by trial
        self._verdicts: dict[str, Verdict] = {}
        self._explained: set[str] = set()
        self._standing = Standing(self.member)
        self.tallies = Tallies()
        self.num_above, self._climbed = 0, set[tuple[str, str]]()  # rows of climbs, and of trials above the first stage
        self.tried = Tried()  # what novelty compares with
        self._num_children: dict[str, int] = defaultdict(int)
        self._children: dict[str, list[str]] = defaultdict(list)  # of first parents
        self.learned = Learned()
        self.insights = self.learned.all
        self.papers: dict[str, Paper] = {}
        self.entries: dict[str, Entry] = {}
        self.retrieved: set[tuple[int, int]] = set()  # numbers and attempts
        self.traced: set[str] = set()  # candidates whose elements' origins are known
        self.verified = Verified()
        self.early_stops: dict[str, EarlyStop] = {}  # by trial
        self.correlations: list[RankCorrelation] = []
        self._at: dict[str, dict[str, None]] = defaultdict(dict)  # stage -> who climbed to it or was trained there
        self.events, self.last_event_at = list[Event](), 0.0  # those that somebody asks for again: not of every step
        self.num_in_vain = 0  # numbers without a proposal since the last examination
        self.rewards: list[Reward] = []
        self._rewards_of: dict[int, list[Reward]] = defaultdict(list)
        self.calibrations: list[Calibration] = []
        self.syntheses: dict[int, Synthesis] = {}
        self.calls: list[LlmCall] = []  # without their texts
        self._calls_of: dict[tuple[str, int, int], list[LlmCall]] = defaultdict(list)
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        match record:
            case Candidate():
                self._candidates[record.candidate_id] = record
                self._attempts[record.number][record.attempt] = record
                for parent_id in record.parent_ids:
                    self._num_children[parent_id] += 1
                    self._standing.changed(parent_id)
                if record.parent_ids:
                    self._children[record.parent_ids[0]].append(record.candidate_id)
                self._standing.changed(record.candidate_id)
                self.tried.add(record)
            case Report():
                self._reports[record.number][record.attempt] = record
                self.tallies.report(record)
                self.tried.add(record)
                self.num_in_vain = self.num_in_vain + 1 if record.kind is ReportKind.no_proposal else 0
            case Trial():
                self._trials[record.trial_id] = record
                self._trials_of[record.candidate_id].append(record)
                self._at[record.stage][record.candidate_id] = None
                self.tallies.trial(record)
                self.verified.trial(record)
                self.num_above += record.stage != self._first_stage
            case Charge():
                self.charges.append(record)
                self.tallies.charge(record)
                self._charges_of[record.trial_id].append(record)
                left = [s for s in self._starts.pop(record.trial_id, ()) if not _answers(record, s)]
                if left:
                    self._starts[record.trial_id] = left
            case Verdict():
                self._verdicts[record.candidate_id] = record
                self._standing.changed(record.candidate_id)
            case Insight():
                self.learned.add(record)
            case Paper():
                self.papers[record.paper_id] = record
            case Entry():
                self.entries[record.entry_id] = record
            case Retrieval():
                self.retrieved.add((record.number, record.attempt))
            case Origin():
                self.traced.add(record.candidate_id)
            case Efficiency():
                self.tallies.measured.add((record.candidate_id, record.stage))
            case Claim() | NoiseLevel():
                self.verified.add(record)
            case RankCorrelation():
                self.correlations.append(record)
            case Event():
                self.last_event_at = record.created_at
                if record.kind == EXPLAINED:
                    self._explained.add(record.subject)
                    self.learned.explained(record.subject)
                    self._standing.changed(record.subject, explained=True)
                elif record.kind == CLIMBED:
                    self._at[record.detail][record.subject] = None
                    self._climbed.add((record.subject, record.detail))
                    self.num_above += 1
                elif record.kind == SEEDED:
                    self.verified.seed(record)
                elif record.kind == STARTED:
                    self._began(Charge(**{**json.loads(record.detail), "outcome": ChargeOutcome.lost}))
                elif record.kind != "intent" or record.subject.startswith(CALL_INTENT):
                    self.events.append(record)
            case LlmCall():
                light = dataclasses.replace(record, messages="", reply="")
                self.calls.append(light)
                self._calls_of[record.purpose, record.number, record.attempt].append(light)
            case Reward():
                self.rewards.append(record)
                self._rewards_of[record.number].append(record)
            case Calibration():
                self.calibrations.append(record)
            case Synthesis():
                self.syntheses[record.round] = record
            case EarlyStop():
                self.early_stops[record.trial_id] = record
            case Metric() | Vector():
                pass  # they stay in the store

    def candidate(self, candidate_id: str) -> Candidate | None:
        return self._candidates.get(candidate_id)

    def candidates(self) -> Sequence[Candidate]:
        return tuple(self._candidates.values())

    def last_attempt(self, number: int) -> tuple[Candidate | None, Report | None]:
        """The latest attempt of a number, with its report if it has one."""
        attempts, reports = self._attempts.get(number, {}), self._reports.get(number, {})
        if not attempts and not reports:
            return None, None
        attempt = max([*attempts, *reports])
        report = reports.get(attempt)
        candidate = attempts.get(attempt)
        if candidate is None and report is not None:  # an exact duplicate has no row of its own, only its report
            candidate = self._candidates.get(report.candidate_id)
        return candidate, report

    def reports(self, number: int) -> Sequence[Report]:
        """Reports on one number, by attempt."""
        return tuple(report for _, report in sorted(self._reports.get(number, {}).items()))

    def passed(self, number: int | None = None, horizon: int | None = None) -> Sequence[Report]:
        """Reports of candidates that passed the gate, by number.

        With a `number`, only those that it may be compared with whatever the clock did: all attempts up to the
        `horizon` and at the number itself, and of the numbers between the first that passed, since what failed in
        training and came back may have done so before or after. Without a horizon: all.
        """
        found = []
        for other, attempts in sorted(self._reports.items()):
            passed = [report for _, report in sorted(attempts.items()) if report.kind is ReportKind.passed]
            if number is None or horizon is None or other <= horizon or other == number:
                found += passed
            elif other < number:
                found += passed[:1]
        return found

    def evidence(self, number: int, stage: str) -> Evidence | None:
        """What came of the last attempt at a number; None before it was examined."""
        candidate, report = self.last_attempt(number)
        if candidate is None or report is None:
            return None
        own = self._trials_of.get(candidate.candidate_id, ()) if not report.refused else ()
        return Evidence(report=report, trials=tuple(trial for trial in own if trial.stage == stage))

    def evidence_on(self, candidate_id: str) -> Evidence | None:
        """What came of one attempt, by its candidate; None before it was examined."""
        candidate = self._candidates.get(candidate_id)
        report = self._reports.get(candidate.number, {}).get(candidate.attempt) if candidate else None
        if report is None:
            return None
        trials = () if report.refused else self._explorations(candidate_id)
        return Evidence(report=report, trials=trials)

    def refusals(self, below: int | None = None) -> Sequence[Report]:
        found = [r for by in self._reports.values() for r in by.values() if r.refused]
        return sorted(
            (r for r in found if below is None or r.number < below), key=lambda report: (report.number, report.attempt)
        )

    def failures(self, horizon: int | None = None) -> Sequence[Failed]:
        """Attempts that were refused or broke, by number and attempt; exact duplicates of others left out."""
        found = []
        for number, attempts in sorted(self._attempts.items()):
            if horizon is not None and number > horizon:
                continue
            for attempt, candidate in sorted(attempts.items()):
                report = self._reports.get(number, {}).get(attempt)
                if report is None:
                    continue
                trials = () if report.refused else self._explorations(candidate.candidate_id)
                evidence = Evidence(report=report, trials=trials)
                if evidence.failed:
                    found.append(Failed(candidate=candidate, evidence=evidence))
        return found

    def broken(self, horizon: int | None = None) -> Sequence[Failed]:
        """The last attempts of numbers that ended broken, the latest last: ideas whose code failed, not yet rescued."""
        last = {failed.candidate.number: failed for failed in self.failures(horizon)}
        return [
            failed
            for number, failed in sorted(last.items())
            if failed.candidate.attempt == max(self._attempts[number])
            and failed.evidence.report.kind is not ReportKind.duplicate
            and not self._num_children.get(failed.candidate.candidate_id)
        ]

    def costs(self, purpose: str, number: int, attempt: int) -> dict[str, float]:
        """US dollars of the calls for one attempt, by model; what is held counts."""
        costs: dict[str, float] = defaultdict(float)
        for call in self._calls_of.get((purpose, number, attempt), ()):
            costs[call.model] += call.usd + call.held_usd
        return dict(costs)

    def answered_by(self, purpose: str, number: int, attempt: int) -> str | None:
        """The model whose answer was of use."""
        calls = self._calls_of.get((purpose, number, attempt), ())
        return next((call.model for call in reversed(calls) if call.outcome is CallOutcome.answered), None)

    def rewards_of(self, number: int) -> Sequence[Reward]:
        return tuple(self._rewards_of.get(number, ()))

    def num_opinions(self) -> int:
        """Verdicts in which a model's opinion counts."""
        return sum(verdict.num_opinions > 0 for verdict in self._verdicts.values())

    def trial(self, candidate_id: str, stage: str, seed: int) -> Trial | None:
        return self._trials.get(trial_id_of(candidate_id, stage, seed))

    def trials(self, stage: str | None = None) -> Sequence[Trial]:
        return tuple(t for t in self._trials.values() if stage is None or t.stage == stage)

    def at(self, stage: str) -> Sequence[str]:
        """Candidates that climbed to a stage or were trained there."""
        return tuple(self._at.get(stage, ()))

    def climbed(self, candidate_id: str, stage: str) -> bool:
        """It was written down that this candidate climbs to this stage."""
        return (candidate_id, stage) in self._climbed

    def loss(self, candidate_id: str, stage: Stage) -> float | None:
        """The mean sealed loss over the stage's seeds; None unless all of them finished."""
        trials = self.trained(candidate_id, stage)
        losses = [trial.loss for trial in trials if trial.succeeded and trial.loss is not None]
        return fmean(losses) if len(losses) == len(stage.seeds) else None

    def trained(self, candidate_id: str, stage: Stage) -> Sequence[Trial]:
        """The trials that are in, of those on the stage's seeds."""
        found = (self.trial(candidate_id, stage.name, seed) for seed in stage.seeds)
        return [trial for trial in found if trial is not None]

    def has_trial(self, trial_id: str) -> bool:
        """A trial has its row."""
        return trial_id in self._trials

    def charges_of(self, trial_id: str) -> Sequence[Charge]:
        """What the attempts at one trial took."""
        return tuple(self._charges_of.get(trial_id, ()))

    def unanswered(self) -> Sequence[Charge]:
        """Attempts that were seen to start and that no charge answers for, as if each had ended at once."""
        return tuple(start for starts in self._starts.values() for start in starts)

    def _explorations(self, candidate_id: str) -> tuple[Trial, ...]:
        known = self._trials_of.get(candidate_id, ())
        return tuple(trial for trial in known if self._first_stage in (None, trial.stage))

    def verdict(self, candidate_id: str) -> Verdict | None:
        return self._verdicts.get(candidate_id)

    def explained(self, candidate_id: str) -> bool:
        return candidate_id in self._explained

    def member(self, candidate_id: str) -> Member | None:
        """A candidate that has passed the gate, with what is known of it."""
        candidate = self._candidates.get(candidate_id)
        report = self._reports[candidate.number].get(candidate.attempt) if candidate else None
        if candidate is None or report is None or report.refused:
            return None
        return Member(
            candidate=candidate,
            report=report,
            trials=self._explorations(candidate_id),
            verdict=self._verdicts.get(candidate_id),
            num_children=self._num_children.get(candidate_id, 0),
        )

    def finished(self, up_to: int | None = None) -> Members:
        """Explained members by number; `up_to` leaves later numbers out (deterministic mode)."""
        return self._standing.members(up_to)

    def children(self, candidate_id: str, up_to: int | None = None) -> Sequence[Member]:
        """Explained members whose first parent it is, by number."""
        found = [self.member(child) for child in self._children.get(candidate_id, ()) if child in self._standing]
        members = (m for m in found if m is not None and (up_to is None or m.candidate.number <= up_to))
        return sorted(members, key=lambda member: (member.candidate.number, member.candidate.attempt))

    def best(self) -> Mapping[str, Member]:
        """The explained member with the lowest loss of each arm."""
        return self._standing.best()

    def judged(self) -> Sequence[Member]:
        """Members with a verdict by number, explained or not."""
        members = [self.member(candidate_id) for candidate_id in self._verdicts]
        return sorted((m for m in members if m is not None), key=lambda member: member.candidate.number)

    def closed(self, stage: str, may_repair: Callable[[Evidence], bool]) -> set[int]:
        """Numbers to which nothing more happens: judged and explained, or refused, and no repair left to try."""
        closed = set()
        for number in self._attempts.keys() | self._reports.keys():
            candidate, report = self.last_attempt(number)
            if report is not None and report.kind is ReportKind.no_proposal:
                closed.add(number)
                continue
            evidence = self.evidence(number, stage)
            if candidate is None or evidence is None or may_repair(evidence):
                continue
            own = candidate.number == number
            settled = own and candidate.candidate_id in self._verdicts and self.explained(candidate.candidate_id)
            if evidence.report.refused or settled:
                closed.add(number)
        return closed

    def spent(self) -> tuple[Spend, ...]:
        """What the attempts to train and the models of the store took by account, for a new ledger."""
        books = BudgetLedger(Limits())
        books.restore(spends_of(self.calls))
        books.restore(Spend(account=account_of(c), settled=cost_of(c), num_settled=1) for c in self.charges)
        return books.spent()

    def _began(self, start: Charge) -> None:
        if not any(_answers(charge, start) for charge in self._charges_of.get(start.trial_id, ())):
            self._starts[start.trial_id].append(start)


def _answers(charge: Charge, start: Charge) -> bool:
    """The charge is of the attempt that began so, or of a later one."""
    return charge.finished_at >= start.started_at

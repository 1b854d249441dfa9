"""What an agent is told: members of the population and the brief of one proposal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cognition.records import Candidate, FailureKind, Insight, Report, Synthesis, Trial, Verdict

_NOT_THE_CANDIDATES = (FailureKind.worker_died, FailureKind.cancelled, FailureKind.unpromising)  # nothing to mend


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One candidate of the population with everything that is known about it at its stage."""

    candidate: Candidate
    report: Report | None = None
    trials: tuple[Trial, ...] = ()
    verdict: Verdict | None = None
    num_children: int = 0

    @property
    def fitness(self) -> float | None:
        """The verdict's fitness; None without a verdict, or where the verdict withholds it."""
        return self.verdict.fitness if self.verdict else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Standard deviation of one loss over seeds, pooled over repeated trials, and its degrees of freedom."""

    sigma: float  # nats per token
    dof: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0 and self.dof >= 1):
            raise ValueError(
                f"noise sigma={self.sigma}, dof={self.dof}; train a baseline with two seeds or more to measure it"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What came of one attempt: the gate's report, and the exploration trials where it passed."""

    report: Report
    trials: tuple[Trial, ...] = ()

    @property
    def failed_trial(self) -> Trial | None:
        """The first trial that failed by the candidate's own doing."""
        own = (t for t in self.trials if t.failure is not None and t.failure not in _NOT_THE_CANDIDATES)
        return next((trial for trial in own if not trial.succeeded), None)

    @property
    def failed(self) -> bool:
        """There is something to mend."""
        return self.report.refused or self.failed_trial is not None

    @property
    def offence(self) -> str:
        """What to mend, in one word: the failing property, how the examination ended, or why the training did."""
        if self.report.refused:
            return next((item.name for item in self.report.properties if not item.passed), self.report.kind.value)
        trial = self.failed_trial
        return trial.failure.value if trial is not None and trial.failure is not None else ""

    @property
    def detail(self) -> str:
        """The offence's figures, or the traceback trimmed to the candidate's own lines."""
        trial = self.failed_trial
        return self.report.detail if self.report.refused or trial is None else trial.detail


Curve = tuple[tuple[int, float], ...]  # (step, training loss in nats per token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """A piece of the field's literature that a prompt may quote."""

    key: str  # what rows and replies cite it by
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A candidate with the evidence of what went wrong."""

    candidate: Candidate
    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a researcher is asked for. A proposal is a pure function of it, randomness included.

    What stands below `now` is for those who read: language models, people. Arms that go without an aid get none of it.
    """

    slot: str
    arm: str
    number: int
    attempt: int = 0
    seed: int
    parents: tuple[Member, ...] = ()
    references: tuple[Member, ...] = ()
    insights: tuple[Insight, ...] = ()
    effects: Mapping[tuple[str, str], float] | None = None  # what they come to by change; then they are left out
    refusals: tuple[Report, ...] = ()  # reports on earlier attempts at this number
    reference_losses: Mapping[str, float] = field(default_factory=dict)  # baseline name -> nats per token
    now: float = 0.0  # seconds since the epoch; stamps what is proposed
    mode: str = "refine"
    entry: str = "TokenMixer"  # the class that a source has to define
    contract: str = ""
    ancestors: tuple[Member, ...] = ()  # of the first parent, nearest first
    history: tuple[Member, ...] = ()  # what was tried lately, by number
    failures: tuple[Failed, ...] = ()  # what was refused or broke lately, by number
    broken: Failed | None = None  # mode "repair": the promising one to mend
    synthesis: Synthesis | None = None
    weakness: str = ""  # of the parents, as measured: what knowledge and insights were asked for with
    knowledge: tuple[Knowledge, ...] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)  # candidate_id -> its exploration
    horizon: int | None = None  # deterministic mode: nothing of higher numbers may be known

    def __post_init__(self) -> None:
        for name, value in (("number", self.number), ("attempt", self.attempt), ("seed", self.seed)):
            if value < 0:
                raise ValueError(f"brief.{name} is {value}; give a non-negative integer, since it seeds the proposal")

    def rng(self, attempt: int | None = None) -> np.random.Generator:
        """The generator of one attempt: the same brief gives the same numbers in any process."""
        return np.random.default_rng([self.seed, self.number, self.attempt if attempt is None else attempt])

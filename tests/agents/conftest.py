"""Small records to build tests from, as factories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agents.brief import Brief, Member
from agents.grammar.proposer import candidate_from
from agents.grammar.token_mixer.genome import Genome
from agents.grammar.token_mixer.known import BASELINE_GENOMES
from cognition.records import Candidate, FailureKind, Report, ReportKind, Trial, TrialStatus, Verdict, trial_id_of


def _candidate(genome: Genome = BASELINE_GENOMES["delta_net"], number: int = 0, **fields: object) -> Candidate:
    brief = Brief(slot="token_mixer", arm="grammar", number=number, seed=0)
    return replace(candidate_from(genome, brief, attempt=0), **fields)  # type: ignore[arg-type]


def _trial(candidate: Candidate, loss: float | None, seed: int = 0, stage: str = "explore", **fields: object) -> Trial:
    finished = loss is not None
    trial = Trial(
        trial_id=trial_id_of(candidate.candidate_id, stage, seed),
        candidate_id=candidate.candidate_id,
        stage=stage,
        seed=seed,
        split="validation",
        status=TrialStatus.finished if finished else TrialStatus.failed,
        failure=None if finished else FailureKind.nonfinite,
        loss=loss,
    )
    return replace(trial, **fields)  # type: ignore[arg-type]


def _report(candidate: Candidate, kind: ReportKind = ReportKind.passed, **fields: object) -> Report:
    report = Report(candidate_id=candidate.candidate_id, number=candidate.number, attempt=candidate.attempt, kind=kind)
    return replace(report, **fields)  # type: ignore[arg-type]


@pytest.fixture
def make_candidate() -> Callable[..., Candidate]:
    return _candidate


@pytest.fixture
def make_trial() -> Callable[..., Trial]:
    return _trial


@pytest.fixture
def make_report() -> Callable[..., Report]:
    return _report


@pytest.fixture
def make_member() -> Callable[..., Member]:
    """A member of the population around a genome, trained to the given losses, one per seed."""

    def make(
        genome: Genome = BASELINE_GENOMES["delta_net"],
        number: int = 0,
        losses: tuple[float, ...] = (),
        fitness: float | None = None,
        **report: object,
    ) -> Member:
        candidate = _candidate(genome, number)
        return Member(
            candidate=candidate,
            report=_report(candidate, **report),
            trials=tuple(_trial(candidate, loss, seed) for seed, loss in enumerate(losses)),
            verdict=Verdict(candidate_id=candidate.candidate_id, number=number, stage="explore", fitness=fitness),
        )

    return make

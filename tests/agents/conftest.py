"""Small records to build tests from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agents.brief import Brief, Member
from agents.grammar.genome import Genome
from agents.grammar.known import BASELINE_GENOMES
from agents.grammar.proposer import candidate_from
from cognition.records import Candidate, FailureKind, Report, ReportKind, Trial, TrialStatus, Verdict, trial_id_of

MakeMember = Callable[..., Member]


def make_candidate(genome: Genome, number: int = 0, **fields: object) -> Candidate:
    brief = Brief(slot="token_mixer", arm="grammar", number=number, seed=0)
    return replace(candidate_from(genome, brief, attempt=0), **fields)  # type: ignore[arg-type]


def make_trial(candidate: Candidate, loss: float | None, seed: int = 0, stage: str = "explore", **fields: object) -> Trial:
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


def make_report(candidate: Candidate, kind: ReportKind = ReportKind.passed, **fields: object) -> Report:
    report = Report(
        candidate_id=candidate.candidate_id, number=candidate.number, attempt=candidate.attempt, kind=kind
    )
    return replace(report, **fields)  # type: ignore[arg-type]


@pytest.fixture
def member() -> MakeMember:
    """A member of the population around a genome, trained to the given losses, one per seed."""

    def make(
        genome: Genome = BASELINE_GENOMES["delta_net"],
        *,
        number: int = 0,
        losses: tuple[float, ...] = (),
        fitness: float | None = None,
        num_children: int = 0,
        **report: object,
    ) -> Member:
        candidate = make_candidate(genome, number)
        verdict = Verdict(candidate_id=candidate.candidate_id, number=number, stage="explore", fitness=fitness)
        return Member(
            candidate=candidate,
            report=make_report(candidate, **report),
            trials=tuple(make_trial(candidate, loss, seed) for seed, loss in enumerate(losses)),
            verdict=verdict,
            num_children=num_children,
        )

    return make

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from agents.brief import Brief, Evidence, Member
from agents.engineer import Engineer
from agents.grammar.proposer import genome_of
from agents.grammar.token_mixer.genome import Width
from agents.grammar.token_mixer.known import BASELINE_GENOMES
from agents.grammar.token_mixer.rules import canonical
from agents.grammar.token_mixer.space import TOKEN_MIXERS
from agents.protocols import Trained
from agents.researcher import Researcher
from agents.scripted import ScriptedProposer
from cognition.records import Candidate, FailureKind, Pace, Property, Report, ReportKind, Trial

MakeMember = Callable[..., Member]
MakeReport = Callable[..., Report]


class MeetingRunner:
    """Finishes a trial only once all expected ones have started: sequential callers would hang."""

    def __init__(self, expected: int, make_trial: Callable[..., Trial]) -> None:
        self.barrier = asyncio.Barrier(expected)
        self.make_trial = make_trial

    async def run(
        self, candidate: Candidate, stage: str, seed: int, pace: Pace | None = None, horizon: int | None = None
    ) -> Trained:
        await self.barrier.wait()
        await asyncio.sleep(0.001 * (5 - seed))
        return Trained(trial=self.make_trial(candidate, None if seed == 2 else 2.0, seed, stage))


@pytest.fixture
def engineer(make_trial: Callable[..., Trial]) -> Engineer:
    return Engineer(MeetingRunner(3, make_trial))


async def proposed(parent: Member, arm: str = "grammar", number: int = 4) -> tuple[Candidate, Brief]:
    told = Brief(slot="token_mixer", arm=arm, number=number, seed=1, parents=(parent,))
    return await Researcher().propose(told), told


async def test_seeds_train_at_once_and_come_back_in_order_failures_included(
    engineer: Engineer, make_candidate: Callable[..., Candidate]
) -> None:
    trained = await asyncio.wait_for(engineer.train(make_candidate(), "explore", (0, 1, 2)), 60)
    trials = [each.trial for each in trained]
    assert [trial.seed for trial in trials] == [0, 1, 2]
    assert [trial.succeeded for trial in trials] == [True, True, False]


@pytest.mark.parametrize("seeds", [(), (1, 1)])
async def test_no_seeds_and_repeated_seeds_are_refused(
    engineer: Engineer, make_candidate: Callable[..., Candidate], seeds: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="seeds are"):
        await engineer.train(make_candidate(), "explore", seeds)


@pytest.mark.parametrize("arm", ["grammar", "random"])
@pytest.mark.parametrize("kind", [ReportKind.duplicate, ReportKind.refused, ReportKind.crashed, ReportKind.timeout])
async def test_every_refusal_gets_a_new_attempt_that_names_the_old_one(
    engineer: Engineer, make_member: MakeMember, make_report: MakeReport, arm: str, kind: ReportKind
) -> None:
    candidate, told = await proposed(make_member(), arm)
    seen = {candidate.candidate_id}
    for attempt in (1, 2, 3):
        repaired = await engineer.repair(candidate, Evidence(report=make_report(candidate, kind)), told)
        assert (repaired.number, repaired.attempt, repaired.arm) == (candidate.number, attempt, arm)
        assert repaired.repairs == candidate.candidate_id
        assert repaired.parent_ids == candidate.parent_ids
        assert repaired.candidate_id not in seen
        assert repaired == await engineer.repair(candidate, Evidence(report=make_report(candidate, kind)), told)
        seen.add(repaired.candidate_id)
        candidate = repaired


async def test_a_design_that_is_too_large_gets_smaller(
    engineer: Engineer, make_member: MakeMember, make_report: MakeReport, make_candidate: Callable[..., Candidate]
) -> None:
    wide = canonical(replace(BASELINE_GENOMES["gated_delta_net"], value_width=Width.double))
    parent = make_member(BASELINE_GENOMES["delta_net"])
    candidate = make_candidate(wide, 7, parent_ids=(parent.candidate.candidate_id,))
    report = make_report(candidate, ReportKind.refused, properties=(Property(name="contract", passed=False),))
    told = Brief(slot="token_mixer", arm="grammar", number=7, seed=0, parents=(parent,))
    repaired = await engineer.repair(candidate, Evidence(report=report), told)
    genome, before = genome_of(repaired), genome_of(parent.candidate)
    assert genome is not None
    assert before is not None
    assert genome.value_width is Width.same
    assert repaired.changes == TOKEN_MIXERS.changes_between(before, genome)


async def test_a_refusal_without_a_remedy_takes_a_change_back(
    engineer: Engineer, make_member: MakeMember, make_report: MakeReport, make_candidate: Callable[..., Candidate]
) -> None:
    parent = make_member(BASELINE_GENOMES["delta_net"])
    two = canonical(replace(BASELINE_GENOMES["delta_net"], direct=True, rotary=True))
    candidate = make_candidate(two, 7, parent_ids=(parent.candidate.candidate_id,))
    report = make_report(candidate, ReportKind.refused, properties=(Property(name="causality", passed=False),))
    told = Brief(slot="token_mixer", arm="grammar", number=7, seed=0, parents=(parent,))
    genome = genome_of(await engineer.repair(candidate, Evidence(report=report), told))
    assert genome is not None
    assert genome.direct != genome.rotary


async def test_reports_about_something_else_and_foreign_source_are_refused(
    engineer: Engineer, make_member: MakeMember, make_report: MakeReport
) -> None:
    candidate, told = await proposed(make_member())
    with pytest.raises(ValueError, match="is not about number 4 attempt 0"):
        await engineer.repair(candidate, Evidence(report=make_report(candidate, ReportKind.refused, attempt=1)), told)
    with pytest.raises(ValueError, match="passed"):
        await engineer.repair(candidate, Evidence(report=make_report(candidate)), told)
    foreign = replace(candidate, genome=None, name="by hand")
    with pytest.raises(ValueError, match="has no genome"):
        await engineer.repair(foreign, Evidence(report=make_report(foreign, ReportKind.refused)), told)


async def test_what_a_training_failed_at_is_mended_too(
    engineer: Engineer,
    make_member: MakeMember,
    make_report: MakeReport,
    make_candidate: Callable[..., Candidate],
    make_trial: Callable[..., Trial],
) -> None:
    parent = make_member(BASELINE_GENOMES["delta_net"])
    wide = canonical(replace(BASELINE_GENOMES["gated_delta_net"], value_width=Width.double))
    candidate = make_candidate(wide, 7, parent_ids=(parent.candidate.candidate_id,))
    slow = make_trial(candidate, None, failure=FailureKind.slow, detail="40 times the reference baseline's")
    evidence = Evidence(report=make_report(candidate), trials=(slow,))
    assert (evidence.offence, evidence.detail) == ("slow", "40 times the reference baseline's")
    told = Brief(slot="token_mixer", arm="grammar", number=7, seed=0, parents=(parent,))
    repaired = await engineer.repair(candidate, evidence, told)
    genome = genome_of(repaired)
    assert genome is not None
    assert genome.value_width is Width.same
    assert (repaired.attempt, repaired.repairs) == (1, candidate.candidate_id)


async def test_a_dead_worker_is_no_evidence_against_a_candidate(
    make_report: MakeReport, make_candidate: Callable[..., Candidate], make_trial: Callable[..., Trial]
) -> None:
    candidate = make_candidate()
    lost = make_trial(candidate, None, failure=FailureKind.worker_died)
    assert not Evidence(report=make_report(candidate), trials=(lost,)).failed
    assert Evidence(report=make_report(candidate), trials=(lost, make_trial(candidate, None, 1))).failed


async def test_a_script_answers_each_refusal_with_its_next_attempt(
    make_report: MakeReport, make_trial: Callable[..., Trial]
) -> None:
    proposer = ScriptedProposer([["a = 1", "a = 2"], ["b = 1"]])
    engineer = Engineer(MeetingRunner(1, make_trial), {"scripted": proposer})
    told = Brief(slot="token_mixer", arm="scripted", number=4, seed=0)
    first = await proposer.propose(told)
    second = await engineer.repair(first, Evidence(report=make_report(first, ReportKind.refused)), told)
    third = await engineer.repair(second, Evidence(report=make_report(second, ReportKind.refused)), told)
    assert [attempt.source for attempt in (first, second, third)] == ["a = 1", "a = 2", "a = 2"]
    assert [attempt.repairs for attempt in (first, second, third)] == [None, first.candidate_id, second.candidate_id]
    assert (await proposer.propose(replace(told, number=5))).source == "b = 1"
    with pytest.raises(ValueError, match="at least one script"):
        ScriptedProposer([[]])

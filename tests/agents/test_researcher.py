from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agents.brief import Brief, Member
from agents.grammar.proposer import GrammarProposer, GrammarSettings, genome_of
from agents.grammar.token_mixer.known import BASELINE_GENOMES, KNOWN_GENOMES
from agents.grammar.token_mixer.space import TOKEN_MIXERS
from agents.researcher import Researcher
from cognition.records import Candidate, Report, ReportKind, candidate_id_of

MakeMember = Callable[..., Member]
MakeReport = Callable[..., Report]


def brief(arm: str = "grammar", *, number: int = 3, **fields: object) -> Brief:
    return Brief(slot="token_mixer", arm=arm, number=number, seed=11, **fields)  # type: ignore[arg-type]


async def test_the_same_brief_gives_the_same_candidate_in_a_new_researcher(make_member: MakeMember) -> None:
    for arm in ("grammar", "random"):
        told = brief(arm, parents=(make_member(),))
        assert await Researcher().propose(told) == await Researcher().propose(told)


async def test_numbers_and_attempts_give_different_candidates(make_member: MakeMember) -> None:
    parents = (make_member(KNOWN_GENOMES["hier_gate_net"]),)
    for arm in ("grammar", "random"):
        told = [brief(arm, number=n, attempt=a, parents=parents) for n in range(4) for a in range(2)]
        assert len({(await Researcher().propose(b)).candidate_id for b in told}) >= 7


async def test_a_mutant_names_its_parent_and_what_it_changed(make_member: MakeMember) -> None:
    parent = make_member(BASELINE_GENOMES["gated_delta_net"])
    for number in range(10):
        child = await Researcher().propose(brief(number=number, parents=(parent,), now=5.0))
        genome, before = genome_of(child), genome_of(parent.candidate)
        assert genome is not None
        assert before is not None
        assert child.parent_ids == (parent.candidate.candidate_id,)
        assert child.changes == TOKEN_MIXERS.changes_between(before, genome)
        assert 1 <= len(child.changes) <= 4
        assert child.candidate_id == candidate_id_of(child.source) != parent.candidate.candidate_id
        assert (child.number, child.arm, child.slot, child.created_at) == (number, "grammar", "token_mixer", 5.0)
        assert child.changes[0] in child.motivation


async def test_two_parents_are_crossed_when_asked_to(make_member: MakeMember) -> None:
    parents = (make_member(KNOWN_GENOMES["gla"], 0), make_member(KNOWN_GENOMES["ada_multi_path_gate_net"], 1))
    researcher = Researcher({"grammar": GrammarProposer(GrammarSettings(crossover=1.0))})
    child = await researcher.propose(brief(parents=parents))
    assert child.parent_ids == tuple(parent.candidate.candidate_id for parent in parents)


@pytest.mark.parametrize("name", ["retnet", "mamba2", "hier_gate_net"])
async def test_a_published_program_can_be_a_parent_by_name(make_candidate: Callable[..., Candidate], name: str) -> None:
    baseline = replace(make_candidate(), name=name, genome=None, source="class TokenMixer: ...")
    child = await Researcher().propose(brief(parents=(Member(candidate=baseline),)))
    assert child.parent_ids == (baseline.candidate_id,)


async def test_foreign_parents_are_passed_over(make_candidate: Callable[..., Candidate]) -> None:
    foreign = replace(make_candidate(), name="written by hand", genome=None)
    child = await Researcher().propose(brief(parents=(Member(candidate=foreign),)))
    assert child.parent_ids == ()
    assert child.changes == ()
    assert genome_of(child) is not None


async def test_a_retry_after_a_duplicate_differs(make_member: MakeMember, make_report: MakeReport) -> None:
    parent = make_member()
    for arm in ("grammar", "random"):
        told = brief(arm, parents=(parent,))
        first = await Researcher().propose(told)
        refusals = (make_report(first, ReportKind.duplicate),)
        again = await Researcher().propose(replace(told, refusals=refusals))
        assert again.candidate_id != first.candidate_id


async def test_a_proposal_repeats_neither_parents_nor_references(make_member: MakeMember) -> None:
    parent = make_member(BASELINE_GENOMES["delta_net"], 0)
    first = await Researcher().propose(brief(parents=(parent,)))
    genome = genome_of(first)
    again = await Researcher().propose(brief(parents=(parent,), references=(make_member(genome, 1),)))
    assert again.candidate_id != first.candidate_id


async def test_the_random_arm_looks_at_nobody(make_member: MakeMember) -> None:
    alone = await Researcher().propose(brief("random"))
    watched = await Researcher().propose(brief("random", parents=(make_member(),), references=(make_member(),)))
    assert alone == watched
    assert alone.parent_ids == ()


async def test_an_unknown_arm_names_those_that_exist() -> None:
    with pytest.raises(ValueError, match="no proposer for arm 'oracle'; there are grammar, random"):
        await Researcher().propose(brief("oracle"))


def test_impossible_briefs_and_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"brief\.seed is -1"):
        Brief(slot="token_mixer", arm="grammar", number=0, seed=-1)
    with pytest.raises(ValueError, match=r"grammar\.crossover is 1\.5"):
        GrammarSettings(crossover=1.5)

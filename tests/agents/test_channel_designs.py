"""The second slot's designs: the same moves over another genome, and programs that look at one position only."""

from __future__ import annotations

import ast
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from agents.brief import Brief, Evidence, Member
from agents.engineer import Engineer
from agents.grammar.channel_mixer.genome import Activation, Bottleneck, Gate, Genome
from agents.grammar.channel_mixer.space import CHANNEL_MIXERS
from agents.grammar.learning import LearningSettings, mutation_weights, uniform_weights
from agents.grammar.mutate import crossover, mutate, random_genome
from agents.grammar.proposer import candidate_from, genome_of
from agents.grammar.spaces import SPACES, space_of
from agents.grammar.token_mixer.space import TOKEN_MIXERS
from agents.researcher import Researcher
from cognition.novelty import SAME_BEHAVIOUR
from cognition.records import Insight, Property, Report, ReportKind, candidate_id_of
from models.backbone import candidate_layer, fit_ffn_width, reference_parameters
from models.fingerprint import fingerprint
from models.loading import load_mixer
from models.scale import ModelSize
from models.slots import SLOTS, published_source

SLOT = SLOTS["channel_mixer"]
SIZE = ModelSize(num_layers=2, hidden_size=32, num_heads=4, ffn_width=160, vocab_size=16)
BUDGET = reference_parameters(SIZE, SLOT.name)
SPACE = CHANNEL_MIXERS


def every_design() -> set[Genome]:
    values = product(*SPACE.domains.values())
    return {SPACE.canonical(Genome(**dict(zip(SPACE.domains, genes, strict=True)))) for genes in values}  # type: ignore[arg-type]


def sampled(num: int, seed: int = 0) -> list[Genome]:
    rng = np.random.default_rng(seed)
    return list(dict.fromkeys(random_genome(SPACE, rng) for _ in range(num)))


def behaviour(source: str) -> tuple[float, ...]:
    candidate = load_mixer(source, SLOT.entry)
    width = fit_ffn_width(candidate, SIZE, BUDGET, SLOT.name)
    return fingerprint(lambda layer: candidate_layer(SLOT, candidate, SIZE, width, layer), SIZE.hidden_size)


def far_apart(prints: list[tuple[float, ...]]) -> bool:
    points = np.array(prints)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1) / np.linalg.norm(points, axis=-1).max()
    return bool((gaps + np.eye(len(points)) > SAME_BEHAVIOUR).all())


def test_every_design_is_its_own_canonical_form_and_has_a_name_of_its_own() -> None:
    designs = every_design()
    assert len(designs) == 5040
    assert all(SPACE.canonical(genome) == genome for genome in designs)
    assert len({SPACE.name_of(genome) for genome in designs}) == len(designs)


def test_every_rule_applies_to_some_genome_and_dormant_fields_do_nothing() -> None:
    genomes = [Genome(**dict(zip(SPACE.domains, genes, strict=True))) for genes in product(*SPACE.domains.values())]  # type: ignore[arg-type]
    assert [rule.why for rule in SPACE.rules if not any(map(rule.applies, genomes))] == []
    ungated = SPACE.canonical(Genome(activation=Activation.relu))
    assert SPACE.dormant_fields(ungated) == {"gate_activation"}
    assert SPACE.canonical(replace(ungated, gate_activation=Activation.gelu)) == ungated


def test_two_full_factors_exchanged_are_one_design() -> None:
    one = Genome(gate=Gate.full, activation=Activation.silu, gate_activation=Activation.identity)
    assert SPACE.canonical(one) == SPACE.baselines["swiglu"]


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_moves_know_no_slot(space) -> None:
    rng = np.random.default_rng(3)
    for _ in range(25):
        one, other = random_genome(space, rng), random_genome(space, rng)
        child, mutant = crossover(space, one, other, rng), mutate(space, one, rng, num_changes=2)
        assert mutant != one
        for genome in (child, mutant):
            assert space.canonical(genome) == genome
            assert space.from_json(space.to_json(genome)) == genome
            assert ast.parse(space.render(genome))
        assert space.changes_between(one, mutant)


def built(genome: Genome, width: int = 40) -> nn.Module:
    torch.manual_seed(0)
    mixer = candidate_layer(SLOT, load_mixer(SPACE.render(genome), SLOT.entry), SIZE, width, 1)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return mixer


def test_programs_run_learn_and_look_at_one_position() -> None:
    for genome in sampled(60):
        mixer = built(genome).double()
        x_BTD = torch.randn(3, 9, 32, dtype=torch.float64, requires_grad=True)
        y_BTD = mixer(x_BTD)
        (y_BTD * torch.linspace(-1, 1, y_BTD.numel()).view_as(y_BTD)).sum().backward()
        for name, parameter in mixer.named_parameters():
            assert parameter.grad is not None, name
            assert bool(parameter.grad.any()), name
        torch.testing.assert_close(mixer(x_BTD[1:2, 4:5]), y_BTD[1:2, 4:5])
        assert mixer.bfloat16()(torch.randn(1, 2, 32, dtype=torch.bfloat16)).dtype is torch.bfloat16


def test_programs_hold_only_what_they_use_and_fit_the_budget() -> None:
    for genome in sampled(60, seed=1):
        source = SPACE.render(genome)
        assert source == SPACE.render(replace(genome))
        tree = ast.parse(source)
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert {alias.asname or alias.name for node in imports for alias in node.names} <= used
        attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        stored, read = (
            {node.attr for node in attributes if isinstance(node.ctx, kind)} for kind in (ast.Store, ast.Load)
        )
        assert stored <= read
        assert all(len(line) <= 120 for line in source.splitlines())
        fit_ffn_width(load_mixer(source, SLOT.entry), SIZE, BUDGET, SLOT.name)  # raises where it does not


def test_a_baseline_rendered_behaves_like_the_hand_written_one() -> None:
    assert set(SPACE.baselines) == set(SLOT.baselines)
    for name, genome in SPACE.baselines.items():
        ours, theirs = behaviour(SPACE.render(genome)), behaviour(published_source(SLOT.name, name))
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)


def test_designs_behave_differently() -> None:
    assert far_apart([behaviour(SPACE.render(genome)) for genome in sampled(80, seed=2)])


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_all_designs_behave_differently() -> None:
    prints = [behaviour(SPACE.render(genome)) for genome in sorted(every_design(), key=SPACE.name_of)]
    order = np.argsort(np.array(prints)[:, 0])
    neighbours = [prints[index] for index in order]
    for start in range(0, len(neighbours) - 60, 40):  # equal prints are neighbours by their first number
        assert far_apart(neighbours[start : start + 60])


def brief(arm: str = "grammar", **fields: object) -> Brief:
    return Brief(slot=SLOT.name, arm=arm, number=3, seed=11, **fields)  # type: ignore[arg-type]


def baseline_member(name: str) -> Member:
    candidate = candidate_from(SPACE.baselines[name], brief(), attempt=0)
    source = published_source(SLOT.name, name)
    return Member(
        candidate=replace(candidate, name=name, genome=None, source=source, candidate_id=candidate_id_of(source))
    )


@pytest.mark.parametrize("arm", ["grammar", "random"])
async def test_both_arms_propose_for_the_slot_of_their_brief(arm: str) -> None:
    told = brief(arm, parents=(baseline_member("swiglu"),))
    child = await Researcher().propose(told)
    assert child == await Researcher().propose(told)
    assert child.slot == SLOT.name
    assert isinstance(genome_of(child), Genome)
    assert f"class {SLOT.entry}" in child.source
    if arm == "grammar":
        assert child.parent_ids == (told.parents[0].candidate.candidate_id,)
        assert child.changes == SPACE.changes_between(SPACE.baselines["swiglu"], genome_of(child))


async def test_a_design_that_does_not_fit_loses_its_bottleneck() -> None:
    genome = SPACE.canonical(Genome(gate=Gate.heads, bottleneck=Bottleneck.up))
    candidate = candidate_from(genome, brief(), attempt=0)
    report = Report(
        candidate_id=candidate.candidate_id,
        number=3,
        attempt=0,
        kind=ReportKind.refused,
        properties=(Property(name="contract", passed=False),),
    )
    repaired = await Engineer(runner=None).repair(candidate, Evidence(report=report), brief())  # type: ignore[arg-type]
    assert genome_of(repaired).bottleneck is Bottleneck.none
    assert (repaired.slot, repaired.attempt, repaired.repairs) == (SLOT.name, 1, candidate.candidate_id)


def test_what_was_learned_in_one_slot_says_nothing_in_another() -> None:
    learned = Insight(
        insight_id="i",
        candidate_id="c",
        number=1,
        claim="",
        slot=SLOT.name,
        stage="explore",
        against="parent",
        against_id="p",
        change="inner_norm: false -> true",
        effect=-0.5,
        low=-0.6,
        high=-0.4,
    )
    target = ("inner_norm", "true")
    assert mutation_weights(SPACE, [learned], LearningSettings())[target] > uniform_weights(SPACE)[target]
    assert mutation_weights(TOKEN_MIXERS, [learned], LearningSettings()) == uniform_weights(TOKEN_MIXERS)


def test_a_slot_without_designs_is_answered_with_those_that_have_some() -> None:
    with pytest.raises(ValueError, match=r"slot 'norm'.*token_mixer, channel_mixer"):
        space_of("norm")

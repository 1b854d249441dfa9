from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.grammar.mutate import crossover, mutate, random_genome
from agents.grammar.token_mixer.describe import name_of
from agents.grammar.token_mixer.genome import (
    DOMAINS,
    ConvOn,
    Decay,
    FeatureMap,
    Fusion,
    Genome,
    Logits,
    OutputNorm,
    QKNorm,
    Write,
    WriteGate,
)
from agents.grammar.token_mixer.known import BASELINE_GENOMES, KNOWN_GENOMES
from agents.grammar.token_mixer.rules import RULES, TWO_STAGE, canonical
from agents.grammar.token_mixer.space import TOKEN_MIXERS

RAW = st.fixed_dictionaries({name: st.sampled_from(domain) for name, domain in DOMAINS.items()}).map(
    lambda genes: Genome(**genes)
)


@settings(max_examples=300, deadline=None)
@given(RAW)
def test_canonical_form_is_its_own_canonical_form(raw: Genome) -> None:
    once = canonical(raw)
    assert canonical(once) == once


@settings(max_examples=300, deadline=None)
@given(RAW)
def test_canonical_designs_are_stable_and_well_formed(raw: Genome) -> None:
    g = canonical(raw)
    if g.write is Write.delta:
        assert g.qk_norm is QKNorm.l2
        assert g.write_gate is not WriteGate.none
        assert g.decay is not Decay.channel or g.write_gate is not WriteGate.tied
    else:
        assert g.normalise or g.write_gate is WriteGate.tied or g.output_norm is not OutputNorm.none
    assert (g.fusion is Fusion.none) == (len(g.paths) == 1)
    assert g.fusion not in TWO_STAGE or len(g.paths) >= 3
    assert g.fusion is not Fusion.direct_context or g.direct


@settings(max_examples=200, deadline=None)
@given(RAW, st.data())
def test_dormant_fields_change_nothing(raw: Genome, data: st.DataObject) -> None:
    g = canonical(raw)
    for name in sorted(TOKEN_MIXERS.dormant_fields(g)):
        value = data.draw(st.sampled_from(DOMAINS[name]))
        assert canonical(replace(g, **{name: value})) == g  # type: ignore[arg-type]


def test_every_rule_applies_to_some_design() -> None:
    rng = np.random.default_rng(0)
    raws = [Genome(**{n: d[int(rng.integers(len(d)))] for n, d in DOMAINS.items()}) for _ in range(2000)]  # type: ignore[arg-type]
    unused = [rule.why for rule in RULES if not any(rule.applies(raw) for raw in raws)]
    assert unused == []


def test_the_same_activation_in_another_place_is_the_same_design() -> None:
    for spelt, meant in (
        ({"conv_on": ConvOn.v, "conv_silu": False, "value_silu": True}, {"conv_on": ConvOn.v}),
        ({"conv_on": ConvOn.qk, "conv_silu": False, "feature_map": FeatureMap.silu}, {"conv_on": ConvOn.qk}),
        (
            {"conv_on": ConvOn.qkv, "conv_silu": False, "feature_map": FeatureMap.silu, "value_silu": True},
            {"conv_on": ConvOn.qkv},
        ),
    ):
        assert canonical(Genome(**spelt)) == canonical(Genome(**meant))  # type: ignore[arg-type]


def test_json_brings_the_design_back() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        genome = random_genome(TOKEN_MIXERS, rng)
        assert TOKEN_MIXERS.from_json(TOKEN_MIXERS.to_json(genome)) == genome


def test_unknown_fields_and_values_name_the_choices() -> None:
    with pytest.raises(ValueError, match=r"unknown fields \['colour'\]"):
        TOKEN_MIXERS.from_json('{"colour": "red"}')
    with pytest.raises(ValueError, match=r"short_taps is 4; choose one of \['0', '3', '5', '7'\]"):
        Genome(short_taps=4)
    with pytest.raises(ValueError, match="direct is 1"):
        Genome(direct=1)  # type: ignore[arg-type]


def test_changes_leave_out_what_does_nothing_in_the_new_design() -> None:
    routed = KNOWN_GENOMES["content_sharp_router"]
    alone = canonical(replace(routed, direct=False, short_taps=0, long_taps=0))
    changes = TOKEN_MIXERS.changes_between(routed, alone)
    assert set(changes) == {"direct: true -> false", "short_taps: 3 -> 0", "long_taps: 63 -> 0"}
    assert TOKEN_MIXERS.changes_between(alone, alone) == ()


def test_mutation_always_gives_another_canonical_design() -> None:
    rng = np.random.default_rng(2)
    genome = BASELINE_GENOMES["delta_net"]
    for step in range(60):
        mutant = mutate(TOKEN_MIXERS, genome, rng, num_changes=1 + step % 2)
        assert mutant != genome
        assert canonical(mutant) == mutant
        assert TOKEN_MIXERS.changes_between(genome, mutant)
        genome = mutant


def test_mutation_keeps_the_fields_it_is_told_to_keep() -> None:
    rng = np.random.default_rng(3)
    keep = frozenset(DOMAINS) - {"output_gate"}
    assert TOKEN_MIXERS.changes_between(
        BASELINE_GENOMES["delta_net"], mutate(TOKEN_MIXERS, BASELINE_GENOMES["delta_net"], rng, keep=keep)
    )[0].startswith("output_gate: none ->")


def test_a_mutation_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="num_changes is 0"):
        mutate(TOKEN_MIXERS, Genome(), np.random.default_rng(0), num_changes=0)


def test_crossover_takes_fields_from_its_parents() -> None:
    first, second = KNOWN_GENOMES["gla"], KNOWN_GENOMES["ada_multi_path_gate_net"]
    children = [crossover(TOKEN_MIXERS, first, second, np.random.default_rng(seed)) for seed in range(20)]
    assert all(canonical(child) == child for child in children)
    for child in children:
        assert child.conv_on in (first.conv_on, second.conv_on)
        assert child.long_taps in (first.long_taps, second.long_taps)
    assert len(set(children)) > 10


def test_names_tell_designs_apart() -> None:
    rng = np.random.default_rng(4)
    genomes = (
        {random_genome(TOKEN_MIXERS, rng) for _ in range(1000)}
        | set(KNOWN_GENOMES.values())
        | set(BASELINE_GENOMES.values())
    )
    assert len({name_of(genome) for genome in genomes}) == len(genomes)
    two = canonical(replace(BASELINE_GENOMES["gated_delta_net"], conv_on=ConvOn.none, short_taps=3, long_taps=31))
    assert name_of(two).startswith("gated-delta + fir3/fir31 softmax fusion")


def test_the_published_designs_differ_in_what_their_authors_say() -> None:
    assert KNOWN_GENOMES["fusion_gated_fir_net"].decay is Decay.learned
    assert KNOWN_GENOMES["content_sharp_router"].temperature
    assert KNOWN_GENOMES["ada_multi_path_gate_net"].fusion_logits is Logits.layered
    assert KNOWN_GENOMES["path_gate_fusion_net"].fusion is Fusion.direct_context
    assert all(
        len(KNOWN_GENOMES[name].paths) == 4
        for name in ("hier_gate_net", "fusion_gated_fir_net", "path_gate_fusion_net")
    )

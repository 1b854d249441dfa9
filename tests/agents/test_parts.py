"""Designs taken apart: genomes against their parents, sources by what they declare, and nothing is executed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.grammar.spaces import space_of
from agents.grammar.token_mixer.genome import Genome, OutputGate
from agents.grammar.token_mixer.space import TOKEN_MIXERS
from agents.parts import REMOVED, SWAPPED, Design, NothingToTakeApart, declared_parts
from cognition.records import Candidate, candidate_id_of
from models.loading import load_mixer
from models.slots import published_source

PARENT = TOKEN_MIXERS.baselines["delta_net"]
CHILD = TOKEN_MIXERS.canonical(replace(PARENT, short_taps=3, long_taps=31, output_gate=OutputGate.swish))


def candidate(source: str, genome: Genome | None = None) -> Candidate:
    return Candidate(
        candidate_id=candidate_id_of(source),
        number=7,
        arm="grammar",
        slot="token_mixer",
        name="it",
        motivation="",
        source=source,
        genome=TOKEN_MIXERS.to_json(genome) if genome is not None else None,
    )


def grammars(child: Genome = CHILD, parent: Genome = PARENT) -> Design:
    return Design(
        candidate=candidate(TOKEN_MIXERS.render(child), child),
        entry="TokenMixer",
        against=TOKEN_MIXERS.to_json(parent),
    )


def test_each_field_that_differs_takes_the_parents_value() -> None:
    variants = {variant.parts: variant for variant in grammars().variants()}
    assert {("short_taps",), ("long_taps",), ("output_gate",)} <= set(variants)
    long = variants["long_taps",]
    assert (long.kind, long.change, long.name) == (SWAPPED, "long_taps: 31 -> 0", "swapped_long_taps")
    space = space_of("token_mixer")
    assert space.from_json(str(long.genome)) == space.canonical(replace(CHILD, long_taps=0))
    assert long.source == space.render(space.from_json(str(long.genome)))
    assert len({variant.source for variant in variants.values()}) == len(variants)


def test_all_of_them_together_are_the_parent() -> None:
    design = grammars()
    assert design.without(design.parts).source == TOKEN_MIXERS.render(PARENT)


def test_declared_parts_are_left_out_by_the_constructor() -> None:
    design = Design(candidate=candidate(published_source("token_mixer", "path_gate_fusion_net")), entry="TokenMixer")
    assert design.parts == ("direct", "short_fir", "long_fir", "delta_rule", "qkv_conv", "always_on", "head_gate")
    names = {name for name, _ in load_mixer(design.candidate.source)(32, 2).named_parameters()}
    without = design.without(["long_fir", "head_gate"])
    assert (without.kind, without.change) == (REMOVED, "without long_fir, head_gate")
    left = {name for name, _ in load_mixer(without.source)(32, 2, 1).named_parameters()}
    assert names - left == {"long_fir", "head_gate.weight", "head_gate.bias"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("PARTS = ('a', 'b', 'a')", ("a", "b")),
        ("PARTS = ['a']\n", ("a",)),
        ("x = 1\nPARTS = ('a', 3, 'not a name', '__import__(\"os\")')", ("a",)),
        ("PARTS = 'abc'", ()),
        ("PARTS = tuple(open('/etc/passwd'))", ()),
        ("def f():\n    PARTS = ('a',)\n", ()),
        ("PARTS = (", ()),
        ("PARTS = (" * 300, ()),
        ("PARTS = (" + ", ".join(f"'p{number}'" for number in range(99)) + ")", tuple(f"p{n}" for n in range(32))),
    ],
)
def test_only_a_literal_of_names_counts(text: str, parts: tuple[str, ...]) -> None:
    assert declared_parts(text) == parts


@pytest.mark.parametrize("line", ["super().__init__()", "super(TokenMixer, self).__init__()"])
def test_a_variant_is_the_same_text_with_another_default(line: str) -> None:
    source = (
        "from torch import nn\n\nPARTS = ('ä', 'gate')\n\n\nclass TokenMixer(nn.Module):\n"
        "    def __init__(self, d, h, ö='ä', *, without=(\n        ), **kwargs):\n"
        f"        {line}\n        self.without = without\n"
    )
    design = Design(candidate=candidate(source), entry="TokenMixer")
    mixer = load_mixer(design.without(["gate", "ä"]).source)(8, 1)
    assert mixer.without == ("gate", "ä")
    assert design.without(["gate"]).source == source.replace("(\n        )", "('gate',)")


def test_a_declaration_without_its_argument_is_told() -> None:
    source = "PARTS = ('gate',)\n\n\nclass TokenMixer:\n    def __init__(self, d, h): ...\n"
    with pytest.raises(NothingToTakeApart, match=r"declares PARTS, and its TokenMixer takes no `without=\(\)`"):
        Design(candidate=candidate(source), entry="TokenMixer")


def test_what_cannot_be_taken_apart_says_what_would_have_to_be_there() -> None:
    with pytest.raises(NothingToTakeApart, match=r"declares no parts.*PARTS = \(\.\.\.\) and take `without`"):
        Design(candidate=candidate("class TokenMixer: ..."), entry="TokenMixer")
    with pytest.raises(NothingToTakeApart, match="does not differ"):
        grammars(child=PARENT)
    with pytest.raises(ValueError, match="there is no part 'heads'; there are"):
        grammars().without(["heads"])

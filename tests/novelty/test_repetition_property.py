"""Whatever was proposed before is refused before any training, under whatever names, orders and idle constants.

Designs are drawn from the grammar, disguised by compositions of harmless rewrites, and go through the code that a
campaign runs: the source's hash, then what the gate hands over, compared with everything tried.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.grammar.mutate import mutate, random_genome
from agents.grammar.spaces import SPACES
from cognition.novelty import NoveltySettings
from cognition.records import Candidate, Report, ReportKind, candidate_id_of
from models.sandbox.exam import ExamJob, examine
from models.sandbox.parent import ForkServer
from models.scale import load_scale
from orchestrator.population import Population
from orchestrator.repetition import compared, duplicate_by_source
from tests.novelty.calibration import report_on
from tests.novelty.transforms import disguised

SLOTS = ("token_mixer", "channel_mixer")


@dataclass(frozen=True, slots=True)
class Proposed:
    """A design in a campaign."""

    candidate: Candidate
    report: Report


def candidate_of(source: str, slot: str, number: int) -> Candidate:
    return Candidate(
        candidate_id=candidate_id_of(source),
        number=number,
        arm="grammar",
        slot=slot,
        name=f"design {number}",
        motivation="drawn",
        source=source,
    )


def proposed(source: str, slot: str, number: int) -> Proposed:
    return Proposed(candidate_of(source, slot, number), replace(report_on(source, slot, 0), number=number))


def verdict(population: Population, again: Proposed) -> Report:
    """What a campaign says before any training."""
    known = duplicate_by_source(again.candidate, population, now=0.0)
    return known or compared(again.report, again.candidate, population, NoveltySettings()).report


def drawn(seed: int) -> tuple[str, str]:
    """A random design's source, and its slot: three of four are token mixers."""
    slot = SLOTS[seed % 4 == 3]
    space = SPACES[slot]
    return space.render(random_genome(space, np.random.default_rng(seed))), slot


def one_projection(source: str) -> str:
    """The design of the grammar with one projection for queries and keys: weights of other shapes."""
    lines = []
    for line in source.splitlines():
        if "self.q_proj = " in line:
            line = line.replace("self.q_proj", "self.qk_proj").replace("key_width", "2 * key_width")
        elif "self.k_proj = " in line:
            continue
        elif "self.q_proj(x)" in line:
            lines.append(f"{line[: len(line) - len(line.lstrip())]}both = self.qk_proj(x)")
        line = line.replace("self.q_proj(x)", "both.chunk(2, -1)[0]").replace("self.k_proj(x)", "both.chunk(2, -1)[1]")
        lines.append(line)
    return "\n".join(lines) + "\n"


def check_disguise(seed: int) -> None:
    source, slot = drawn(seed)
    first = proposed(source, slot, 3)
    others = [proposed(*drawn(seed + 1 + place), place) for place in range(2)]
    population = Population(record for item in (*others, first) for record in (item.candidate, item.report))
    rng = random.Random(seed)
    if slot == "token_mixer" and seed % 3 == 0:
        source = one_projection(source)
    again, names = disguised(source, rng)
    assert again != first.candidate.source
    report = verdict(population, proposed(again, slot, 9))
    assert report.kind is ReportKind.duplicate, f"seed {seed}, {names}: {report.nearest_distance}\n{again}"
    assert report.duplicate_by in ("source", "behaviour", "structure")
    assert "candidate 3 (design 3)" in report.detail


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 10))
def test_a_design_in_disguise_is_refused_and_its_first_form_is_named(seed: int) -> None:
    check_disguise(seed)


@pytest.mark.nightly
@settings(max_examples=1500, deadline=None)
@given(st.integers(0, 2**32 - 10))
def test_a_great_many_designs_in_disguise_are_refused(seed: int) -> None:
    check_disguise(seed)


def num_refused(num: int, seed: int) -> tuple[int, int]:
    """Random designs and a mutant of each, one after the other: how many were refused, of how many."""
    rng = np.random.default_rng(seed)
    space = SPACES["token_mixer"]
    genomes = [random_genome(space, rng) for _ in range(num)]
    genomes += [mutate(space, genome, rng) for genome in genomes]
    population = Population()
    refused = 0
    distinct = list(dict.fromkeys(genomes))
    for number, genome in enumerate(distinct):
        design = proposed(space.render(genome), "token_mixer", number)
        report = verdict(population, design)
        refused += report.refused
        population.add(design.candidate)
        population.add(report)
    return refused, len(distinct)


def test_designs_that_differ_are_not_refused(capsys: pytest.CaptureFixture[str]) -> None:
    refused, num = num_refused(25, seed=1)
    with capsys.disabled():
        print(f"\n{refused} of {num} distinct genomes refused")
    assert refused <= 0.02 * num


@pytest.mark.nightly
def test_a_great_many_designs_that_differ_are_not_refused(capsys: pytest.CaptureFixture[str]) -> None:
    refused, num = num_refused(1500, seed=2)
    with capsys.disabled():
        print(f"\n{refused} of {num} distinct genomes refused")
    assert refused <= 0.02 * num


def test_the_jailed_gate_hands_over_what_novelty_needs() -> None:
    stage = load_scale("tiny").stages[0]
    source, slot = drawn(4)
    with ForkServer() as server:
        found = []
        for number, text in enumerate((source, disguised(source, random.Random(1))[0], one_projection(source))):
            job = ExamJob(
                candidate_id=candidate_id_of(text),
                number=number,
                attempt=0,
                source=text,
                slot=slot,
                size=stage.size,
                length=stage.length,
                deadline_s=60.0,
            )
            found.append(Proposed(candidate_of(text, slot, number), examine(job, server)))
    first, disguise, relaid = found
    assert [item.report.kind for item in found] == [ReportKind.passed] * 3
    population = Population([first.candidate, first.report])
    assert verdict(population, disguise).duplicate_by == "behaviour"
    assert verdict(population, relaid).duplicate_by == "structure"

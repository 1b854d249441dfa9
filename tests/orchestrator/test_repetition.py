"""The same source and the same behaviour are refused before training, and the neighbour is named."""

from __future__ import annotations

import dataclasses

import pytest

from cognition.records import Candidate, Report, ReportKind, candidate_id_of
from orchestrator.population import Population
from orchestrator.repetition import duplicate_by_source, with_nearest
from tests.cognition.factories import make_candidate, make_report

SOURCE = """\
class TokenMixer:
    def forward(self, x):
        return x + 1
"""
RELAID = """\
# another author, another style
class TokenMixer:   # a mixer

    def forward( self,x ):

        # adds one
        return x+1  # here
"""


def proposed(source: str, number: int, attempt: int = 0) -> Candidate:
    return dataclasses.replace(
        make_candidate(number), source=source, candidate_id=candidate_id_of(source), attempt=attempt
    )


def behaving(number: int, *fingerprint: float, kind: ReportKind = ReportKind.passed) -> Report:
    return dataclasses.replace(make_report(make_candidate(number), kind), fingerprint=fingerprint)


def known(*reports: Report) -> Population:
    return Population([*(make_candidate(report.number) for report in reports), *reports])


@pytest.mark.parametrize("source", [SOURCE, RELAID, SOURCE.replace("    ", "\t")])
def test_the_same_source_is_refused_whatever_its_comments_and_layout(source: str) -> None:
    report = duplicate_by_source(proposed(source, 9), Population([proposed(SOURCE, 4)]), now=3.0)
    assert report is not None
    assert (report.kind, report.refused, report.number, report.attempt) == (ReportKind.duplicate, True, 9, 0)
    assert report.detail == "same source as candidate 4 (mixer-4)"
    assert (report.nearest_id, report.nearest_distance) == (candidate_id_of(SOURCE), 0.0)
    assert report.created_at == 3.0


def test_another_source_is_no_duplicate() -> None:
    population = Population([proposed(SOURCE, 4)])
    assert duplicate_by_source(proposed(SOURCE.replace("+ 1", "+ 2"), 9), population, now=0.0) is None
    assert duplicate_by_source(proposed(SOURCE.replace("return x", "return  # x"), 9), population, now=0.0) is None


def test_a_candidate_is_no_duplicate_of_its_own_row() -> None:
    candidate = proposed(SOURCE, 4, attempt=1)
    assert duplicate_by_source(candidate, Population([candidate]), now=0.0) is None


def test_a_repair_that_changes_nothing_is_a_duplicate_of_what_it_repairs() -> None:
    report = duplicate_by_source(proposed(RELAID, 4, attempt=1), Population([proposed(SOURCE, 4)]), now=0.0)
    assert report is not None
    assert (report.number, report.attempt, report.detail) == (4, 1, "same source as candidate 4 (mixer-4)")


def test_the_same_behaviour_is_refused_and_the_nearest_is_named() -> None:
    population = known(behaving(1, 1.0, 2.0), behaving(2, 3.0, 4.00001), behaving(3, 3.1, 4.0))
    report = with_nearest(behaving(9, 3.0, 4.0), population, threshold=1e-3)
    assert report.kind is ReportKind.duplicate
    assert report.nearest_id == make_candidate(2).candidate_id
    assert report.nearest_distance == pytest.approx(2e-6, rel=1e-3)
    assert report.detail == "behaves as candidate 2 (mixer-2): relative distance 2.0e-06"


def test_another_behaviour_passes_with_its_neighbour_on_record() -> None:
    population = known(behaving(1, 1.0, 2.0), behaving(2, 3.0, 4.5))
    report = with_nearest(behaving(9, 3.0, 4.0), population, threshold=1e-3)
    assert (report.kind, report.detail) == (ReportKind.passed, "")
    assert report.nearest_id == make_candidate(2).candidate_id
    assert report.nearest_distance == pytest.approx(0.5 / 29.25**0.5)


def test_a_founder_is_never_refused_whatever_it_resembles() -> None:
    report = with_nearest(behaving(1, 3.0, 4.0), known(behaving(0, 3.0, 4.0)), threshold=None)
    assert report.kind is ReportKind.passed
    assert (report.nearest_id, report.nearest_distance) == (make_candidate(0).candidate_id, 0.0)


def test_only_those_that_passed_are_neighbours() -> None:
    refused = behaving(1, 3.0, 4.0, kind=ReportKind.refused)
    alone = behaving(9, 3.0, 4.0)
    assert with_nearest(alone, known(refused), threshold=1e-3) == alone
    assert with_nearest(alone, Population(), threshold=1e-3) == alone


def test_what_the_gate_refused_keeps_its_own_reason() -> None:
    refused = dataclasses.replace(behaving(9, kind=ReportKind.crashed), detail="raised")
    assert with_nearest(refused, known(behaving(1, 3.0, 4.0)), threshold=1e-3) == refused

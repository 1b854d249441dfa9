"""What was tried before is refused before training, and the neighbour is named, with its fate."""

from __future__ import annotations

import dataclasses

import pytest

from agents.brief import Evidence, Failed
from agents.telling import evidence_text, failed_line, report_line
from cognition.novelty import OPINION, NoveltySettings
from cognition.records import (
    Candidate,
    FailureKind,
    Report,
    ReportKind,
    Trial,
    TrialStatus,
    candidate_id_of,
    trial_id_of,
)
from orchestrator.population import Population
from orchestrator.repetition import compared, duplicate_by_motivation, duplicate_by_source, refused
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


def written(number: int, motivation: str, attempt: int = 0, **more: object) -> Candidate:
    return dataclasses.replace(
        proposed(f"number = {number}.{attempt}\n", number, attempt),
        arm="llm",
        motivation=motivation,
        mode="refine",
        **more,  # type: ignore[arg-type]
    )


def on(candidate: Candidate, kind: ReportKind = ReportKind.passed, **more: object) -> Report:
    made = dataclasses.replace(make_report(make_candidate(candidate.number), kind), candidate_id=candidate.candidate_id)
    return dataclasses.replace(made, attempt=candidate.attempt, **more)  # type: ignore[arg-type]


def with_nearest(report: Report, population: Population, *, refuses: bool = True) -> Report:
    candidate = make_candidate(report.number)
    return compared(report, candidate, population, NoveltySettings() if refuses else None).report


def known(*reports: Report) -> Population:
    return Population([*(make_candidate(report.number) for report in reports), *reports])


@pytest.mark.parametrize("source", [SOURCE, RELAID, SOURCE.replace("    ", "\t")])
def test_the_same_source_is_refused_whatever_its_comments_and_layout(source: str) -> None:
    report = duplicate_by_source(proposed(source, 9), Population([proposed(SOURCE, 4)]), now=3.0)
    assert report is not None
    assert (report.kind, report.refused, report.number, report.attempt) == (ReportKind.duplicate, True, 9, 0)
    assert report.detail == "same source as candidate 4 (mixer-4)"
    assert (report.nearest_id, report.nearest_distance) == (candidate_id_of(SOURCE), 0.0)
    assert report.duplicate_by == "source"
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
    report = with_nearest(behaving(9, 3.0, 4.0), population)
    assert report.kind is ReportKind.duplicate
    assert report.nearest_id == make_candidate(2).candidate_id
    assert report.nearest_distance == pytest.approx(2e-6, rel=1e-2)
    assert report.detail == "behaves as candidate 2 (mixer-2): relative distance 2.0e-06"
    assert report.duplicate_by == "behaviour"


def test_another_behaviour_passes_with_its_neighbour_on_record() -> None:
    population = known(behaving(1, 1.0, 2.0), behaving(2, 3.0, 4.5))
    report = with_nearest(behaving(9, 3.0, 4.0), population)
    assert (report.kind, report.detail) == (ReportKind.passed, "")
    assert report.nearest_id == make_candidate(2).candidate_id
    assert report.nearest_distance == pytest.approx(0.5 / 29.25**0.5)


def test_a_founder_is_never_refused_whatever_it_resembles() -> None:
    report = with_nearest(behaving(1, 3.0, 4.0), known(behaving(0, 3.0, 4.0)), refuses=False)
    assert report.kind is ReportKind.passed
    assert (report.nearest_id, report.nearest_distance) == (make_candidate(0).candidate_id, 0.0)


def test_only_those_that_passed_are_neighbours() -> None:
    refused = behaving(1, 3.0, 4.0, kind=ReportKind.refused)
    alone = behaving(9, 3.0, 4.0)
    assert with_nearest(alone, known(refused)) == alone
    assert with_nearest(alone, Population()) == alone


def test_what_the_gate_refused_keeps_its_own_reason() -> None:
    refused = dataclasses.replace(behaving(9, kind=ReportKind.crashed), detail="raised")
    assert with_nearest(refused, known(behaving(1, 3.0, 4.0))) == refused


IDEA = "A delta rule whose writing strength depends on how much the key is already known, so old memories stay."
AGAIN = IDEA.replace("so old memories stay", "so that the old memories will stay")
OTHER = "Every channel forgets at a rate of its own, read from the token, to clear what a document has left behind."


def trained(candidate: Candidate, failure: FailureKind) -> Trial:
    return Trial(
        trial_id=trial_id_of(candidate.candidate_id, "explore", 0),
        candidate_id=candidate.candidate_id,
        stage="explore",
        seed=0,
        split="validation",
        status=TrialStatus.failed,
        failure=failure,
        detail="loss 9.1 at step 40",
    )


def test_a_design_laid_out_otherwise_is_refused_by_its_structure_and_a_constant_is_not() -> None:
    first = dataclasses.replace(behaving(2, 3.0, 4.0), structure=(1.0, 2.0), layout="three")
    fused = dataclasses.replace(behaving(9, 4.0, 3.0), structure=(1.0, 2.0), layout="one", num_parameters=1002)
    report = with_nearest(fused, known(first))
    assert (report.kind, report.duplicate_by) == (ReportKind.duplicate, "structure")
    assert report.detail == (
        "has the operators of candidate 2 (mixer-2) on weights that are laid out otherwise: structural distance 0.00"
    )
    assert (report.structure_id, report.structure_distance) == (make_candidate(2).candidate_id, 0.0)
    assert report.nearest_distance == pytest.approx(0.2**0.5 * 0.632, rel=1e-2)
    constant = with_nearest(dataclasses.replace(fused, layout="three"), known(first))
    assert (constant.kind, constant.structure_distance) == (ReportKind.passed, 0.0)


def test_an_idea_that_was_tried_is_refused_before_the_gate() -> None:
    first = written(2, IDEA)
    population = Population([first, on(first), written(3, OTHER)])
    report = duplicate_by_motivation(written(9, AGAIN), population, NoveltySettings(), now=4.0)
    assert report is not None
    assert (report.kind, report.duplicate_by, report.created_at) == (ReportKind.duplicate, "motivation", 4.0)
    assert report.motivation_id == first.candidate_id
    assert report.motivation_similarity is not None
    assert report.motivation_similarity > 0.95
    assert (
        report.detail == f"has the motivation of candidate 2 (mixer-2): similarity {report.motivation_similarity:.2f}"
    )
    assert (
        duplicate_by_motivation(written(9, "Only filters: " + OTHER[::-1]), population, NoveltySettings(), 0.0) is None
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (IDEA, IDEA.replace("depends", "does not depend")),
        (
            "Decay is large in the early layers and small in the late layers of the stack.",
            "Decay is small in the early layers and large in the late layers of the stack.",
        ),
        (
            "Keys decay faster than values, so that an address is given up while its content is read.",
            "Values decay faster than keys, so that an address is given up while its content is read.",
        ),
    ],
)
def test_an_idea_that_turns_another_into_its_opposite_is_doubtful_and_passes(first: str, second: str) -> None:
    earlier, later = written(2, first), written(9, second)
    population = Population([earlier, on(earlier, fingerprint=(1.0, 0.0))])
    assert duplicate_by_motivation(later, population, NoveltySettings(), now=0.0) is None
    found = compared(on(later, fingerprint=(0.0, 1.0)), later, population, NoveltySettings())
    assert found.report.kind is ReportKind.passed
    assert found.report.motivation_similarity is not None
    assert found.report.motivation_similarity > 0.9
    assert found.doubt is not None
    assert found.doubt.measure == "motivation"


def test_who_said_it_in_the_same_words_is_named_and_recorded_where_a_denial_is_as_near() -> None:
    denial, first = written(1, IDEA.replace("depends", "does not depend")), written(2, IDEA)
    population = Population([denial, on(denial), first, on(first)])
    report = duplicate_by_motivation(written(9, AGAIN), population, NoveltySettings(), now=0.0)
    assert report is not None
    assert "candidate 2 (mixer-2)" in report.detail
    assert report.motivation_id == first.candidate_id


@pytest.mark.parametrize(
    ("kind", "failure", "fate"),
    [
        (ReportKind.refused, None, "it was refused: cost"),
        (ReportKind.crashed, None, "it was refused: cost"),
        (ReportKind.passed, FailureKind.diverged, "it failed in training: diverged"),
        (ReportKind.passed, FailureKind.worker_died, ""),
        (ReportKind.passed, None, ""),
    ],
)
def test_failures_count_and_their_fate_is_told(kind: ReportKind, failure: FailureKind | None, fate: str) -> None:
    first = written(2, IDEA)
    trials = [] if failure is None else [trained(first, failure)]
    report = duplicate_by_motivation(
        written(9, AGAIN), Population([first, on(first, kind), *trials]), NoveltySettings(), now=0.0
    )
    assert report is not None
    assert report.detail.partition("; ")[2] == fate


def test_the_repair_of_an_idea_is_no_repetition_of_it() -> None:
    first = written(2, IDEA)
    population = Population([first, on(first, ReportKind.crashed)])
    for again in (
        written(2, IDEA, attempt=1, repairs=first.candidate_id),
        dataclasses.replace(written(9, IDEA), mode="repair", parent_ids=(first.candidate_id,)),
    ):
        assert duplicate_by_motivation(again, population, NoveltySettings(), now=0.0) is None
        assert compared(on(again), again, population, NoveltySettings()).report.kind is ReportKind.passed
    unmended = Population([first, on(first, fingerprint=(3.0, 4.0)), trained(first, FailureKind.nonfinite)])
    same = written(2, IDEA, attempt=1, repairs=first.candidate_id)
    report = compared(on(same, fingerprint=(3.0, 4.0)), same, unmended, NoveltySettings()).report
    assert report.duplicate_by == "behaviour"
    assert report.detail.endswith("; it failed in training: nonfinite")


def test_what_is_near_and_not_the_same_is_doubtful_and_passes_until_somebody_reads_it() -> None:
    first = written(2, IDEA)
    population = Population([first, on(first, fingerprint=(1.0, 0.0))])
    near = written(9, IDEA.replace("the key is already known", "the value was seen before"))
    found = compared(on(near, fingerprint=(3.0, 4.0)), near, population, NoveltySettings())
    assert found.report.kind is ReportKind.passed
    assert found.report.motivation_id == first.candidate_id
    assert found.doubt is not None
    assert found.doubt.neighbour is not None
    assert found.doubt.neighbour.candidate_id == first.candidate_id
    report = refused(found.report, found.doubt, population, OPINION)
    assert (report.kind, report.duplicate_by) == (ReportKind.duplicate, "opinion")
    assert report.detail.startswith("is the idea of candidate 2 (mixer-2) in a model's reading: similarity 0.")


def test_a_refusal_reaches_the_next_prompts_with_neighbour_and_measure() -> None:
    first = dataclasses.replace(written(2, IDEA), name="a long name " * 12)
    population = Population([first, on(first, ReportKind.refused)])
    again = written(9, AGAIN)
    report = duplicate_by_motivation(again, population, NoveltySettings(), now=0.0)
    assert report is not None
    for line in (
        report_line(report),
        failed_line(Failed(candidate=again, evidence=Evidence(report=report))),
        evidence_text(Evidence(report=report)),
    ):
        assert "has the motivation of candidate 2 (a long name" in line
        assert f"similarity {report.motivation_similarity:.2f}" in line
        assert "it was refused: cost" in line


def test_the_index_is_the_same_after_the_rows_were_read_again() -> None:
    first, second = written(2, IDEA), written(3, OTHER)
    rows = [first, on(first, fingerprint=(1.0, 0.0)), second, on(second, fingerprint=(0.0, 1.0))]
    again = written(9, AGAIN)
    found = [
        compared(on(again, fingerprint=(0.9, 0.1)), again, Population(order), NoveltySettings())
        for order in (rows, [*rows[::2], *rows[1::2]])
    ]
    assert found[0] == found[1]
    assert found[0].report.nearest_id == first.candidate_id

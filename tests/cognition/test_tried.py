"""The index of everything tried: who is nearest, and who may be seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from cognition.novelty import nearest
from cognition.records import Candidate, Report, ReportKind
from cognition.tried import Found, Tried, idea_of
from tests.cognition.factories import make_candidate, make_report

DELTA = "A delta rule whose writing strength depends on how much the key is already known, so old memories stay."
DECAY = "Every channel forgets at a rate of its own, read from the token, to clear what a document has left behind."


def report(
    number: int,
    fingerprint: Sequence[float] = (),
    structure: Sequence[float] = (),
    *,
    attempt: int = 0,
    kind: ReportKind = ReportKind.passed,
    layout: str = "a",
    **totals: float | None,
) -> Report:
    made = make_report(make_candidate(number), kind)
    return dataclasses.replace(
        made,
        candidate_id=f"{number}.{attempt}",
        attempt=attempt,
        fingerprint=tuple(fingerprint),
        structure=tuple(structure),
        layout=layout,
        **{"num_parameters": 1000, **totals},  # type: ignore[arg-type]
    )


def written(number: int, motivation: str, *, attempt: int = 0, mode: str = "refine", **more: object) -> Candidate:
    return dataclasses.replace(
        make_candidate(number, arm="llm"),
        candidate_id=f"{number}.{attempt}",
        attempt=attempt,
        motivation=motivation,
        mode=mode,
        **more,  # type: ignore[arg-type]
    )


def tried(*records: Candidate | Report) -> Tried:
    found = Tried()
    for record in records:
        found.add(record)
    return found


def test_the_nearest_by_behaviour_is_that_of_the_plain_search_however_many_there_are() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((500, 88)) * rng.uniform(0.5, 2, (500, 1))
    index = tried(*(report(number, point) for number, point in enumerate(points)))
    for _ in range(20):
        point = points[int(rng.integers(500))] + rng.choice([1e-5, 1e-2, 1.0]) * rng.standard_normal(88)
        wanted = nearest(point, {f"{number}.0": other for number, other in enumerate(points)})
        found = index.by_design(report(1000, point)).behaviour
        assert found is not None
        assert wanted is not None
        assert found.candidate_id == wanted.candidate_id
        assert found.distance == pytest.approx(wanted.distance, rel=1e-3, abs=1e-7)


def test_near_duplicates_are_told_apart_below_the_precision_of_the_search() -> None:
    rng = np.random.default_rng(1)
    point = rng.standard_normal(88)
    others = [point * (1 + size * rng.standard_normal(88)) for size in (1e-4, 1e-5, 1e-6, 3e-5)]
    index = tried(*(report(number, other) for number, other in enumerate(others)))
    found = index.by_design(report(9, point)).behaviour
    assert found is not None
    assert found.candidate_id == "2.0"
    assert found.distance == pytest.approx(1e-6, rel=0.5)
    same = index.by_design(report(9, others[1])).behaviour
    assert (same.candidate_id, same.distance) == ("1.0", 0.0) if same else False


def test_structures_have_a_distance_between_0_and_1() -> None:
    index = tried(report(0, structure=(1.0, 0.0, 2.0)), report(1, structure=(0.0, 5.0, 0.0)))
    same, none = (index.by_design(report(9, structure=s)).structure for s in ((1.0, 0.0, 2.0), (0.0, 1.0, 0.0)))
    assert (same.candidate_id, same.distance) == ("0.0", 0.0) if same else False
    assert none is not None
    assert none.candidate_id == "1.0"
    apart = tried(report(0, structure=(1.0, 0.0))).by_design(report(9, structure=(0.0, 3.0))).structure
    assert apart is not None
    assert apart.distance == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "relaid"),
    [
        ({}, True),
        ({"layout": "a"}, False),  # the same layout: behaviours were compared
        ({"layout": ""}, False),  # not known
        ({"num_parameters": 1001}, False),
        ({"num_parameters": None}, False),
        ({"flops_per_token": 2.6e5}, False),
        ({"state_bytes": 4000}, False),
        ({"state_bytes": None}, True),  # not known
    ],
)
def test_who_is_laid_out_otherwise_has_the_same_totals(changes: dict[str, object], relaid: bool) -> None:
    index = tried(report(0, structure=(1.0, 2.0), layout="a"))
    other = dataclasses.replace(report(9, structure=(1.0, 2.0), layout="b"), **changes)
    found = index.by_design(other)
    assert found.structure is not None
    assert found.structure.distance == 0
    assert (found.relaid is not None) is relaid


def test_what_cannot_be_compared_is_passed_over() -> None:
    index = tried(
        report(0, (1.0,), (1.0,)),
        report(1, (float("nan"), 0.0), (1e300, 0.0)),
        report(2, (), ()),
        report(3, (1.0, 2.0), (1.0, 2.0), kind=ReportKind.refused),
    )
    assert index.by_design(report(9, (1.0, 2.0), (1.0, 2.0))) == Found()
    assert index.by_design(report(9, (), (float("inf"), 1.0))) == Found()
    assert Tried().by_design(report(9, (1.0,), (1.0,))) == Found()


def test_the_nearest_idea_counts_whatever_became_of_it() -> None:
    index = tried(written(1, DELTA), written(2, DECAY), report(1, kind=ReportKind.crashed))
    found = index.by_motivation(written(5, DELTA.replace("old memories stay", "old memories remain")))
    assert found.motivation is not None
    assert found.motivation.candidate_id == "1.0"
    assert found.motivation.distance < 0.1
    assert found.restated is None
    far = index.by_motivation(
        written(5, "Convolve the values twice before anything is written into a state.")
    ).motivation
    assert far is not None
    assert far.distance > 0.5


def test_the_same_words_are_found_behind_a_nearer_idea_that_denies_them() -> None:
    denied = [written(number, DELTA.replace("depends", word)) for number, word in enumerate(["does not depend"] * 9)]
    index = tried(*denied, written(20, DELTA), written(21, DELTA))
    found = index.by_motivation(written(30, DELTA))
    assert found.motivation is not None
    assert found.motivation.candidate_id == "0.0"  # the earliest among equals: no vector shows a negation
    assert found.motivation.distance == pytest.approx(0, abs=1e-6)
    assert found.restated is not None
    assert found.restated.candidate_id == "20.0"
    assert tried(*denied).by_motivation(written(30, DELTA)).restated is None


def test_the_nearest_few_are_the_nearest_of_many() -> None:
    many = [written(number, DELTA + " later" * number) for number in range(1, 40)]
    found = tried(*many[::-1], written(50, DELTA)).by_motivation(written(60, DELTA))
    assert found.motivation == found.restated
    assert found.restated is not None
    assert found.restated.candidate_id == "50.0"


def test_what_is_hoped_for_is_no_part_of_an_idea() -> None:
    index = tried(written(1, f"{DELTA}\n\nExpected: a loss below 2.4"))
    found = index.by_motivation(
        written(2, f"{DELTA}\n\nExpected: better recall, and nothing else of the kind")
    ).restated
    assert found is not None
    assert found.distance == pytest.approx(0, abs=1e-6)


def test_templates_and_words_without_an_idea_are_exempt() -> None:
    assert idea_of(written(1, DELTA)) == DELTA
    assert idea_of(written(1, DELTA, mode="")) == ""
    assert idea_of(written(1, DELTA, genome="{}")) == ""
    assert idea_of(written(1, "dropped into the inbox")) == ""
    index = tried(written(1, "better"), written(2, DELTA, mode=""))
    assert index.by_motivation(written(5, DELTA)) == Found()
    assert index.by_motivation(written(5, "better")) == Found()


def test_a_repair_keeps_its_idea() -> None:
    index = tried(written(1, DELTA))
    assert index.by_motivation(written(1, DELTA, attempt=1, repairs="1.0")) == Found()
    assert index.by_motivation(written(1, DELTA, attempt=1)) == Found()
    assert index.by_motivation(written(7, DELTA, mode="repair")) == Found()
    assert index.by_motivation(written(7, DELTA, mode="explore")).restated is not None


def test_with_a_horizon_only_that_is_seen_which_no_clock_decides() -> None:
    first, again, later = (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)
    index = tried(
        report(3, (3.0, 3.1)),
        report(7, later, attempt=2),  # came back from training, before or after
        report(7, first, attempt=1),
        report(9, again),
    )
    seen = {
        point: found.candidate_id if (found := index.by_design(report(9, point, attempt=1), 5).behaviour) else None
        for point in (first, again, later)
    }
    assert seen == {first: "7.1", again: "9.0", later: "3.0"}
    free = index.by_design(report(9, later, attempt=1)).behaviour
    assert free is not None
    assert free.candidate_id == "7.2"
    before = index.by_design(report(6, later), 2).behaviour
    assert before is not None
    assert before.candidate_id == "3.0"


def test_rows_may_come_in_any_order() -> None:
    records = [written(number, DELTA + f" {number}", attempt=a) for number in (6, 7) for a in (0, 1)]
    passed = [report(6, attempt=0), report(7, attempt=1)]
    for order in ([*records, *passed], [*passed, *records], [*records[::-1], *passed[::-1]]):
        index = tried(*order)
        found = index.by_motivation(written(8, DELTA + " 6"), horizon=2).restated
        assert found is not None
        assert found.candidate_id == "6.0"  # its second attempt came after it had passed
        found = index.by_motivation(written(8, DELTA + " 7"), horizon=2).restated
        assert found is not None
        assert found.candidate_id in ("7.0", "7.1")


def test_an_attempt_is_not_its_own_neighbour() -> None:
    own = report(4, (1.0, 2.0), (1.0, 2.0))
    assert tried(own).by_design(own) == Found()
    assert tried(own).by_design(own, 2) == Found()

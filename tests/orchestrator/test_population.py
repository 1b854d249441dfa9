"""The store's rows, indexed: the same whatever order they arrive in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest

from agents.brief import Evidence, Member
from cognition.records import (
    RECORDS,
    CallOutcome,
    Candidate,
    ChargeOutcome,
    Event,
    LlmCall,
    Record,
    Report,
    ReportKind,
    Verdict,
)
from orchestrator.population import EXPLAINED, Population
from tests.cognition.factories import (
    make_candidate,
    make_charge,
    make_claim,
    make_event,
    make_insight,
    make_metric,
    make_report,
    make_trial,
    make_verdict,
)


def explained(candidate: Candidate) -> Event:
    return Event(event_id=f"explained-{candidate.candidate_id}", kind=EXPLAINED, subject=candidate.candidate_id)


def history(candidate: Candidate, fitness: float | None = 0.5) -> list[Record]:
    """From proposal to insight."""
    trial = make_trial(candidate)
    return [
        candidate,
        make_report(candidate),
        trial,
        make_metric(trial, 1),
        make_trial(candidate, seed=1, loss=2.75),
        make_verdict(candidate, fitness),
        make_insight(candidate, BASELINE),
        explained(candidate),
    ]


def repaired(candidate: Candidate, attempt: int) -> Candidate:
    return dataclasses.replace(
        make_candidate(100 * candidate.number + attempt), number=candidate.number, attempt=attempt
    )


def never(evidence: Evidence) -> bool:
    return False


def twice(evidence: Evidence) -> bool:
    return evidence.failed and evidence.report.attempt < 2


BASELINE = make_candidate(0, arm="baseline")
CHILD = make_candidate(1, parent=BASELINE)
GRANDCHILD = make_candidate(2, parent=CHILD)
REFUSED = make_candidate(3, parent=BASELINE)
MENDED = dataclasses.replace(repaired(REFUSED, 1), parent_ids=(BASELINE.candidate_id,))
IN_FLIGHT = make_candidate(4, parent=CHILD)
ROWS: list[Record] = [
    *history(BASELINE),
    *history(CHILD, 0.7),
    REFUSED,
    make_report(REFUSED, ReportKind.refused),
    *history(GRANDCHILD, None),
    *history(MENDED, 0.6),
    IN_FLIGHT,
    make_report(IN_FLIGHT),
    make_claim(GRANDCHILD, BASELINE),
    make_event(4),
]


def essence(rows: Iterable[Record]) -> dict[str, object]:
    population = Population(rows)
    return {
        "finished": [
            dataclasses.replace(m, trials=tuple(sorted(m.trials, key=lambda trial: trial.seed)))
            for m in population.finished()
        ],
        "closed": population.closed("explore", twice),
        "last": [population.last_attempt(number) for number in range(6)],
        "passed": population.passed(),
        "refusals": population.refusals(),
        "children": [m.num_children for m in population.finished()],
        "spent": sorted(population.spent(), key=lambda spend: spend.account),
    }


def numbers(members: Iterable[Member]) -> list[int]:
    return [member.candidate.number for member in members]


def test_the_order_of_the_rows_does_not_matter() -> None:
    expected = essence(ROWS)
    by_table = [row for kind in RECORDS for row in ROWS if isinstance(row, kind)]
    assert essence(by_table) == expected
    for seed in range(10):
        assert essence([ROWS[i] for i in np.random.default_rng(seed).permutation(len(ROWS))]) == expected


def test_a_member_holds_all_that_happened_to_a_candidate() -> None:
    population = Population(ROWS)
    member = population.member(CHILD.candidate_id)
    assert member is not None
    assert (member.candidate, member.report) == (CHILD, make_report(CHILD))
    assert [trial.seed for trial in member.trials] == [0, 1]
    assert member.verdict == make_verdict(CHILD, 0.7)
    assert member.num_children == 2
    assert population.trial(CHILD.candidate_id, "explore", 1) == member.trials[1]
    assert population.trial(CHILD.candidate_id, "verify", 1) is None


def test_refused_and_unknown_candidates_are_no_members() -> None:
    population = Population([*ROWS, make_candidate(5)])
    assert population.member(REFUSED.candidate_id) is None
    assert population.member(make_candidate(5).candidate_id) is None, "not examined yet"
    assert population.member("nobody") is None


def test_finished_are_the_explained_by_number_up_to_the_horizon() -> None:
    population = Population(reversed(ROWS))
    assert numbers(population.finished()) == [0, 1, 2, 3]
    assert numbers(population.finished(up_to=1)) == [0, 1]
    assert numbers(population.finished(up_to=-2)) == []


def test_the_last_attempt_is_the_highest_with_its_own_report() -> None:
    rows: list[Record] = [MENDED, REFUSED, make_report(REFUSED, ReportKind.refused)]
    assert Population(rows).last_attempt(3) == (MENDED, None)
    assert Population([*rows, make_report(MENDED)]).last_attempt(3) == (MENDED, make_report(MENDED))
    assert Population(rows).last_attempt(7) == (None, None)


def test_an_exact_duplicate_has_only_a_report_and_the_last_attempt_finds_its_source() -> None:
    repeat = dataclasses.replace(make_report(CHILD, ReportKind.duplicate), number=3, attempt=1)
    population = Population([*history(CHILD), REFUSED, make_report(REFUSED, ReportKind.refused), repeat])
    assert population.last_attempt(3) == (CHILD, repeat)
    assert population.last_attempt(1) == (CHILD, make_report(CHILD))
    assert population.reports(3) == (make_report(REFUSED, ReportKind.refused), repeat)


def test_closed_are_the_explained_and_those_without_a_repair_left() -> None:
    assert Population(ROWS).closed("explore", never) == {0, 1, 2, 3}
    refused: list[Record] = [REFUSED, make_report(REFUSED, ReportKind.refused)]
    assert Population(refused).closed("explore", twice) == set(), "a repair is left"
    assert Population(refused).closed("explore", never) == {3}
    last = repaired(REFUSED, 2)
    assert Population([*refused, last]).closed("explore", twice) == set(), "its last attempt is not examined yet"
    assert Population([*refused, last, make_report(last, ReportKind.timeout)]).closed("explore", twice) == {3}


@pytest.mark.parametrize("lost", [Report, Verdict, Event])
def test_a_number_is_open_as_long_as_its_report_verdict_or_explanation_lacks(lost: type[Record]) -> None:
    rows = history(CHILD)
    assert Population(rows).closed("explore", never) == {1}
    assert Population(row for row in rows if not isinstance(row, lost)).closed("explore", never) == set()


def test_a_number_that_repeats_an_explained_one_stays_open_for_its_repair() -> None:
    repeat = dataclasses.replace(make_report(CHILD, ReportKind.duplicate), number=3, attempt=0)
    population = Population([*history(CHILD), repeat])
    assert population.closed("explore", twice) == {1}
    assert population.closed("explore", never) == {1, 3}


def test_refusals_are_sorted_and_bounded_by_number() -> None:
    rows = [
        make_report(repaired(make_candidate(n), a), ReportKind.refused) for n, a in ((5, 1), (2, 0), (5, 0), (1, 0))
    ]
    population = Population([*rows, make_report(IN_FLIGHT)])
    assert [(r.number, r.attempt) for r in population.refusals()] == [(1, 0), (2, 0), (5, 0), (5, 1)]
    assert [r.number for r in population.refusals(below=5)] == [1, 2]


def test_every_attempt_is_charged_to_its_stage_and_arm_failed_and_lost_ones_too() -> None:
    population = Population(
        [
            BASELINE,
            make_trial(BASELINE),
            make_charge(BASELINE, slot_s=36.0),
            make_charge(CHILD, slot_s=36.0, outcome=ChargeOutcome.lost),
            make_charge(CHILD, slot_s=36.0, outcome=ChargeOutcome.failed, started_at=50.0),
            make_charge(CHILD, slot_s=18.0, stage="verify"),
        ]
    )
    charged = {spend.account: (spend.settled.slot_hours, spend.num_settled) for spend in population.spent()}
    assert charged == {
        "explore/baseline": (pytest.approx(0.01), 1),
        "explore/grammar": (pytest.approx(0.02), 2),
        "verify/grammar": (pytest.approx(0.005), 1),
    }
    assert all(spend.settled.usd == 0 and spend.num_held == 0 for spend in population.spent())


def test_what_failed_in_training_may_be_mended_and_is_not_closed() -> None:
    failed = [
        IN_FLIGHT,
        make_report(IN_FLIGHT),
        make_trial(IN_FLIGHT, loss=None),
        make_verdict(IN_FLIGHT, None),
        explained(IN_FLIGHT),
    ]
    population = Population(failed)
    evidence = population.evidence(4, "explore")
    assert evidence is not None
    assert evidence.offence == "nonfinite"
    assert population.closed("explore", twice) == set()
    assert population.closed("explore", never) == {4}
    assert population.closed("verify", twice) == {4}, "only the named stage's trials are evidence"


def test_deterministic_examinations_do_not_see_what_the_clock_brought() -> None:
    mended = repaired(IN_FLIGHT, 1)
    population = Population([IN_FLIGHT, make_report(IN_FLIGHT), mended, make_report(mended), *history(CHILD)])
    attempts = [(report.number, report.attempt) for report in population.passed()]
    assert attempts == [(1, 0), (4, 0), (4, 1)]
    seen = [(report.number, report.attempt) for report in population.passed(5, horizon=3)]
    assert seen == [(1, 0), (4, 0)], "4.1 came back from training, perhaps later"
    assert len(population.passed(5, horizon=4)) == 3
    assert [report.number for report in population.passed(3, horizon=2)] == [1]


def test_numbers_without_a_proposal_are_closed_and_counted_until_somebody_delivers() -> None:
    population = Population()
    given = make_candidate(5)
    for number in (3, 4):
        population.add(Report(candidate_id="", number=number, attempt=0, kind=ReportKind.no_proposal, asked_arm="llm"))
    assert population.num_in_vain == 2
    assert population.closed("explore", lambda evidence: True) == {3, 4}
    population.add(given)
    population.add(make_report(given))
    assert population.num_in_vain == 0


def test_who_gave_up_on_a_candidate_closes_its_number_and_it_waits_to_be_rescued() -> None:
    given = make_candidate(5)
    refused = make_report(given, ReportKind.refused)
    population = Population([given, refused])
    assert population.closed("explore", lambda evidence: True) == set()
    assert [failed.candidate for failed in population.broken()] == [given]
    nothing = dataclasses.replace(refused, attempt=1, kind=ReportKind.no_proposal)
    population.add(nothing)
    assert population.closed("explore", lambda evidence: True) == {5}
    assert [failed.candidate for failed in population.broken()] == [given]
    population.add(make_candidate(8, parent=given))
    assert population.broken() == []


def test_calls_are_kept_without_their_texts_and_charged_by_model() -> None:
    call = LlmCall(
        call_id="a",
        role="researcher",
        purpose="propose",
        number=3,
        model="m",
        prompt="researcher/refine",
        prompt_version="1.1",
        prompt_hash="h",
        messages="long",
        reply="long",
        outcome=CallOutcome.timeout,
        held_usd=0.5,
        held_tokens=10,
    )
    answered = dataclasses.replace(call, call_id="b", outcome=CallOutcome.answered, usd=0.25, held_usd=0, held_tokens=0)
    population = Population([call, answered])
    assert all(not kept.messages and not kept.reply for kept in population.calls)
    assert population.costs("propose", 3, 0) == {"m": 0.75}
    assert population.answered_by("propose", 3, 0) == "m"
    assert population.answered_by("repair", 3, 0) is None
    spent = population.spent()
    assert sum(spend.settled.usd for spend in spent) == 0.25
    assert sum(spend.held.usd for spend in spent) == 0.5


def test_what_is_measured_of_those_who_climbed_is_no_part_of_what_agents_are_told() -> None:
    higher = make_trial(CHILD, stage="verify", seed=101, loss=None)
    told, all_told = Population([*ROWS, higher], "explore"), Population([*ROWS, higher])
    before = Population(ROWS, "explore")
    assert told.member(CHILD.candidate_id) == before.member(CHILD.candidate_id)
    assert told.evidence_on(CHILD.candidate_id) == before.evidence_on(CHILD.candidate_id)
    assert told.failures() == before.failures()
    assert told.trial(CHILD.candidate_id, "verify", 101) == higher
    assert len(all_told.failures()) == len(before.failures()) + 1

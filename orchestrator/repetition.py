"""Novelty before training: the same source and the same behaviour are refused, and the neighbour is named."""

from __future__ import annotations

import dataclasses

from cognition.novelty import nearest, same_behaviour
from cognition.records import Candidate, Report, ReportKind
from orchestrator.population import Population


def duplicate_by_source(candidate: Candidate, population: Population, now: float) -> Report | None:
    """A report when the same source, comments and layout aside, was proposed before."""
    earlier = population.candidate(candidate.candidate_id)
    if earlier is None or (earlier.number, earlier.attempt) == (candidate.number, candidate.attempt):
        return None
    return Report(
        candidate_id=candidate.candidate_id,
        number=candidate.number,
        attempt=candidate.attempt,
        kind=ReportKind.duplicate,
        detail=f"same source as candidate {earlier.number} ({earlier.name})",
        nearest_id=earlier.candidate_id,
        nearest_distance=0.0,
        created_at=now,
    )


def with_nearest(report: Report, population: Population, threshold: float | None, horizon: int | None = None) -> Report:
    """The report with its nearest earlier neighbour by behaviour; a duplicate when that is nearer than the threshold.

    None as the threshold refuses nothing: founders are trained whatever they resemble. `horizon` bounds what may be
    known in deterministic mode (orchestrator.flow).
    """
    if report.refused:
        return report
    seen = population.passed(report.number, horizon)
    known = {passed.candidate_id: passed.fingerprint for passed in seen}
    found = nearest(report.fingerprint, known)
    if found is None:
        return report
    report = dataclasses.replace(report, nearest_id=found.candidate_id, nearest_distance=found.distance)
    if threshold is None or not same_behaviour(found, threshold=threshold):
        return report
    neighbour = population.candidate(found.candidate_id)
    name = f"{neighbour.number} ({neighbour.name})" if neighbour else found.candidate_id
    return dataclasses.replace(
        report,
        kind=ReportKind.duplicate,
        detail=f"behaves as candidate {name}: relative distance {found.distance:.1e}",
    )

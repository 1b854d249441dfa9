"""Novelty before training, in order of cost: source and motivation before the gate, behaviour and structure behind it.

Each refusal names its neighbour, says how near it is and by which measure, and what became of it where it failed.

A failed neighbour counts like any other: what passed the gate and broke in training would break again, and an idea that
somebody states anew in other code is the same idea. What may come again is its repair: another attempt at the same
number, or a proposal in mode "repair", keeps its motivation by right. What the gate refused is nobody's neighbour by
behaviour or structure, so that the mended code passes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from agents.telling import one_line
from cognition.novelty import (
    BEHAVIOUR,
    MOTIVATION,
    OPINION,
    SOURCE,
    STRUCTURE,
    Decision,
    Found,
    NoveltySettings,
    decide,
)
from cognition.records import Candidate, Report, ReportKind
from orchestrator.population import Population

_WIDEST = 60  # of a neighbour's name: what is said behind it has to fit into the lines that prompts show
_WORDS = {
    BEHAVIOUR: "behaves as candidate {}",
    STRUCTURE: "has the operators of candidate {} on weights that are laid out otherwise",
    MOTIVATION: "has the motivation of candidate {}",
    OPINION: "is the idea of candidate {} in a model's reading",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A report with its neighbours; `doubt` is what a reader might decide."""

    report: Report
    doubt: Decision | None = None


def duplicate_by_source(candidate: Candidate, population: Population, now: float) -> Report | None:
    """A report when the same source, comments and layout aside, was proposed before."""
    earlier = population.candidate(candidate.candidate_id)
    if earlier is None or (earlier.number, earlier.attempt) == (candidate.number, candidate.attempt):
        return None
    return dataclasses.replace(
        _unexamined(candidate, now),
        detail=f"same source as candidate {_who(earlier.candidate_id, population)}",
        nearest_id=earlier.candidate_id,
        nearest_distance=0.0,
        duplicate_by=SOURCE,
    )


def duplicate_by_motivation(
    candidate: Candidate, population: Population, settings: NoveltySettings, now: float, horizon: int | None = None
) -> Report | None:
    """A report when somebody's written motivation was tried before in the same words, under whatever code."""
    found = population.tried.by_motivation(candidate, horizon)
    decision = decide(found, settings)
    if not decision.duplicate:
        return None
    return refused(_with_columns(_unexamined(candidate, now), found), decision, population)


def compared(
    report: Report,
    candidate: Candidate,
    population: Population,
    settings: NoveltySettings | None,
    horizon: int | None = None,
) -> Compared:
    """The gate's report with its nearest earlier neighbours; a duplicate where one of them is as good as the same.

    None as the settings refuses nothing: founders are trained whatever they resemble. `horizon` bounds what may be
    known in deterministic mode (orchestrator.flow).
    """
    if report.refused:
        return Compared(report=report)
    stated = population.tried.by_motivation(candidate, horizon)
    found = dataclasses.replace(
        population.tried.by_design(report, horizon), motivation=stated.motivation, restated=stated.restated
    )
    report = _with_columns(report, found)
    decision = Decision() if settings is None else decide(found, settings)
    if decision.duplicate:
        return Compared(report=refused(report, decision, population))
    return Compared(report=report, doubt=decision if decision.doubtful else None)


def refused(report: Report, decision: Decision, population: Population, measure: str = "") -> Report:
    """The report as a duplicate of the decision's neighbour; `measure`: who decided, where not the measure itself."""
    assert decision.neighbour is not None
    measure = measure or decision.measure
    name = _who(decision.neighbour.candidate_id, population)
    detail = f"{_WORDS[measure].format(name)}: {decision.nearness}"
    if fate := _fate(decision.neighbour.candidate_id, population):
        detail += f"; {fate}"
    if decision.measure == MOTIVATION:  # whoever said it in the same words, where another one is nearer
        near = decision.neighbour
        report = dataclasses.replace(report, motivation_id=near.candidate_id, motivation_similarity=1 - near.distance)
    return dataclasses.replace(report, kind=ReportKind.duplicate, detail=detail, duplicate_by=measure)


def _unexamined(candidate: Candidate, now: float) -> Report:
    return Report(
        candidate_id=candidate.candidate_id,
        number=candidate.number,
        attempt=candidate.attempt,
        kind=ReportKind.duplicate,
        created_at=now,
    )


def _with_columns(report: Report, found: Found) -> Report:
    behaviour, structure, motivation = found.behaviour, found.structure, found.motivation
    return dataclasses.replace(
        report,
        nearest_id=behaviour.candidate_id if behaviour else None,
        nearest_distance=behaviour.distance if behaviour else None,
        structure_id=structure.candidate_id if structure else None,
        structure_distance=structure.distance if structure else None,
        motivation_id=motivation.candidate_id if motivation else None,
        motivation_similarity=1 - motivation.distance if motivation else None,
    )


def _who(candidate_id: str, population: Population) -> str:
    found = population.candidate(candidate_id)
    return f"{found.number} ({one_line(found.name, _WIDEST)})" if found else candidate_id


def _fate(candidate_id: str, population: Population) -> str:
    """What became of a neighbour that failed; "" for one that did not."""
    evidence = population.evidence_on(candidate_id)
    if evidence is None or not evidence.failed:
        return ""
    where = "it was refused" if evidence.report.refused else "it failed in training"
    return f"{where}: {evidence.offence}"

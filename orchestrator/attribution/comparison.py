"""Train a design and its variants, compare, simplify, compare again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agents.parts import Variant
from cognition.reader import Reader
from cognition.records import Ablation, PartFinding, Report, Trial, candidate_id_of
from orchestrator.attribution.effects import Effect, Losses, effects
from orchestrator.attribution.question import Question
from orchestrator.attribution.trainings import WHOLE, settings_for, write_sources
from orchestrator.campaign import Campaign
from orchestrator.errors import Fault, UsageError
from orchestrator.result import Result
from orchestrator.terminal import Terminal
from orchestrator.wording import short

_NEEDLESS = (PartFinding.not_needed, PartFinding.hurts)


def attribute(question: Question) -> Sequence[Ablation] | None:
    """Train, compare, simplify; None where a training campaign was stopped before its end."""
    variants = question.design.variants()
    now = time.time()  # of all rows: they answer one question
    trained = _trained(question, question.name, {WHOLE: question.design.candidate.source} | _sources(variants))
    if trained is None:
        return None
    whole = _losses(trained, question.design.candidate.source)
    if not whole:
        reason = _reason(trained, question.design.candidate.source)
        raise UsageError(
            f"the whole design has no result at stage {question.stage} ({reason}): choose another candidate"
        )
    losses = {variant.name: _losses(trained, variant.source) for variant in variants}
    found = effects(whole, losses, question.tolerance)
    rows = [_row(question, variant, found.get(variant.name), trained, now) for variant in variants]
    needless = sorted(
        (row for row in rows if row.finding in _NEEDLESS), key=lambda row: row.effect if row.effect is not None else 0.0
    )
    parts = [part for row in needless for part in row.parts]
    while len(parts) > 1:  # what could go one at a time need not be able to go together: then half of it is tried
        simpler = question.design.without(parts)
        again = _trained(question, f"{question.name}-{simpler.name}", {simpler.name: simpler.source})
        if again is None:
            return None
        losses[simpler.name] = _losses(again, simpler.source)
        together = effects(whole, losses, question.tolerance).get(simpler.name)
        row = _row(question, simpler, together, again, now)
        if row.finding in _NEEDLESS:
            return [*rows, replace(row, simplified=True)]
        rows.append(row)
        parts = parts[: len(parts) // 2]
    return [replace(row, simplified=True) if parts and set(row.parts) == set(parts) else row for row in rows]


def _trained(question: Question, name: str, sources: Mapping[str, str]) -> Result | None:
    """What came of training these founders; None where it was stopped."""
    campaign = Campaign(
        settings_for(
            question.folder.settings(),
            root=question.root,
            name=name,
            founders=write_sources(question.root / f"{name}-sources", sources),
            stage=question.stage,
            seeds=question.seeds,
            overrides=question.overrides,
        ),
        views=[Terminal()],
    )
    result = campaign.run()
    if result.fault:
        raise Fault(str(result.stopped_by))
    return None if result.stopped_by else result


def _losses(result: Result, source: str) -> Losses:
    wanted = candidate_id_of(source)
    return {
        trial.seed: trial.loss
        for trial in Reader(result.folder).rows(Trial)
        if trial.candidate_id == wanted and trial.succeeded and trial.loss is not None
    }


def _reason(result: Result, source: str) -> str:
    """Why a design has no result."""
    wanted, reader = candidate_id_of(source), Reader(result.folder)
    refused = [r for r in reader.rows(Report) if r.candidate_id == wanted and r.refused]
    failed = [t for t in reader.rows(Trial) if t.candidate_id == wanted and not t.succeeded]
    if refused:
        return f"refused: {short(refused[-1].detail, 200) or refused[-1].kind.value}"
    return f"{failed[-1].failure}: {short(failed[-1].detail, 200)}" if failed else "it was not trained"


def _row(question: Question, variant: Variant, effect: Effect | None, result: Result, now: float) -> Ablation:
    known: dict[str, Any] = {"num_seeds": 0, "finding": PartFinding.failed, "detail": ""}
    if effect is None:
        known["detail"] = _reason(result, variant.source)
    else:
        known |= {"num_seeds": effect.num_seeds, "effect": effect.mean, "low": effect.low, "high": effect.high}
        known |= {"finding": effect.finding, "seeds_needed": effect.seeds_needed}
    return Ablation(
        candidate_id=question.design.candidate.candidate_id,
        variant_id=candidate_id_of(variant.source),
        parts=variant.parts,
        kind=variant.kind,
        change=variant.change,
        stage=question.stage,
        split=question.split,
        tolerance=question.tolerance,
        run=str(result.folder),
        created_at=now,
        **known,
    )


def _sources(variants: Sequence[Variant]) -> dict[str, str]:
    return {variant.name: variant.source for variant in variants}

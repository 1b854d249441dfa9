"""The Analyst: what one result taught, as differences of losses with their intervals, and in a model's words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Protocol

from agents.brief import Member, Noise
from cognition.insights import direction_of, with_pool
from cognition.records import Candidate, Insight, Trial, Verdict
from cognition.statistics import difference_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a result is compared with; all trials of the stage in question count, others are passed over."""

    stage: str
    noise: Noise | None  # None: not measured yet, so nothing can be said
    parents: tuple[Member, ...] = ()
    siblings: tuple[Member, ...] = ()  # other children of the first parent
    baseline: Member | None = None  # the slot's reference
    scale: str = ""  # conf/scale
    earlier: tuple[Insight, ...] = ()  # what may be known of the same changes, with all insights of those candidates


class Words(Protocol):
    """Words over measured insights; `agents.explaining.ExplainingAnalyst` asks a model for them."""

    async def explain(
        self,
        candidate: Candidate,
        trials: Sequence[Trial],
        verdict: Verdict,
        context: Context,
        measured: Sequence[Insight],
    ) -> tuple[Insight, ...]:
        """More insights, over the same comparisons."""
        ...


class Analyst:
    """Explains by comparison: with the parents (change by change), the best sibling and the reference baseline."""

    def __init__(self, words: Words | None = None) -> None:
        self._words = words

    async def explain(
        self, candidate: Candidate, trials: Sequence[Trial], verdict: Verdict, context: Context, *, now: float = 0.0
    ) -> tuple[Insight, ...]:
        """What is measured, and then what a model says of it, where one does."""
        measured = self.compare(candidate, trials, verdict, context, now=now)
        if self._words is None:
            return measured
        return (*measured, *await self._words.explain(candidate, trials, verdict, context, measured))

    def compare(
        self, candidate: Candidate, trials: Sequence[Trial], verdict: Verdict, context: Context, *, now: float = 0.0
    ) -> tuple[Insight, ...]:
        """One insight per change against the first parent, one per other comparison.

        A verdict without fitness, missing losses or unmeasured noise give none. Several changes at once share one
        effect, and the claim says so: which of them it was is not identified.
        """
        losses = _losses(trials, context.stage)
        if verdict.fitness is None or not losses or context.noise is None:
            return ()
        insights: list[Insight] = []
        for index, parent in enumerate(context.parents):
            changes: tuple[str | None, ...] = (candidate.changes or (None,)) if index == 0 else (None,)
            insights += [
                insight
                for change in changes
                if (insight := _compare(candidate, losses, trials, "parent", parent, change, context, now))
            ]
        sibling = _best([m for m in context.siblings if m.candidate != candidate], context.stage)
        if sibling and (insight := _compare(candidate, losses, trials, "sibling", sibling, None, context, now)):
            insights.append(insight)
        if context.baseline and (
            insight := _compare(candidate, losses, trials, "baseline", context.baseline, None, context, now)
        ):
            insights.append(insight)
        return tuple(insights)


def insight_id_of(candidate_id: str, scale: str, stage: str, against: str, against_id: str, change: str | None) -> str:
    """16 hex digits over what is compared: saying it twice is the same insight."""
    text = "\n".join((candidate_id, scale, stage, against, against_id, change or ""))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _compare(
    candidate: Candidate,
    losses: list[float],
    trials: Sequence[Trial],
    against: str,
    other: Member,
    change: str | None,
    context: Context,
    now: float,
) -> Insight | None:
    other_losses = _losses(other.trials, context.stage)
    if not other_losses or context.noise is None:
        return None
    found = difference_interval(losses, other_losses, sigma=context.noise.sigma, dof=context.noise.dof)
    if found.low is None or found.high is None:
        return None
    evidence = [t.trial_id for t in (*trials, *other.trials) if t.stage == context.stage and t.succeeded]
    insight = Insight(
        insight_id=insight_id_of(
            candidate.candidate_id, context.scale, context.stage, against, other.candidate.candidate_id, change
        ),
        candidate_id=candidate.candidate_id,
        number=candidate.number,
        claim=_claim(candidate, against, other, change, found.mean, found.low, found.high),
        slot=candidate.slot,
        scale=context.scale,
        stage=context.stage,
        against=against,
        against_id=other.candidate.candidate_id,
        change=change,
        effect=found.mean,
        low=found.low,
        high=found.high,
        evidence=tuple(evidence),
        created_at=now,
    )
    insight = with_pool(insight, context.earlier, len(candidate.changes))
    if insight.num_studies > 1:
        insight = replace(insight, claim=_pooled_claim(insight, other, len(candidate.changes)))
    return insight


def _claim(
    candidate: Candidate, against: str, other: Member, change: str | None, effect: float, low: float, high: float
) -> str:
    subject = f"'{change}'" if change else candidate.name
    if change and len(candidate.changes) > 1:
        subject += f" (together with {len(candidate.changes) - 1} more)"
    versus = f"the {against} {other.candidate.name}"
    figures = f"{effect:+.4f} nats per token [{low:+.4f}, {high:+.4f}]"
    return f"{subject} {_FINDINGS[-1 if high < 0 else 1 if low > 0 else 0]} against {versus}: {figures}"


def _pooled_claim(insight: Insight, parent: Member, num_changes: int) -> str:
    """What all results on a change say together, this one last."""
    together = f" (together with {num_changes - 1} more)" if num_changes > 1 else ""
    pooled = f"{insight.pooled_effect:+.4f} nats per token [{insight.pooled_low:+.4f}, {insight.pooled_high:+.4f}]"
    latest = f"{insight.effect:+.4f} [{insight.low:+.4f}, {insight.high:+.4f}]"
    found = f"{_FINDINGS[direction_of(insight)]} over {insight.num_studies} results against their parents"
    return f"'{insight.change}' {found}: {pooled}; the latest{together}, against {parent.candidate.name}: {latest}"


_FINDINGS = {
    -1: "lowers the loss",
    1: "raises the loss",
    0: "shows no difference beyond the seeds' noise",
}


def _losses(trials: Sequence[Trial], stage: str) -> list[float]:
    return [t.loss for t in trials if t.stage == stage and t.succeeded and t.loss is not None]


def _best(members: Sequence[Member], stage: str) -> Member | None:
    trained = [(fmean(losses), m.candidate.number, m) for m in members if (losses := _losses(m.trials, stage))]
    return min(trained, key=lambda item: item[:2])[2] if trained else None

"""What the measured insights say together, without a language model: the changes that hold, cited. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agents.telling import one_line
from cognition.insights import Standing, direction_of, standings
from cognition.records import Insight, Synthesis

_SURE = 0.8
_MOST = 6  # lines of each list


def condense(turn: int, number: int, insights: Iterable[Insight]) -> Synthesis | None:
    """The synthesis of a round; None while no change has a result.

    Works: changes that lower the loss with a confidence of 0.8 and more. Worn out: those that raise it so surely, or
    that were tried twice and more and surely make no difference to speak of.
    """
    live = [
        standing
        for standing in standings(insights).values()
        if standing.insight.subject and standing.insight.source == "measured" and standing.superseded_by is None
    ]
    if not live:
        return None
    sure = [standing for standing in live if standing.confidence >= _SURE]
    works = _best([s for s in sure if direction_of(s.insight) < 0])
    harms = _best([s for s in sure if direction_of(s.insight) > 0])
    idle = _best([s for s in sure if direction_of(s.insight) == 0 and s.num_studies > 1])
    worn_out = [*harms, *idle][:_MOST]
    disputed = [s for s in live if s.num_contradicting]
    text = (
        f"{sum(s.num_studies for s in live)} results on {len(live)} changes against their parents. "
        f"{len(works)} of the listed changes lower the loss, {len(worn_out)} do not pay."
        + (f" Results contradict each other on {len(disputed)}." if disputed else "")
        + ("" if works else " No change is sure to help yet.")
    )
    return Synthesis(
        round=turn,
        number=number,
        text=text,
        works=tuple(map(_line, works)),
        worn_out=tuple(map(_line, worn_out)),
        cites=tuple(s.insight.insight_id for s in (*works, *worn_out)),
    )


def _best(found: Sequence[Standing]) -> list[Standing]:
    return sorted(found, key=lambda s: (-abs(_effect(s)) * s.confidence, s.insight.insight_id))[:_MOST]


def _line(standing: Standing) -> str:
    insight = standing.insight
    results = f"{standing.num_studies} result" + "s" * (standing.num_studies > 1)
    against = f", {standing.num_contradicting} against" if standing.num_contradicting else ""
    figures = f"{_effect(standing):+.4f} nats per token, {results}{against}, confidence {standing.confidence:.2f}"
    return f"{one_line(insight.change or insight.claim, 160)}: {figures} [{insight.insight_id}]"


def _effect(standing: Standing) -> float:
    pooled = standing.insight.pooled_effect
    return standing.insight.effect if pooled is None else pooled

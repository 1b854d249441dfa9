"""Insights as knowledge that grows: what replicates or contradicts what, and how sure one can be. Pure functions.

Insights share a subject when they credit the same change, in the same slot and stage at the same scale. Their effects
are pooled with a random-effects model (DerSimonian and Laird 1986): results that disagree by more than their intervals
allow widen the pooled interval, so that a contradiction lowers confidence and a replication raises it. Confidence is
the posterior probability that the claimed direction holds, under a normal prior around no effect, so that a single
lucky result convinces nobody.

Not covered: insights on whole candidates have no subject, since nothing else is the same candidate. Changes that are
worded differently are different subjects.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from cognition.records import Insight

PRIOR_SD = 0.05  # nats per token: how much single changes differ before anything is known
NO_DIFFERENCE = 0.02  # nats per token: what "shows no difference" promises not to exceed
_NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledEffect:
    """Several results on one subject, as one."""

    effect: float  # nats per token
    low: float  # 95% interval
    high: float
    num_studies: int
    num_contradicting: int  # whose interval lies on the other side of zero than the pooled effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An insight in the light of everything that came after it."""

    insight: Insight
    confidence: float  # that its direction holds, 0..1
    num_studies: int
    num_contradicting: int
    superseded_by: str | None  # the newest insight on its subject; None: it is the newest itself


def subject_of(insight: Insight) -> str:
    """What an insight is about, as far as others can be about the same; empty where they cannot."""
    if insight.change is None or insight.against != "parent":
        return ""
    return subject_for(insight.slot, insight.scale, insight.stage, insight.change)


def subject_for(slot: str, scale: str, stage: str, change: str) -> str:
    """The subject of insights that credit a change, compared with the parent."""
    return f"{slot}/{scale}/{stage}: {' '.join(change.lower().split())}"


def pool(effects: Sequence[tuple[float, float]]) -> PooledEffect:
    """Pool (effect, standard error) pairs.

    Raises:
        ValueError: there are none, or one is not finite.
    """
    if not effects or not all(math.isfinite(effect) and 0 < error < math.inf for effect, error in effects):
        raise ValueError(f"effects {effects!r} cannot be pooled: give finite effects with standard errors above zero")
    weights = [1 / error**2 for _, error in effects]
    fixed = _mean(effects, weights)
    spread = sum(weight * (effect - fixed) ** 2 for weight, (effect, _) in zip(weights, effects, strict=True))
    scale = sum(weights) - sum(weight**2 for weight in weights) / sum(weights)
    between = max(0.0, (spread - (len(effects) - 1)) / scale) if scale > 0 else 0.0
    weights = [1 / (error**2 + between) for _, error in effects]
    mean, error = _mean(effects, weights), math.sqrt(1 / sum(weights))
    opposed = [effect for effect, own in effects if effect * mean < 0 and abs(effect) > _NORMAL_95 * own and mean != 0]
    return PooledEffect(
        effect=mean,
        low=mean - _NORMAL_95 * error,
        high=mean + _NORMAL_95 * error,
        num_studies=len(effects),
        num_contradicting=len(opposed),
    )


def confidence_of(effect: float, low: float, high: float, direction: int) -> float:
    """Probability that an effect has a direction: -1 lowers the loss, 1 raises it, 0 no difference to speak of."""
    error = (high - low) / (2 * _NORMAL_95)
    if not (math.isfinite(error) and error > 0):
        return 0.5 if direction else 0.0
    precision = 1 / PRIOR_SD**2 + 1 / error**2
    belief = NormalDist(effect / error**2 / precision, math.sqrt(1 / precision))
    if direction == 0:
        return belief.cdf(NO_DIFFERENCE) - belief.cdf(-NO_DIFFERENCE)
    return belief.cdf(0.0) if direction < 0 else 1 - belief.cdf(0.0)


def direction_of(insight: Insight) -> int:
    """What an insight claims: -1 lowers the loss, 1 raises it, 0 neither can be told.

    A measured one that pools several results speaks for all of them, by the pooled interval; else its own counts.
    """
    low, high = insight.low, insight.high
    if insight.source == "measured" and insight.num_studies > 1:
        low = low if insight.pooled_low is None else insight.pooled_low
        high = high if insight.pooled_high is None else insight.pooled_high
    return -1 if high < 0 else 1 if low > 0 else 0


def age_of(insight: Insight) -> tuple[bool, int, int, str]:
    """Orders the insights on a subject: the largest is the newest, and what was carried over came before everything."""
    return (not insight.from_run, insight.num_studies, insight.number, insight.insight_id)


def with_pool(insight: Insight, earlier: Iterable[Insight], num_changes: int = 1) -> Insight:
    """A measured insight with its subject and everything that is known of it by now.

    Args:
        earlier: measured insights that may be known; those of other subjects are passed over.
        num_changes: of the candidate, the insight's own included: changes made together share their effect, so that
            each is pooled with its share.
    """
    insight = dataclasses.replace(insight, subject=subject_of(insight))
    studies = [_share(insight, num_changes)]
    if insight.subject:
        others: dict[str, list[Insight]] = defaultdict(list)
        for other in earlier:
            if other.source == "measured" and other.against == "parent" and other.change:
                others[other.candidate_id].append(other)
        others.pop(insight.candidate_id, None)  # the same source, in another run: the same experiment
        for group in others.values():
            num = len({other.change for other in group})
            own = [other for other in group if other.subject == insight.subject]
            studies += [_share(other, num) for other in own[:1]]  # one change in two spellings is one study
    found = pool(studies)
    insight = dataclasses.replace(
        insight,
        pooled_effect=found.effect,
        pooled_low=found.low,
        pooled_high=found.high,
        num_studies=found.num_studies,
        num_contradicting=found.num_contradicting,
    )
    direction = direction_of(insight)
    return dataclasses.replace(insight, confidence=confidence_of(found.effect, found.low, found.high, direction))


def standings(insights: Iterable[Insight]) -> Mapping[str, Standing]:
    """How every insight stands today, by id. Of a subject's measured insights only the newest is not superseded.

    A model's words keep their place beside the measured insight that they rest on, and share its fate.
    """
    known = list(insights)
    newest: dict[str, Insight] = {}
    for insight in known:
        if insight.subject and insight.source == "measured":
            best = newest.get(insight.subject)
            if best is None or age_of(insight) > age_of(best):
                newest[insight.subject] = insight
    found: dict[str, Standing] = {}
    for insight in known:
        last = newest.get(insight.subject, insight)
        followed = last.insight_id != insight.insight_id and last.candidate_id != insight.candidate_id
        found[insight.insight_id] = Standing(
            insight=insight,
            confidence=_confidence_now(insight, last),
            num_studies=last.num_studies,
            num_contradicting=last.num_contradicting,
            superseded_by=last.insight_id if followed else None,
        )
    return found


def _confidence_now(insight: Insight, last: Insight) -> float:
    if last.pooled_effect is None or last.pooled_low is None or last.pooled_high is None:  # of an older version
        return insight.confidence if insight.confidence is not None else 0.5
    return confidence_of(last.pooled_effect, last.pooled_low, last.pooled_high, direction_of(insight))


def _share(insight: Insight, num_changes: int) -> tuple[float, float]:
    error = (insight.high - insight.low) / (2 * _NORMAL_95)
    return insight.effect / max(1, num_changes), error if error > 0 else 1e-9


def _mean(effects: Sequence[tuple[float, float]], weights: Sequence[float]) -> float:
    return sum(weight * effect for weight, (effect, _) in zip(weights, effects, strict=True)) / sum(weights)

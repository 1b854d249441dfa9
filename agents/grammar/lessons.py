"""What insights say about single changes, kept as they come: a proposal asks for effects and walks no insight.

The same figures as `learning.mutation_weights` computes from the insights themselves, in the same order of summation.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from agents.grammar.learning import NORMAL_95, Effects, named_target
from cognition.records import Insight

Place = tuple[bool, int, str]  # not carried over, number, insight: the order in which results are summed


def place_of(insight: Insight) -> Place:
    """What was carried over from another campaign comes first."""
    return (not insight.from_run, insight.number, insight.insight_id)


@dataclass(slots=True)
class _Target:
    """Results on one (field, new value), in order, and their sums up to each."""

    places: list[Place] = field(default_factory=list)
    results: list[tuple[float, float]] = field(default_factory=list)  # precision, precision times effect
    sums: list[tuple[float, float]] = field(default_factory=list)


class Lessons:
    """Takes what each candidate taught once, in any order."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str], _Target] = {}
        self._prior_sd = math.nan

    def learn(self, insights: Sequence[Insight]) -> None:
        """All measured insights on one candidate."""
        by_change = [insight for insight in insights if insight.change and insight.against == "parent"]
        num_changes = Counter(insight.against_id for insight in by_change)
        for insight in by_change:
            target = named_target(insight.change or "")
            stderr = (insight.high - insight.low) / (2 * NORMAL_95)
            if target is None or not (math.isfinite(insight.effect) and math.isfinite(stderr) and stderr > 0):
                continue
            precision = 1.0 / stderr**2
            result = (precision, precision * (insight.effect / num_changes[insight.against_id]))
            known = self._targets.setdefault(target, _Target())
            place = bisect_right(known.places, place_of(insight))
            insort(known.places, place_of(insight))
            known.results.insert(place, result)
            del known.sums[place:]

    def effects(self, prior_sd: float, horizon: int | None = None) -> Effects:
        """Posterior means under N(0, prior_sd^2), by (field, new value), of what a proposal may know.

        `horizon`: the highest number that counts; what was carried over always does. None: all.
        """
        if prior_sd != self._prior_sd:
            self._prior_sd = prior_sd
            for known in self._targets.values():
                known.sums.clear()
        found = {}
        for target, known in self._targets.items():
            num = len(known.places)
            if horizon is not None:
                num = bisect_right(known.places, (True, horizon), key=lambda place: place[:2])
            if num:
                precision, weighted = self._summed(known, num)
                found[target] = weighted / precision
        return found

    def _summed(self, known: _Target, num: int) -> tuple[float, float]:
        precision, weighted = known.sums[-1] if known.sums else (1.0 / self._prior_sd**2, 0.0)
        for more, more_weighted in known.results[len(known.sums) : num]:
            precision += more
            weighted += more_weighted
            known.sums.append((precision, weighted))
        return known.sums[num - 1]

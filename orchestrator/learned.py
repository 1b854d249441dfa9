"""What a campaign has learned, in the order in which proposals are told of it, so that nobody walks through it."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence

from agents.grammar.learning import Effects
from agents.grammar.lessons import Lessons, place_of
from cognition.records import Insight

MOST_STUDIES = 64  # results on one change that are pooled with a new one: the latest


class Learned:
    """Insights by candidate and subject.

    Told are those of explained candidates, and what was carried over from other campaigns: the latter first, then by
    number.
    """

    def __init__(self) -> None:
        self.all: list[Insight] = []  # as they came
        self._ids: set[str] = set()
        self._of: dict[str, list[Insight]] = defaultdict(list)  # by candidate
        self._on: dict[str, list[Insight]] = defaultdict(list)  # measured, by subject, in order
        self._explained: set[str] = set()
        self._untold: dict[str, None] = {}  # candidates of whom there is something new
        self._told: list[Insight] = []
        self._told_ids: set[str] = set()
        self._lessons = Lessons()

    def add(self, insight: Insight) -> None:
        self.all.append(insight)
        self._ids.add(insight.insight_id)
        self._of[insight.candidate_id].append(insight)
        if insight.source == "measured" and insight.subject:
            insort(self._on[insight.subject], insight, key=place_of)
        if insight.from_run or insight.candidate_id in self._explained:
            self._untold[insight.candidate_id] = None

    def explained(self, candidate_id: str) -> None:
        """All that a candidate taught is in, or in the rows that are read next."""
        self._explained.add(candidate_id)
        self._untold[candidate_id] = None

    def knows(self, insight_id: str) -> bool:
        return insight_id in self._ids

    def told(self, horizon: int | None = None) -> tuple[Insight, ...]:
        """In order, up to a number; None: all."""
        self._catch_up()
        return tuple(self._told[: _until(self._told, horizon)])

    def effects(self, prior_sd: float, horizon: int | None = None) -> Effects:
        """What the told ones say about single changes: `agents.grammar.lessons`."""
        self._catch_up()
        return self._lessons.effects(prior_sd, horizon)

    def on(self, subjects: Iterable[str], horizon: int | None = None) -> Sequence[Insight]:
        """The latest measured insights on each subject, with all others on those candidates.

        Carried ones count whatever the horizon.
        """
        ids: set[str] = set()
        for subject in subjects:
            known = self._on.get(subject, ())
            last = _until(known, horizon)
            ids.update(insight.candidate_id for insight in known[max(0, last - MOST_STUDIES) : last])
        return [
            insight
            for candidate_id in sorted(ids)
            for insight in self._of[candidate_id]
            if insight.source == "measured"
        ]

    def _catch_up(self) -> None:
        for candidate_id in self._untold:
            carried = candidate_id not in self._explained
            new = [
                insight
                for insight in self._of.get(candidate_id, ())
                if insight.insight_id not in self._told_ids and (insight.from_run or not carried)
            ]
            for insight in new:
                self._told_ids.add(insight.insight_id)
                insort(self._told, insight, key=place_of)
            for run in {insight.from_run for insight in new}:
                self._lessons.learn([one for one in new if one.from_run == run and one.source == "measured"])
        self._untold.clear()


def _until(insights: Sequence[Insight], horizon: int | None) -> int:
    """How many of them may be known, of those in order."""
    if horizon is None:
        return len(insights)
    return bisect_right(insights, (True, horizon), key=lambda insight: place_of(insight)[:2])

"""What was learned, as something that can be asked: insights by relevance and by how sure one can be of them."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cognition.documents import document_of_insight
from cognition.embedding import Embedder, Vectors
from cognition.insights import age_of, confidence_of, direction_of
from cognition.records import Insight, Vector
from cognition.retrieval import Index, RetrievalSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """An insight that was asked for, with the confidence that it has today."""

    insight: Insight
    score: float


class Memory:
    """Insights of a campaign and of those before it.

    Of a subject's measured insights only the latest is found: it pools all of them. A model's words on a subject stay
    beside it, with the confidence that the pooled effect leaves them. Not safe for use by several threads.
    """

    def __init__(self, embedder: Embedder, settings: RetrievalSettings | None = None) -> None:
        self._index = Index(embedder, settings)
        self._insights: dict[str, Insight] = {}
        self._latest: dict[str, Insight] = {}  # measured, by subject
        self._worded: dict[str, list[str]] = defaultdict(list)  # ids of models' words, by subject

    def __len__(self) -> int:
        return len(self._index)

    def add(self, insights: Sequence[Insight], known: Iterable[Vector] = ()) -> tuple[Vector, ...]:
        """Remember insights, in the order in which they were made; returns the vectors that had to be made."""
        documents = {}
        for insight in insights:
            insight = self._placed(insight)
            self._insights[insight.insight_id] = insight
            documents[insight.insight_id] = document_of_insight(insight, insight.confidence or 0.5)
        for insight in insights:
            latest = self._latest.get(insight.subject)
            if insight.source == "measured" and latest is not None and latest.insight_id != insight.insight_id:
                documents.pop(insight.insight_id)  # another one of the same batch, or a later one, holds its place
        return self._index.add(list(documents.values()), known)

    def search(
        self, query: str, num: int, slot: str | None = None, *, vector: Vectors | None = None
    ) -> tuple[Remembered, ...]:
        """The insights that say most about a query and are the surest, at most `num`, best first."""
        if not self._insights:
            return ()
        hits = self._index.search(query, num, slot, vector=vector)
        return tuple(Remembered(insight=self._insights[hit.document.item_id], score=hit.score) for hit in hits)

    def _placed(self, insight: Insight) -> Insight:
        """Take an insight's place among those of its subject."""
        if not insight.subject:
            return insight
        if insight.source != "measured":
            self._worded[insight.subject].append(insight.insight_id)
            return self._weighed(insight)
        before = self._latest.get(insight.subject)
        if before is not None and age_of(before) > age_of(insight):
            return insight  # it came late: what is there is newer
        if before is not None:
            self._index.drop(before.insight_id)
        self._latest[insight.subject] = insight
        for insight_id in self._worded[insight.subject]:
            worded = self._weighed(self._insights[insight_id])
            self._insights[insight_id] = worded
            self._index.reweigh(insight_id, worded.confidence or 0.5)
        return insight

    def _weighed(self, worded: Insight) -> Insight:
        latest = self._latest.get(worded.subject)
        if latest is None or latest.pooled_effect is None or latest.pooled_low is None or latest.pooled_high is None:
            return worded
        now = confidence_of(latest.pooled_effect, latest.pooled_low, latest.pooled_high, direction_of(worded))
        return dataclasses.replace(
            worded, confidence=now, num_studies=latest.num_studies, num_contradicting=latest.num_contradicting
        )

"""Hybrid retrieval: BM25 and embeddings, fused by reciprocal rank, weighed by confidence, then diversified.

BM25 finds the same words (bm25s: Lu 2024, arXiv:2407.03618), vectors find likeness; their ranks are fused, since their
scores have no common scale (Cormack et al. 2009). Diversification is by maximal marginal relevance (Carbonell and
Goldstein 1998): of two documents that say the same, the second has to be the better reason to be shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import bm25s
import numpy as np

from cognition.documents import Document
from cognition.embedding import Embedder, Vectors
from cognition.records import Vector
from cognition.vectors import Near, VectorTable
from cognition.words import terms_of

_DEPTH = 50  # documents of each ranking that are fused
_RANK_OFFSET = 20  # of reciprocal rank fusion; the usual 60 flattens rankings of a few hundred documents
_STALE_SHARE = 0.05  # share of new documents that BM25 may not know yet


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSettings:
    """How documents are ranked."""

    words: bool = True  # BM25
    vectors: bool = True
    diversity: float = 0.3  # 0: by relevance alone; 1: by difference alone

    def __post_init__(self) -> None:
        if not (self.words or self.vectors):
            raise ValueError("retrieval with neither words nor vectors finds nothing: switch one of them on")
        if not 0 <= self.diversity < 1:
            raise ValueError(f"retrieval.diversity is {self.diversity}: use a number from 0 up to below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A document that was found."""

    document: Document
    score: float  # fused, times confidence; comparable within one query
    word_rank: int | None  # 1 is the best; None: not among the first
    vector_rank: int | None
    similarity: float | None  # cosine of its nearest part


class Index:
    """Documents that can be searched; more can be added, and dropped ones are not found any more.

    Not safe for use by several threads. Vectors know a document at once. BM25 is made anew before a search when it
    lacks more than a twentieth of the documents, so that adding to a large index stays cheap.
    """

    def __init__(self, embedder: Embedder, settings: RetrievalSettings | None = None) -> None:
        self.settings = settings or RetrievalSettings()
        self._vectors = VectorTable(embedder)
        self._documents: list[Document] = []
        self._places: dict[str, int] = {}
        self._dropped: set[int] = set()
        self._terms: list[list[str]] = []
        self._words: bm25s.BM25 | None = None
        self._num_counted = 0

    def __len__(self) -> int:
        return len(self._places)

    def add(self, documents: Sequence[Document], known: Iterable[Vector] = ()) -> tuple[Vector, ...]:
        """Take documents in, in place of those with the same id; returns the vectors that had to be made."""
        for document in documents:
            self.drop(document.item_id)
            self._places[document.item_id] = len(self._documents)
            self._documents.append(document)
            self._terms.append(terms_of(document.text))
        return self._vectors.add(documents, known)

    def reweigh(self, item_id: str, confidence: float) -> None:
        """A document's relevance counts by another confidence from now on; one that is not there is no error."""
        place = self._places.get(item_id)
        if place is not None:
            self._documents[place] = dataclasses.replace(self._documents[place], confidence=confidence)

    def drop(self, item_id: str) -> None:
        """A document is not found any more; one that is not there is no error."""
        place = self._places.pop(item_id, None)
        if place is not None:
            self._dropped.add(place)

    def search(
        self, query: str, num: int, slot: str | None = None, *, vector: Vectors | None = None
    ) -> tuple[Hit, ...]:
        """The best documents for a query, at most `num`, best first.

        Args:
            slot: leaves out what is for others.
            vector: the query's, where it was made already.
        """
        if num < 1:
            raise ValueError(f"num is {num}: ask for one document or more")
        allowed = self._allowed(slot)
        words = self._by_words(query, allowed) if self.settings.words else []
        near: list[Near] = []
        if self.settings.vectors:
            vectors = self._vectors
            near = (
                vectors.nearest(query, _DEPTH, allowed)
                if vector is None
                else vectors.nearest_to(vector, _DEPTH, allowed)
            )
        word_ranks = {place: rank for rank, place in enumerate(words, start=1)}
        vector_ranks = {found.place: rank for rank, found in enumerate(near, start=1)}
        similarities = {found.place: found.similarity for found in near}
        hits = [
            Hit(
                document=self._documents[place],
                score=self._documents[place].confidence
                * sum(1 / (_RANK_OFFSET + ranks[place]) for ranks in (word_ranks, vector_ranks) if place in ranks),
                word_rank=word_ranks.get(place),
                vector_rank=vector_ranks.get(place),
                similarity=similarities.get(place),
            )
            for place in sorted(word_ranks.keys() | vector_ranks.keys())
        ]
        hits.sort(key=lambda hit: (-hit.score, hit.document.item_id))
        return tuple(self._diverse(hits[:_DEPTH], num))

    def similar(self, vector: Vectors) -> tuple[Document, float] | None:
        """The document nearest to a text's vector [D], with the cosine; None where nothing is like it."""
        found = self._vectors.nearest_to(vector, 1, self._allowed(None))
        return (self._documents[found[0].place], found[0].similarity) if found else None

    def _allowed(self, slot: str | None) -> list[bool] | None:
        if slot is None and not self._dropped:
            return None
        return [
            place not in self._dropped and (slot is None or not document.slots or slot in document.slots)
            for place, document in enumerate(self._documents)
        ]

    def _by_words(self, query: str, allowed: Sequence[bool] | None) -> list[int]:
        """Places of documents that share words with the query, best first."""
        self._count()
        if self._words is None:
            return []
        terms = [term for term in terms_of(query) if term in self._words.vocab_dict]
        if not terms:
            return []
        scores = self._words.get_scores(terms)
        if allowed is not None:
            scores = np.where(np.asarray(allowed[: len(scores)]), scores, 0.0)
        best = np.argsort(-scores, kind="stable")[:_DEPTH] if len(scores) <= 4096 else _largest(scores, _DEPTH)
        return [int(place) for place in best if scores[place] > 0]

    def _count(self) -> None:
        """Make BM25 anew where it lacks too much."""
        if len(self._documents) - self._num_counted <= _STALE_SHARE * self._num_counted:
            return
        words = bm25s.BM25()
        words.index(self._terms, show_progress=False)
        self._words, self._num_counted = words, len(self._documents)

    def _diverse(self, hits: Sequence[Hit], num: int) -> list[Hit]:
        """Hits in the order of maximal marginal relevance; a second one of a group comes after all groups' first."""
        if self.settings.diversity == 0 or len(hits) <= 1:
            return list(hits[:num])
        vectors = self._vectors.vectors_of([self._places[hit.document.item_id] for hit in hits])
        likeness = vectors @ vectors.T
        best, weight = hits[0].score, self.settings.diversity
        left, chosen = list(range(len(hits))), [0]
        left.remove(0)
        while left and len(chosen) < num:
            groups = {hits[place].document.group for place in chosen}

            def worth(place: int, groups: set[str] = groups) -> float:
                closest = float(likeness[place, chosen].max())
                again = hits[place].document.group in groups
                return (1 - weight) * hits[place].score / best - weight * closest - float(again)

            left.remove(picked := max(left, key=worth))
            chosen.append(picked)
        return [hits[place] for place in chosen]


def _largest(scores: np.ndarray, num: int) -> np.ndarray:
    found = np.argpartition(-scores, num)[:num]
    return found[np.argsort(-scores[found], kind="stable")]

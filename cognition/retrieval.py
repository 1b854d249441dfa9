"""Hybrid retrieval: BM25 and embeddings, fused by reciprocal rank, weighed by confidence, then diversified.

BM25 finds the same words (bm25s: Lu 2024, arXiv:2407.03618), vectors find likeness; their ranks are fused, since their
scores have no common scale (Cormack et al. 2009). Diversification is by maximal marginal relevance (Carbonell and
Goldstein 1998): of two documents that say the same, the second has to be the better reason to be shown.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import bm25s
import numpy as np
from numpy.typing import NDArray

from cognition.documents import Document
from cognition.embedding import Embedder, Vectors
from cognition.records import Vector
from cognition.vectors import Near, VectorTable
from cognition.words import terms_of

_DEPTH = 50  # documents of each ranking that are fused
_RANK_OFFSET = 10  # of reciprocal rank fusion; the usual 60 flattens rankings of a few hundred documents
_SMALL = 5_000  # documents: BM25 is made anew whenever they change
_STALE_SHARE = 0.05  # of more documents, so many may be unknown to it


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSettings:
    """How documents are ranked."""

    words: bool = True  # BM25
    vectors: bool = True
    diversity: float = 0.15  # 0: by relevance alone; 1: by difference alone

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
    similarity: float | None  # cosine


class Index:
    """Documents that can be searched; more can be added, and dropped ones are not found any more.

    Up to 5,000 documents a search finds what a new index over the same documents would find. Beyond that BM25 is made
    anew only when a twentieth of them has changed: until then new ones are found by their vectors alone. A dropped
    document's vector keeps its room. Not safe for use by several threads.
    """

    def __init__(self, embedder: Embedder, settings: RetrievalSettings | None = None) -> None:
        self.settings = settings or RetrievalSettings()
        self._vectors = VectorTable(embedder)
        self._documents: list[Document] = []
        self._places: dict[str, int] = {}
        self._terms: list[list[str]] = []
        self._words: bm25s.BM25 | None = None
        self._counted: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # places that BM25 knows
        self._num_changes = 0  # since it was made
        self._live = array("b")  # by place: 0 once it was dropped
        self._kinds: dict[tuple[str, ...], int] = {}  # combinations of slots, numbered
        self._kind_of = array("i")  # by place

    def __len__(self) -> int:
        return len(self._places)

    def add(self, documents: Sequence[Document], known: Iterable[Vector] = ()) -> tuple[Vector, ...]:
        """Take documents in, in place of those with the same id; returns the vectors that had to be made."""
        made = self._vectors.add(documents, known)
        for document in documents:
            self.drop(document.item_id)
            self._places[document.item_id] = len(self._documents)
            self._documents.append(document)
            self._live.append(1)
            self._kind_of.append(self._kinds.setdefault(document.slots, len(self._kinds)))
            self._terms.append(terms_of(document.text) if self.settings.words else [])
            self._num_changes += 1
        return made

    def reweigh(self, item_id: str, confidence: float) -> None:
        """A document's relevance counts by another confidence from now on; one that is not there is no error."""
        place = self._places.get(item_id)
        if place is not None:
            self._documents[place] = dataclasses.replace(self._documents[place], confidence=confidence)

    def drop(self, item_id: str) -> None:
        """A document is not found any more; one that is not there is no error."""
        place = self._places.pop(item_id, None)
        if place is not None:
            self._live[place] = 0
            self._num_changes += 1

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

    def _allowed(self, slot: str | None) -> NDArray[np.bool_] | None:
        """[N]: which places may be found; None: all."""
        live = np.array(self._live, dtype=np.bool_) if len(self._places) < len(self._documents) else None
        if slot is None:
            return live
        fitting = np.array([not slots or slot in slots for slots in self._kinds], dtype=np.bool_)
        fits: NDArray[np.bool_] = fitting[np.array(self._kind_of)]
        return fits if live is None else np.logical_and(fits, live)

    def _by_words(self, query: str, allowed: NDArray[np.bool_] | None) -> list[int]:
        """Places of documents that share words with the query, best first."""
        self._count()
        terms = [term for term in terms_of(query) if self._words is not None and term in self._words.vocab_dict]
        if self._words is None or not terms:
            return []
        scores = self._words.get_scores(terms)
        if allowed is not None:
            scores = np.where(allowed[self._counted], scores, np.float32(0))
        return [int(self._counted[row]) for row in _best(scores, _DEPTH)]

    def _count(self) -> None:
        """Make BM25 anew where it does not know enough."""
        if self._num_changes == 0 or (len(self) > _SMALL and self._num_changes <= _STALE_SHARE * len(self._counted)):
            return
        self._counted = np.flatnonzero(np.array(self._live))
        self._words, self._num_changes = None, 0
        terms = [self._terms[place] for place in self._counted]
        if any(terms):
            self._words = bm25s.BM25()
            self._words.index(terms, show_progress=False)

    def _diverse(self, hits: Sequence[Hit], num: int) -> list[Hit]:
        """Hits in the order of maximal marginal relevance; a second one of a group comes after all groups' first."""
        if self.settings.diversity == 0 or len(hits) <= 1:
            return list(hits[:num])
        vectors = self._vectors.vectors_of([self._places[hit.document.item_id] for hit in hits])
        likeness = np.einsum("nd,md->nm", vectors, vectors)  # not `@`: waking BLAS's threads takes longer than this
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


def _best(scores: NDArray[np.float32], num: int) -> NDArray[np.int64]:
    """Places of the `num` largest scores [N] above zero, best first; of equal ones the first place is the better."""
    above = np.flatnonzero(scores > 0)
    if len(above) > num:
        found = scores[above]
        above = above[found >= np.partition(found, len(found) - num)[len(found) - num]]
    return above[np.argsort(-scores[above], kind="stable")][:num]

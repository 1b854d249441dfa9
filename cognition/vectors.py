"""Vectors of documents' parts, searched in memory. What a store holds of them in Parquet is taken from there.

Shapes: N vectors, D dimensions.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cognition.documents import Document
from cognition.embedding import Embedder, Vectors
from cognition.records import Vector

_BLOCK = 2**20  # figures; memory grows by as many, without moving what is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """A document by the nearest of its parts."""

    place: int  # of the document, in the order in which they were added
    similarity: float  # cosine


class VectorTable:
    """The parts of documents under one embedder, in memory; documents are known by their place.

    Not safe for use by several threads. Exact search over all of them, in one thread; benchmarks/cognition_scale.py
    measures what 100,000 take.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._blocks: list[Vectors] = []  # [R, D] each; the last one is not full
        self._firsts = array("q")  # of each document: the row of its first part
        self._num_parts = 0

    def add(self, documents: Sequence[Document], known: Iterable[Vector] = ()) -> tuple[Vector, ...]:
        """Take documents in; returns the vectors that had to be made, for the store.

        Args:
            known: vectors that were made before; those of other embedders are passed over.

        Raises:
            ValueError: the embedder's vectors have another number of dimensions than before, or none; a document has
                no part.
        """
        if empty := [document.item_id for document in documents if not document.parts]:
            raise ValueError(f"{empty[0]} has no part that could be searched: give its text")
        ready = {
            (vector.item_id, vector.part): vector.vector for vector in known if vector.embedder == self._embedder.name
        }
        wanted = [(document, part) for document in documents for part in document.parts]
        missing = [(document, part) for document, part in wanted if (document.item_id, part) not in ready]
        made: tuple[Vector, ...] = ()
        if missing:
            vectors = self._embedder.embed([document.parts[part] for document, part in missing])
            made = tuple(
                Vector(
                    embedder=self._embedder.name,
                    item=document.item,
                    item_id=document.item_id,
                    part=part,
                    vector=tuple(vector.tolist()),
                )
                for (document, part), vector in zip(missing, vectors, strict=True)
            )
            ready |= {(vector.item_id, vector.part): vector.vector for vector in made}
        if wanted:
            self._append(np.array([ready[document.item_id, part] for document, part in wanted], dtype=np.float32))
        first = self._num_parts - len(wanted)
        for document in documents:
            self._firsts.append(first)
            first += len(document.parts)
        return made

    def nearest(self, text: str, num: int, allowed: NDArray[np.bool_] | None = None) -> list[Near]:
        """The documents nearest to a text, best first; without any likeness they are left out.

        Args:
            allowed: [N], which places may be found; None: all.
        """
        if self._num_parts == 0:
            return []
        return self.nearest_to(self._embedder.embed([text])[0], num, allowed)

    def nearest_to(self, vector: Vectors, num: int, allowed: NDArray[np.bool_] | None = None) -> list[Near]:
        """`nearest` of a vector [D] of unit length."""
        if self._num_parts == 0:
            return []
        vector = np.asarray(vector, dtype=np.float32)
        # Not `@`: waking BLAS's threads takes longer than this product, the more so beside others.
        products = [np.einsum("nd,d->n", block, vector) for block in self._blocks]
        similarities = np.concatenate(products)[: self._num_parts]
        if self._num_parts > len(self._firsts):
            similarities = np.maximum.reduceat(similarities, np.array(self._firsts))
        if allowed is not None:
            similarities = np.where(allowed, similarities, np.float32(0))
        return [Near(place=int(place), similarity=float(similarities[place])) for place in best_of(similarities, num)]

    def vectors_of(self, places: Sequence[int]) -> Vectors:
        """[N, D]: the mean of each document's parts, of unit length."""
        means = np.stack([self._rows(self._first(place), self._first(place + 1)).sum(axis=0) for place in places])
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return np.asarray(means / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)

    def _first(self, place: int) -> int:
        """The row of a document's first part; of the place behind the last one: the number of rows."""
        return self._firsts[place] if place < len(self._firsts) else self._num_parts

    def _rows(self, first: int, end: int) -> Vectors:
        num_rows = len(self._blocks[0])
        return np.stack([self._blocks[row // num_rows][row % num_rows] for row in range(first, end)])

    def _append(self, vectors: Vectors) -> None:
        num_dimensions = vectors.shape[1] if vectors.ndim == 2 else 0
        if num_dimensions == 0:
            raise ValueError(f"{self._embedder.name} gives vectors of shape {vectors.shape}: [N, D] is needed")
        if self._blocks and num_dimensions != self._blocks[0].shape[1]:
            raise ValueError(
                f"{self._embedder.name} gives {num_dimensions} dimensions and gave {self._blocks[0].shape[1]} before: "
                "name one model, or start a fresh run"
            )
        num_rows = max(1, _BLOCK // num_dimensions)
        while len(vectors):
            used = self._num_parts % num_rows
            if used == 0:
                self._blocks.append(np.zeros((num_rows, num_dimensions), dtype=np.float32))
            taken = vectors[: num_rows - used]
            self._blocks[-1][used : used + len(taken)] = taken
            self._num_parts += len(taken)
            vectors = vectors[len(taken) :]


def best_of(scores: NDArray[np.float32], num: int) -> NDArray[np.int64]:
    """Places of the `num` largest scores [N] above zero, best first; of equal ones the first place is the better."""
    above = np.flatnonzero(scores > 0)
    if len(above) > num:
        found = scores[above]
        above = above[found >= np.partition(found, len(found) - num)[len(found) - num]]
    return above[np.argsort(-scores[above], kind="stable")][:num]


def plain_name(text: str) -> str:
    """An embedder's name from what a user calls its model: letters, digits, '.', '-', '_' and '/' are kept."""
    return re.sub(r"[^A-Za-z0-9._/-]", "_", text)

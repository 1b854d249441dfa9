"""Vectors of documents, searched in DuckDB. What a store holds of them in Parquet is taken from there.

A document is the mean of its parts' vectors: of an entry, of all wordings of what it treats.

Shapes: N vectors, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cognition.documents import Document
from cognition.embedding import Embedder, Vectors, of_unit_length
from cognition.records import Vector

_CONFIG: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """A document that is like what was asked for."""

    place: int  # of the document, in the order in which they were added
    similarity: float  # cosine


class VectorTable:
    """The vectors of documents under one embedder, in memory; documents are known by their place.

    Exact search over all of them; benchmarks/cognition_scale.py measures 100,000. Not safe for use by several threads.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._connection = duckdb.connect(":memory:", config=_CONFIG)
        self._num_dimensions = 0
        self._num_documents = 0

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
        if not documents:
            return ()
        ready = {vector.item_id: vector.vector for vector in known if vector.embedder == self._embedder.name}
        missing = [document for document in documents if document.item_id not in ready]
        made = tuple(
            Vector(
                embedder=self._embedder.name,
                item=document.item,
                item_id=document.item_id,
                vector=tuple(vector.tolist()),
            )
            for document, vector in zip(missing, self._embedded(missing), strict=True)
        )
        ready |= {vector.item_id: vector.vector for vector in made}
        self._insert(np.array([ready[document.item_id] for document in documents], dtype=np.float32))
        return made

    def nearest(self, text: str, num: int, allowed: NDArray[np.bool_] | None = None) -> list[Near]:
        """The documents nearest to a text, best first; without any likeness they are left out.

        Args:
            allowed: [N], which places may be found; None: all.
        """
        if self._num_documents == 0:
            return []
        return self.nearest_to(self._embedder.embed([text])[0], num, allowed)

    def nearest_to(self, vector: Vectors, num: int, allowed: NDArray[np.bool_] | None = None) -> list[Near]:
        """`nearest` of a vector [D] of unit length."""
        if self._num_documents == 0:
            return []
        among = ""
        if allowed is not None:
            self._connection.register("_allowed", pa.table({"place": np.flatnonzero(allowed)}))
            among = "WHERE place IN (SELECT place FROM _allowed)"
        found = self._connection.execute(
            f"SELECT place, array_inner_product(vector, ?::FLOAT[{self._num_dimensions}]) AS similarity "
            f"FROM vectors {among} ORDER BY similarity DESC, place LIMIT ?",
            [vector.tolist(), num],
        ).fetchall()
        # Not by WHERE: DuckDB works every product out once more for it.
        return [Near(place=int(place), similarity=float(likeness)) for place, likeness in found if likeness > 0]

    def vectors_of(self, places: Sequence[int]) -> Vectors:
        """[N, D], in the order of `places`."""
        wanted = ", ".join(str(int(place)) for place in places)
        rows = self._connection.execute(f"SELECT place, vector FROM vectors WHERE place IN ({wanted})").fetchall()
        found = dict(rows)
        return np.array([found[place] for place in places], dtype=np.float32)

    def _embedded(self, documents: Sequence[Document]) -> Vectors:
        """[N, D]: the mean of each document's parts, of unit length."""
        texts = [text for document in documents for text in document.parts.values()]
        if not texts:
            return np.empty((0, self._num_dimensions), dtype=np.float32)
        owners = np.repeat(np.arange(len(documents)), [len(document.parts) for document in documents])
        vectors = self._embedder.embed(texts)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise ValueError(
                f"{self._embedder.name} gives vectors of shape {vectors.shape}: [{len(texts)}, D] is needed"
            )
        sums = np.zeros((len(documents), vectors.shape[1]), dtype=np.float32)
        np.add.at(sums, owners, vectors)
        return of_unit_length(sums)

    def _insert(self, matrix: Vectors) -> None:
        num, num_dimensions = matrix.shape if matrix.ndim == 2 else (0, 0)
        if num_dimensions == 0:
            raise ValueError(f"{self._embedder.name} gives vectors of shape {matrix.shape}: [N, D] is needed")
        if self._num_dimensions == 0:
            self._num_dimensions = num_dimensions
            self._connection.execute(f"CREATE TABLE vectors (place BIGINT, vector FLOAT[{num_dimensions}])")
        if num_dimensions != self._num_dimensions:
            raise ValueError(
                f"{self._embedder.name} gives {num_dimensions} dimensions and gave {self._num_dimensions} before: "
                "name one model, or start a fresh run"
            )
        places = pa.array(range(self._num_documents, self._num_documents + num), pa.int64())
        column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), num_dimensions)
        self._connection.register("_new", pa.table({"place": places, "vector": column}))
        self._connection.execute("INSERT INTO vectors SELECT * FROM _new")
        self._connection.unregister("_new")
        self._num_documents += num

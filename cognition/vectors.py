"""Vectors of documents' parts, searched in DuckDB. What a store holds of them in Parquet is taken from there.

Shapes: N vectors, D dimensions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from cognition.documents import Document
from cognition.embedding import Embedder, Vectors
from cognition.records import Vector

_WIDEST = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """A document by the nearest of its parts."""

    place: int  # of the document, in the order in which they were added
    similarity: float  # cosine


class VectorTable:
    """The parts of documents under one embedder, in memory; documents are known by their place.

    Not safe for use by several threads. Exact search over all of them: 100,000 take about 20 ms on two cores.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": False})
        self._num_dimensions = 0
        self._num_documents = 0

    def add(self, documents: Sequence[Document], known: Iterable[Vector] = ()) -> tuple[Vector, ...]:
        """Take documents in; returns the vectors that had to be made, for the store.

        Args:
            known: vectors that were made before; those of other embedders are passed over.

        Raises:
            ValueError: the embedder's vectors have another number of dimensions than before, or none.
        """
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
        places = {id(document): self._num_documents + offset for offset, document in enumerate(documents)}
        if wanted:
            matrix = np.array([ready[document.item_id, part] for document, part in wanted], dtype=np.float32)
            self._insert(matrix, [places[id(document)] for document, _ in wanted])
        self._num_documents += len(documents)
        return made

    def nearest(self, text: str, num: int, allowed: Sequence[bool] | None = None) -> list[Near]:
        """The documents nearest to a text, best first; without any likeness they are left out."""
        if self._num_documents == 0:
            return []
        return self.nearest_to(self._embedder.embed([text])[0], num, allowed)

    def nearest_to(self, vector: Vectors, num: int, allowed: Sequence[bool] | None = None) -> list[Near]:
        """`nearest` of a vector [D] of unit length."""
        if self._num_documents == 0:
            return []
        where = ""
        if allowed is not None:
            self._connection.register("_allowed", pa.table({"place": np.flatnonzero(np.asarray(allowed))}))
            where = "WHERE place IN (SELECT place FROM _allowed)"
        found = self._connection.execute(
            f"SELECT place, max(array_inner_product(vector, ?::FLOAT[{self._num_dimensions}])) AS similarity "
            f"FROM vectors {where} GROUP BY place HAVING similarity > 0 ORDER BY similarity DESC, place LIMIT ?",
            [vector.tolist(), num],
        ).fetchall()
        return [Near(place=int(place), similarity=float(similarity)) for place, similarity in found]

    def vectors_of(self, places: Sequence[int]) -> Vectors:
        """[N, D]: the mean of each document's parts, of unit length."""
        wanted = ", ".join(str(int(place)) for place in places)
        rows = self._connection.execute(f"SELECT place, vector FROM vectors WHERE place IN ({wanted})").fetchall()
        sums = {place: np.zeros(self._num_dimensions, dtype=np.float32) for place in places}
        for place, vector in rows:
            sums[place] += np.asarray(vector, dtype=np.float32)
        means = np.stack([sums[place] for place in places])
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return np.asarray(means / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)

    def _insert(self, matrix: Vectors, places: Sequence[int]) -> None:
        num_dimensions = matrix.shape[1] if matrix.ndim == 2 else 0
        if not 0 < num_dimensions <= _WIDEST:
            raise ValueError(f"{self._embedder.name} gives vectors of shape {matrix.shape}: [N, D] is needed")
        if self._num_dimensions == 0:
            self._num_dimensions = num_dimensions
            self._connection.execute(f"CREATE TABLE vectors (place BIGINT, vector FLOAT[{num_dimensions}])")
        if num_dimensions != self._num_dimensions:
            raise ValueError(
                f"{self._embedder.name} gives {num_dimensions} dimensions and gave {self._num_dimensions} before: "
                "name one model, or start a fresh run"
            )
        column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), num_dimensions)
        self._connection.register("_new", pa.table({"place": pa.array(places, pa.int64()), "vector": column}))
        self._connection.execute("INSERT INTO vectors SELECT * FROM _new")
        self._connection.unregister("_new")


def plain_name(text: str) -> str:
    """An embedder's name from what a user calls its model: letters, digits, '.', '-', '_' and '/' are kept."""
    return re.sub(r"[^A-Za-z0-9._/-]", "_", text)

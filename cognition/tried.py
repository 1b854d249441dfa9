"""Everything that a campaign tried, as matrices: who is nearest by behaviour, by structure, by motivation.

Rows are only added, at amortised constant cost; a question is three products of a matrix with a vector. At 100,000
candidates that takes 15 to 30 ms (benchmarks/novelty_scale.py).

Shapes: N rows, D numbers of a vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cognition.embedding import Embedder, HashedNgrams
from cognition.records import Candidate, Report, ReportKind
from cognition.wording import same_words
from cognition.words import terms_of

_FIRST_ROWS = 64
_REFINED = 16  # nearest rows in float32 whose distances, or words, are then compared exactly
_NEVER = np.iinfo(np.int32).max
_NO_LAYOUT = 0
_SHORTEST = 5  # words with content below which a motivation says no idea
_EXPECTED = "\n\nExpected: "  # what a model hopes for stands behind its motivation

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Exact = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """The nearest earlier candidate by some measure."""

    candidate_id: str
    distance: float  # behaviour: 0 the same, 2 opposite; structure: 0 to 1; motivation: 1 - cosine


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Who is nearest, by every measure that could be taken."""

    behaviour: Neighbour | None = None
    structure: Neighbour | None = None
    relaid: Neighbour | None = None  # by structure, among those of other layout and the same totals
    motivation: Neighbour | None = None
    restated: Neighbour | None = None  # by motivation, among those that say the same in the same words


def idea_of(candidate: Candidate) -> str:
    """What its author wants, as far as somebody wrote it: "" for built-in texts and for words without an idea.

    Language models and people are asked in a mode; grammar, founders and scripts are not, and theirs are templates.
    """
    if not candidate.mode or candidate.genome is not None:
        return ""
    text = candidate.motivation.split(_EXPECTED)[0]
    return text if len(terms_of(text)) >= _SHORTEST else ""


class Tried:
    """Candidates and reports, in any order of adding; asked about one at a time."""

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._embedder = embedder or HashedNgrams()
        self._behaviours: dict[int, _Rows] = {}  # by length: other lengths were taken otherwise
        self._structures: dict[int, _Rows] = {}
        self._motivations: _Rows | None = None
        self._texts: list[str] = []  # of the motivations, row by row
        self._first_passed = np.full(_FIRST_ROWS, _NEVER, dtype=np.int32)  # number -> its first attempt that passed

    def add(self, record: Candidate | Report) -> None:
        """A candidate's idea, whatever becomes of it; behaviour and structure of what passed the gate."""
        if isinstance(record, Candidate):
            if text := idea_of(record):
                vector = self._embedder.embed([text])[0]
                if vector.any():
                    if self._motivations is None:
                        self._motivations = _Rows(len(vector))
                    self._motivations.append(vector, record.candidate_id, record.number, record.attempt)
                    self._texts.append(text)
        elif record.kind is ReportKind.passed:
            self._passed(record.number, record.attempt)
            for rows, values in ((self._behaviours, record.fingerprint), (self._structures, record.structure)):
                vector = _vector(values)
                if vector is not None:
                    rows.setdefault(len(vector), _Rows(len(vector))).append(
                        vector, record.candidate_id, record.number, record.attempt, _totals(record)
                    )

    @property
    def num_bytes(self) -> int:
        """What the buffers hold, room for growth included."""
        kinds = (*self._behaviours.values(), *self._structures.values(), self._motivations)
        return sum(rows.num_bytes for rows in kinds if rows is not None)

    def by_motivation(self, candidate: Candidate, horizon: int | None = None) -> Found:
        """The nearest idea of another number, and the nearest in the same words, which need not be the same row.

        Nothing where the candidate states no idea, or mends what is known. A repair keeps its idea by right: another
        attempt at the same number, or a proposal in mode "repair". Words are compared with the nearest 16 alone.
        """
        text, rows = idea_of(candidate), self._motivations
        if not text or rows is None or candidate.repairs is not None or candidate.mode == "repair":
            return Found()
        seen = self._seen(rows, candidate.number, candidate.attempt, horizon) & (rows.numbers != candidate.number)
        distances = np.float32(1.0) - rows.products(self._embedder.embed([text])[0])
        near = rows.nearest_few(np.round(distances, 6), seen)  # equal texts differ in the last bit by their row
        restated = (neighbour for place, neighbour in near if same_words(text, self._texts[place]))
        return Found(motivation=near[0][1] if near else None, restated=next(restated, None))

    def by_design(self, report: Report, horizon: int | None = None) -> Found:
        """The nearest by behaviour and by structure of what passed the gate, as far as both can be compared."""
        behaviour = structure = relaid = None
        if (point := _vector(report.fingerprint)) is not None and (rows := self._behaviours.get(len(point))):
            seen = self._seen(rows, report.number, report.attempt, horizon)
            size = float(np.linalg.norm(point))
            behaviour = rows.nearest(
                rows.gaps(point) / np.maximum(np.maximum(rows.sizes, size), 1e-30),
                seen,
                partial(_relative, point),
            )
        if (point := _vector(report.structure)) is not None and (rows := self._structures.get(len(point))):
            seen = self._seen(rows, report.number, report.attempt, horizon)
            size = float(np.linalg.norm(point))
            distances = rows.gaps(point) / np.maximum(np.sqrt(rows.sizes**2 + size**2), 1e-30)
            exact = partial(_shared, point)
            structure = rows.nearest(distances, seen, exact)
            relaid = rows.nearest(distances, seen & rows.relaid(_totals(report)), exact)
        return Found(behaviour=behaviour, structure=structure, relaid=relaid)

    def _passed(self, number: int, attempt: int) -> None:
        if number >= len(self._first_passed):
            longer = np.full(max(number + 1, 2 * len(self._first_passed)), _NEVER, dtype=np.int32)
            longer[: len(self._first_passed)] = self._first_passed
            self._first_passed = longer
        self._first_passed[number] = min(self._first_passed[number], attempt)

    def _seen(self, rows: _Rows, number: int, attempt: int, horizon: int | None) -> Mask:
        """Rows that an attempt may be compared with.

        Without a horizon all but itself. With one, what is the same whatever the clock did: everything up to the
        horizon, the number's own earlier attempts, and of the numbers between what came up to the first attempt that
        passed, since what failed in training and came back may have done so before or after.
        """
        own = rows.numbers == number
        if horizon is None:
            return np.asarray(~(own & (rows.attempts == attempt)))
        first = self._first_passed[np.minimum(rows.numbers, len(self._first_passed) - 1)]
        first = np.where(rows.numbers < len(self._first_passed), first, _NEVER)
        between = (rows.numbers < number) & (rows.attempts <= first)
        return np.asarray((rows.numbers <= horizon) | (own & (rows.attempts < attempt)) | between)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Totals:
    """What a rewritten design keeps, and the layout, which it may not."""

    layout: int = _NO_LAYOUT
    num_parameters: float = -1.0
    flops: float = -1.0
    state: float = -1.0  # below 0: not known


class _Rows:
    """Vectors of one length with whose they are, in buffers that double."""

    def __init__(self, length: int) -> None:
        self._num = 0
        self._ids: list[str] = []
        self._vectors = np.empty((_FIRST_ROWS, length), dtype=np.float32)
        self._sizes = np.empty(_FIRST_ROWS, dtype=np.float32)
        self._whose = np.empty((_FIRST_ROWS, 2), dtype=np.int32)  # number, attempt
        self._layouts = np.empty(_FIRST_ROWS, dtype=np.uint64)
        self._totals = np.empty((_FIRST_ROWS, 3), dtype=np.float64)

    def append(
        self, vector: Floats, candidate_id: str, number: int, attempt: int, totals: _Totals | None = None
    ) -> None:
        if self._num == len(self._vectors):
            for name in ("_vectors", "_sizes", "_whose", "_layouts", "_totals"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.empty_like(old)]))
        place, totals = self._num, totals or _Totals()
        self._vectors[place] = vector
        self._sizes[place] = np.linalg.norm(vector)
        self._whose[place] = number, attempt
        self._layouts[place] = totals.layout
        self._totals[place] = totals.num_parameters, totals.flops, totals.state
        self._ids.append(candidate_id)
        self._num += 1

    @property
    def num_bytes(self) -> int:
        """Bytes of the buffers; the ids are not counted."""
        return sum(kept.nbytes for kept in (self._vectors, self._sizes, self._whose, self._layouts, self._totals))

    @property
    def numbers(self) -> NDArray[np.int32]:
        return self._whose[: self._num, 0]

    @property
    def attempts(self) -> NDArray[np.int32]:
        return self._whose[: self._num, 1]

    @property
    def sizes(self) -> Floats:
        return self._sizes[: self._num]

    def products(self, point: Floats) -> Floats:
        """[N] scalar products."""
        return np.asarray(self._vectors[: self._num] @ point)

    def gaps(self, point: Floats) -> Floats:
        """[N] Euclidean distances, to about 1e-3 of the larger vector."""
        squares = self.sizes**2 + np.float32(point @ point) - 2 * self.products(point)
        return np.asarray(np.sqrt(np.maximum(squares, 0)))

    def relaid(self, totals: _Totals) -> Mask:
        """Rows of other layout whose totals are the same, as far as they are known."""
        parameters, flops, state = self._totals[: self._num].T
        own = np.array([totals.num_parameters, totals.flops])
        same = (parameters == own[0]) & np.isclose(flops, own[1], rtol=1e-9, atol=0)
        same &= (state == totals.state) | (state < 0) | (totals.state < 0)
        layouts = self._layouts[: self._num]
        return np.asarray(same & (layouts != totals.layout) & (layouts != _NO_LAYOUT) & (totals.layout != _NO_LAYOUT))

    def nearest_few(self, distances: NDArray[np.floating], seen: Mask) -> Sequence[tuple[int, Neighbour]]:
        """The nearest of the rows that may be seen with their places, nearest first, the earliest among equals."""
        places = np.flatnonzero(seen)
        if places.size > _REFINED:
            farthest = np.partition(distances[places], _REFINED - 1)[_REFINED - 1]
            places = places[distances[places] <= farthest]
        order = places[np.argsort(distances[places], kind="stable")][:_REFINED].tolist()
        return [(at, Neighbour(candidate_id=self._ids[at], distance=float(distances[at]))) for at in order]

    def nearest(self, distances: NDArray[np.floating], seen: Mask, exact: Exact) -> Neighbour | None:
        """The nearest of the rows that may be seen, the earliest among equals.

        Args:
            exact: the distance of one row in float64, for those that are nearest by `distances`.
        """
        places = np.flatnonzero(seen)
        if not places.size:
            return None
        among = distances[places]
        if places.size > _REFINED:
            places = np.sort(places[np.argpartition(among, _REFINED)[:_REFINED]])
        refined = [exact(self._vectors[place].astype(np.float64)) for place in places]
        best = int(np.argmin(refined))
        return Neighbour(candidate_id=self._ids[int(places[best])], distance=float(refined[best]))


def _vector(values: Sequence[float]) -> Floats | None:
    """None for what cannot be compared: nothing, or numbers that are none in float32."""
    with np.errstate(over="ignore"):
        vector = np.asarray(values, dtype=np.float32)
    sane = vector.ndim == 1 and vector.size and bool(np.isfinite(vector).all()) and bool(np.isfinite(vector @ vector))
    return vector if sane else None


def _relative(point: Floats, row: NDArray[np.float64]) -> float:
    size = max(float(np.linalg.norm(row)), float(np.linalg.norm(point)), 1e-30)
    return float(np.linalg.norm(row - point)) / size


def _shared(point: Floats, row: NDArray[np.float64]) -> float:
    size = max(float(np.hypot(np.linalg.norm(row), np.linalg.norm(point))), 1e-30)
    return float(np.linalg.norm(row - point)) / size


def _totals(report: Report) -> _Totals:
    def known(value: float | None) -> float:
        return -1.0 if value is None else float(value)

    digest = hashlib.blake2b(report.layout.encode(), digest_size=8).digest()
    return _Totals(
        layout=int.from_bytes(digest, "big") if report.layout else _NO_LAYOUT,
        num_parameters=known(report.num_parameters),
        flops=known(report.flops_per_token),
        state=known(report.state_bytes),
    )

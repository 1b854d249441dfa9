"""Has this been proposed before? By source (the candidate's id) and by behaviour (its fingerprint).

A fingerprint is what a mixer answers to fixed inputs under fixed weights, so two candidates that compute the same
function have the same one up to rounding, however differently they are written.

Not covered: functions that differ only in how their weights are initialised or laid out have different fingerprints.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cognition.records import Candidate

SAME_BEHAVIOUR = 1e-3
"""Relative distance below which two behaviours count as the same. Float32 recurrences of the same function in another
order of summation differ by about 1e-6 to 1e-5; a changed gate, decay or normalisation moves outputs by 1e-2 and more.
The geometric middle leaves both a factor of ten or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """The nearest earlier candidate by behaviour."""

    candidate_id: str
    distance: float  # |a - b| / max(|a|, |b|): 0 the same, 2 opposite


def same_source(candidate: Candidate, known_ids: Collection[str]) -> bool:
    """Whether the same source, comments and layout aside, was proposed before: identity is content."""
    return candidate.candidate_id in known_ids


def nearest(
    fingerprint: Sequence[float] | npt.NDArray[np.floating],
    others: Mapping[str, Sequence[float] | npt.NDArray[np.floating]],
) -> Neighbour | None:
    """The closest of `others` (candidate_id -> fingerprint) by relative distance; the first among equals.

    Fingerprints of another length (taken from another slot or with other inputs) or with non-finite entries cannot be
    compared and are passed over. None: nothing is left to compare with.

    Raises:
        ValueError: `fingerprint` itself is empty or not finite.
    """
    point = np.asarray(fingerprint, dtype=np.float64)
    if point.ndim != 1 or point.size == 0 or not np.isfinite(point).all():
        raise ValueError(
            f"a fingerprint of shape {point.shape} with {int((~np.isfinite(point)).sum())} non-finite entries has no "
            "neighbours; give a non-empty finite vector"
        )
    ids = [candidate_id for candidate_id, other in others.items() if len(other) == point.size]
    matrix = np.array([others[candidate_id] for candidate_id in ids], dtype=np.float64).reshape(len(ids), point.size)
    comparable = np.flatnonzero(np.isfinite(matrix).all(axis=1))
    if not comparable.size:
        return None
    gaps = np.linalg.norm(matrix[comparable] - point, axis=1)
    sizes = np.maximum(np.linalg.norm(matrix[comparable], axis=1), np.linalg.norm(point))
    distances = gaps / np.where(sizes > 0, sizes, 1.0)
    place = int(np.argmin(distances))
    return Neighbour(candidate_id=ids[comparable[place]], distance=float(distances[place]))


def same_behaviour(neighbour: Neighbour | None, *, threshold: float = SAME_BEHAVIOUR) -> bool:
    """Whether the neighbour is so near that only rounding lies between."""
    return neighbour is not None and neighbour.distance < threshold

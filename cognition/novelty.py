"""Has this been proposed before? By source, by motivation, by behaviour and by structure, in order of cost.

* Source: the candidate's id is its text, comments and layout aside.
* Motivation: the cosine of two texts, where somebody wrote them, and whether they say the same in the same words.
* Behaviour: a fingerprint is what a mixer answers to fixed inputs under weights set by their shapes, so two candidates
  that compute the same function have the same one up to rounding, however differently they are written.
* Structure: the operators of a traced pass. It decides where behaviours cannot be compared, since weights of other
  shapes get other values: one wide projection in place of three.

`decide` is a pure function of the nearest neighbours and the thresholds; `cognition.tried` finds the neighbours.

Not covered: functions that differ only in how their weights are initialised are different designs. Structure knows
constants by kind and size, not by place: a design whose weights are laid out otherwise and in which two constants
exchange places is taken for the same.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from cognition.records import Candidate
from cognition.tried import Found as Found
from cognition.tried import Neighbour as Neighbour
from cognition.tried import Tried as Tried

SAME_BEHAVIOUR = 1e-3
"""Relative distance below which two behaviours count as the same. Float32 recurrences of the same function in another
order of summation differ by about 1e-6 to 1e-5; a changed gate, decay or normalisation moves outputs by 1e-2 and more.
The geometric middle leaves both a factor of ten or more."""

SOURCE, BEHAVIOUR, STRUCTURE, MOTIVATION, OPINION = "source", "behaviour", "structure", "motivation", "opinion"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoveltySettings:
    """From where on something is the same. 0 switches a distance off, 1 a similarity (docs/novelty.md).

    Raises ValueError for a threshold outside 0 to 1, or a doubtful band that begins behind its end.
    """

    same_behaviour: float = SAME_BEHAVIOUR  # relative distance below which two behaviours are one
    same_structure: float = 0.02  # distance below which two graphs are one, where behaviours cannot be compared
    doubtful_structure: float = 0.15
    same_motivation: float = 0.9  # similarity from which on motivations in the same words are one idea
    doubtful_motivation: float = 0.75
    ask_model: bool = False  # let the judge's model decide what is doubtful; otherwise it passes

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "ask_model" and not (math.isfinite(value) and 0 <= value <= 1):
                raise ValueError(f"novelty.{item.name} is {value}: use a number from 0 to 1")
        if self.doubtful_structure < self.same_structure:
            raise ValueError(
                f"novelty.doubtful_structure is {self.doubtful_structure}, below same_structure "
                f"({self.same_structure}): doubt begins behind sameness, make it larger"
            )
        if self.doubtful_motivation > self.same_motivation:
            raise ValueError(
                f"novelty.doubtful_motivation is {self.doubtful_motivation}, above same_motivation "
                f"({self.same_motivation}): doubt ends where sameness begins, make it smaller"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the measures say of a candidate, and by whom they say it."""

    measure: str = ""  # what decided; "" where the candidate is new
    neighbour: Neighbour | None = None
    doubtful: bool = False  # near, and not near enough: somebody who reads may decide

    @property
    def duplicate(self) -> bool:
        return bool(self.measure) and not self.doubtful

    @property
    def nearness(self) -> str:
        """How near, and by which measure, in a few words."""
        assert self.neighbour is not None
        distance = self.neighbour.distance
        return {
            BEHAVIOUR: f"relative distance {distance:.1e}",
            STRUCTURE: f"structural distance {distance:.2f}",
            MOTIVATION: f"similarity {1 - distance:.2f}",
        }[self.measure]


def decide(found: Found, settings: NoveltySettings) -> Decision:
    """Whether the nearest neighbours make a candidate a duplicate, doubtful, or new.

    * The same behaviour is a duplicate.
    * The same operators with the same totals, under another layout of the weights, are one; under the same layout the
      behaviours were compared, and a constant with an effect is another design.
    * The same motivation in the same words is one.
    * What comes close by motivation, in whatever words, or by structure is doubtful.
    """
    behaviour, relaid, motivation, restated = found.behaviour, found.relaid, found.motivation, found.restated
    if behaviour is not None and behaviour.distance < settings.same_behaviour:
        return Decision(measure=BEHAVIOUR, neighbour=behaviour)
    if relaid is not None and relaid.distance < settings.same_structure:
        return Decision(measure=STRUCTURE, neighbour=relaid)
    if restated is not None and 1 - restated.distance >= settings.same_motivation < 1:
        return Decision(measure=MOTIVATION, neighbour=restated)
    if motivation is not None and 1 - motivation.distance >= settings.doubtful_motivation < 1:
        return Decision(measure=MOTIVATION, neighbour=motivation, doubtful=True)
    if relaid is not None and relaid.distance < settings.doubtful_structure:
        return Decision(measure=STRUCTURE, neighbour=relaid, doubtful=True)
    return Decision()


def same_source(candidate: Candidate, known_ids: Collection[str]) -> bool:
    """Whether the same source, comments and layout aside, was proposed before: identity is content."""
    return candidate.candidate_id in known_ids


def nearest(
    fingerprint: Sequence[float] | npt.NDArray[np.floating],
    others: Mapping[str, Sequence[float] | npt.NDArray[np.floating]],
) -> Neighbour | None:
    """The closest of `others` (candidate_id -> fingerprint) by relative distance; the first among equals.

    For a handful at a time; `Tried` answers for a whole campaign. Fingerprints of another length (taken from another
    slot or with other inputs) or with non-finite entries cannot be compared and are passed over. None: nothing is left
    to compare with.

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

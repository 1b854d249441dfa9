"""Knowledge as rows: papers, what was taken from them, what reached whose prompt, and where a design's parts come from.

Standard library only; `cognition.records` hands these on. The YAML files behind papers are read by `cognition.library`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A paper of the library: one YAML file."""

    TABLE: ClassVar[str] = "papers"
    KEY: ClassVar[tuple[str, ...]] = ("paper_id",)

    paper_id: str  # the file's name
    title: str
    identifier: str  # "arXiv:2406.06484", "doi:10.1162/neco.1992.4.1.131"; "" for a lab's own notes
    year: int
    topic: str  # "delta_rule", "state_space", ...
    extends: tuple[str, ...] = ()  # paper ids
    contradicts: tuple[str, ...] = ()
    supersedes: tuple[str, ...] = ()
    library: str = "shipped"  # or the folder that it came from


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One piece of knowledge: the symptom that makes it relevant, and what to do about it."""

    TABLE: ClassVar[str] = "entries"
    KEY: ClassVar[tuple[str, ...]] = ("entry_id",)

    entry_id: str  # "paper_id/name"
    paper_id: str
    slots: tuple[str, ...]  # where it can be used
    trigger: str  # a shortcoming of an experiment, as an analysis would state it
    wordings: tuple[str, ...] = ()  # the same shortcoming in other words
    insight: str
    mechanism: str
    equation: str
    implementation: str  # in the slot's contract: shapes, operators
    operators: tuple[str, ...] = ()  # of kernels.dispatch
    cost: str  # compute and memory in training
    state: str  # decode state of one layer and one sequence
    failure_modes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """One entry or insight that was retrieved for one proposal."""

    TABLE: ClassVar[str] = "retrievals"
    KEY: ClassVar[tuple[str, ...]] = ("number", "attempt", "item_id")

    number: int  # the candidate's
    attempt: int
    arm: str
    item: str  # "entry" or "insight"
    item_id: str
    paper_id: str | None = None  # of an entry
    query: str  # the parents' weakness, in words
    rank: int  # 1 is the best; entries and insights are ranked apart
    score: float
    in_prompt: bool  # False: there was no room for it, or no question was asked
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Where its author says that an element of a design comes from."""

    element: str
    source: str  # "paper", "insight" or "own"
    item_id: str = ""  # of the entry or insight


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """An element of a design: where its author says that it comes from, and what matching finds nearest to it."""

    TABLE: ClassVar[str] = "origins"
    KEY: ClassVar[tuple[str, ...]] = ("candidate_id", "element")

    candidate_id: str
    element: str
    declared: str = ""  # "paper", "insight", "own"; "" where nothing was declared
    declared_id: str = ""  # entry_id or insight_id; "" where it names nothing that is known
    matched: str = "own"  # "paper", "insight", or "own": nothing known is near
    matched_id: str = ""
    similarity: float = 0.0  # cosine of the nearest, also where that is too far to be a match


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """The embedding of a document, of unit length: the mean of its parts' vectors."""

    TABLE: ClassVar[str] = "vectors"
    KEY: ClassVar[tuple[str, ...]] = ("embedder", "item_id")

    embedder: str  # name and version: vectors of two embedders are not comparable
    item: str  # "entry", "insight" or "motivation"
    item_id: str  # entry_id, insight_id or candidate_id
    vector: tuple[float, ...]

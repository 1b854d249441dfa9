"""The labelled pairs of motivations, scored by the campaign's own embedder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from cognition.embedding import HashedNgrams
from tests.novelty.calibration import Figures

KINDS = ("light", "other", "topic", "far")
_SAME = ("light", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Two texts, what they are to each other, and how near they came."""

    kind: str
    first: str
    second: str
    similarity: float
    split: str

    @property
    def same(self) -> bool:
        return self.kind in _SAME


def scored(split: str | None = None) -> Sequence[Scored]:
    """The pairs of one half, every other one of its kind; None: all."""
    rows = yaml.safe_load(Path(__file__).with_name("motivations.yaml").read_text(encoding="utf-8"))
    embedder, seen = HashedNgrams(), Counter[str]()
    found = []
    for row in rows:
        first, second = embedder.embed([row["first"], row["second"]])
        half = "tune" if seen[row["kind"]] % 2 == 0 else "test"
        found.append(Scored(**row, similarity=float(first @ second), split=half))
        seen[row["kind"]] += 1
    return [item for item in found if split in (None, item.split)]


def figures(items: Iterable[Scored], threshold: float) -> Figures:
    """What a threshold gets right."""
    judged = [(item.same, item.similarity >= threshold) for item in items]
    return Figures(
        num_pairs=len(judged),
        num_same=sum(same for same, _ in judged),
        num_found=sum(found for _, found in judged),
        num_right=sum(same and found for same, found in judged),
    )

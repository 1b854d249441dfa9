"""The labelled pairs of motivations, compared as a campaign does: by its own embedder, and word by word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from cognition.embedding import HashedNgrams
from cognition.novelty import Found, Neighbour, NoveltySettings, decide
from cognition.wording import same_words
from tests.novelty.calibration import Figures

KINDS = ("light", "other", "turned", "topic", "far")
_SAME = ("light", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Two texts, what they are to each other, how near they came, and whether their words are the same."""

    kind: str
    first: str
    second: str
    similarity: float
    same_words: bool
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
        words = same_words(row["first"], row["second"])
        found.append(Scored(**row, similarity=float(first @ second), same_words=words, split=half))
        seen[row["kind"]] += 1
    return [item for item in found if split in (None, item.split)]


def alike(item: Scored, threshold: float) -> bool:
    """By the cosine alone."""
    return item.similarity >= threshold


def refused(item: Scored, settings: NoveltySettings) -> bool:
    """As a campaign decides of the second, where the first alone was tried."""
    near = Neighbour(candidate_id="first", distance=1 - item.similarity)
    return decide(Found(motivation=near, restated=near if item.same_words else None), settings).duplicate


def figures(items: Iterable[Scored], decides: Callable[[Scored], bool]) -> Figures:
    """What a way to decide gets right."""
    judged = [(item.same, decides(item)) for item in items]
    return Figures(
        num_pairs=len(judged),
        num_same=sum(same for same, _ in judged),
        num_found=sum(found for _, found in judged),
        num_right=sum(same and found for same, found in judged),
    )

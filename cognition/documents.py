"""What is searched: entries of the library and insights, as texts in parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cognition.embedding import Embedder, HashedNgrams, LatentNgrams
from cognition.literature import Entry, Paper
from cognition.records import Insight

ENTRY, INSIGHT = "entry", "insight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Something that can be found. Its vector is the mean of its parts' vectors, its words are those of all of them."""

    item: str  # "entry" or "insight"
    item_id: str
    group: str  # documents of one group say related things: a paper's id, an insight's subject
    slots: tuple[str, ...]  # empty: any
    parts: Mapping[str, str]  # name -> text
    confidence: float = 1.0  # weighs the relevance, 0..1

    @property
    def text(self) -> str:
        """All parts together, for counting words."""
        return "\n".join(self.parts.values())


def document_of_entry(entry: Entry, paper: Paper) -> Document:
    """An entry: its trigger and each other wording of it, and what it says."""
    wordings = {f"wording {place}": wording for place, wording in enumerate(entry.wordings, start=1)}
    told = {"insight": entry.insight, "mechanism": entry.mechanism, "failure modes": entry.failure_modes}
    return Document(
        item=ENTRY,
        item_id=entry.entry_id,
        group=entry.paper_id,
        slots=entry.slots,
        parts={"title": paper.title, "trigger": entry.trigger, **wordings, **told},
    )


def documents_of(entries: Iterable[Entry], papers: Mapping[str, Paper]) -> list[Document]:
    """The documents of entries, in their order."""
    return [document_of_entry(entry, papers[entry.paper_id]) for entry in entries]


def embedder_for(documents: Sequence[Document]) -> Embedder:
    """The local embedder: it has learned from the documents, where there are any."""
    texts = [list(document.parts.values()) for document in documents]
    return LatentNgrams(texts) if texts else HashedNgrams()


def document_of_insight(insight: Insight, confidence: float) -> Document:
    """An insight: its claim."""
    return Document(
        item=INSIGHT,
        item_id=insight.insight_id,
        group=insight.subject or insight.insight_id,
        slots=(insight.slot,),
        parts={"text": insight.claim},
        confidence=confidence,
    )

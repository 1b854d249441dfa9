"""What is nearest to a winner: an idea of the library, and a published source."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from cognition.documents import documents_of, embedder_for
from cognition.library import load_library
from cognition.lineage import diff_to_parent
from cognition.records import Candidate, Entry, Origin, Paper, candidate_id_of, normalised_source
from cognition.retrieval import Index
from models.slots import published_source
from orchestrator.bundle.shown import whole
from orchestrator.bundle.winner import Winner
from orchestrator.report.cells import text


@dataclass(frozen=True, slots=True, kw_only=True)
class Idea:
    """An entry of the library, and how it was found."""

    entry: Entry
    paper: Paper
    element: str  # of the design
    found_by: str  # "origins": matched when it was proposed; "search": by the words of its motivation and changes


def nearest_idea(winner: Winner) -> Idea | None:
    """Where the campaign traced the design's elements: the nearest of them; else what a search by words finds.

    Words are all that this compares: an idea that is told in other words is not found.
    """
    traced = [origin for origin in winner.origins if origin.matched == "paper" and origin.matched_id in winner.entries]
    if traced:
        origin: Origin = max(traced, key=lambda origin: origin.similarity)
        entry = winner.entries[origin.matched_id]
        return Idea(entry=entry, paper=winner.papers[entry.paper_id], element=origin.element, found_by="origins")
    query = "\n".join((winner.candidate.motivation, *winner.candidate.changes)).strip()
    library = load_library()
    if not query:
        return None
    documents = documents_of(library.entries.values(), library.papers)
    index = Index(embedder_for(documents))
    index.add(documents)
    hits = index.search(query, 1, winner.candidate.slot)
    if not hits:
        return None
    found = hits[0].document.item_id
    return Idea(entry=library.entries[found], paper=library.paper_of(found), element=query, found_by="search")


def nearest_published(winner: Winner) -> Candidate:
    """The published source that shares most lines with the candidate's, its own aside, as a row to compare with."""
    own = normalised_source(winner.candidate.source)
    others: Sequence[tuple[str, str]] = [
        (name, text)
        for name in winner.slot.published
        if normalised_source(text := published_source(winner.slot.name, name)) != own
    ]
    lines = winner.candidate.source.splitlines()
    name, text = max(others, key=lambda pair: difflib.SequenceMatcher(None, pair[1].splitlines(), lines).ratio())
    return Candidate(
        candidate_id=candidate_id_of(text),
        number=0,
        arm="baseline",
        slot=winner.slot.name,
        name=name,
        motivation="published",
        source=text,
    )


def idea_text(idea: Idea | None) -> str:
    """The idea in Markdown; what papers and candidates wrote means nothing but itself in it."""
    if idea is None:
        return "No idea of the library is near: the candidate has neither traced elements nor a motivation in words.\n"
    entry, paper = idea.entry, idea.paper
    lines = [
        f"# {text(paper.title)} ({paper.year}) {text(paper.identifier)}",
        "",
        f"Entry {text(entry.entry_id)}, found by {idea.found_by} for: {whole(idea.element)}",
        "",
    ]
    for name in ("insight", "mechanism", "equation", "implementation", "cost", "state", "failure_modes"):
        lines += [f"**{name.replace('_', ' ')}**: {whole(getattr(entry, name))}", ""]
    return "\n".join(lines)


def diff_to(winner: Winner, other: Candidate) -> str:
    """Unified, from the other's source to the winner's."""
    return diff_to_parent(winner.candidate, other)

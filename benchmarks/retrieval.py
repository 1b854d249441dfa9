"""Does retrieval find the papers that help? Hybrid against BM25 alone and embeddings alone, side by side.

    python -m benchmarks.retrieval --results benchmarks/results

Queries are what analyses say of measured designs (benchmarks/retrieval_queries.yaml), written without sight of the
entries' wording. What was named with them and what several ways of searching found was graded, shuffled:
"direct" answers describe the very symptom and have to be shown, "also" are sensible ones. Recall@5 of a query: how many
of its direct answers are among the first five papers found; beside it recall over all graded answers (over five, where
there are more), and the share of queries that get any. Settings were chosen on the half "tune"; "test" is what counts.
Overlap: the share of a query's terms that the entries of its direct answers hold; "low" is the half of the queries that
shares the least. "plain" are queries in everyday language and metaphors, which no analysis is written in, with the
papers that were named with them: how far one gets without a model of language.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from cognition.documents import document_of_entry, documents_of, embedder_for
from cognition.library import Library, load_library
from cognition.retrieval import Index, RetrievalSettings
from cognition.words import terms_of

QUERIES = Path(__file__).with_name("retrieval_queries.yaml")
WAYS = {
    "hybrid": RetrievalSettings(),
    "BM25 alone": RetrievalSettings(vectors=False),
    "embedding alone": RetrievalSettings(words=False),
}
NUM = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What an analysis says, and the papers that answer it."""

    query_id: str
    split: str
    style: str
    slot: str
    text: str
    direct: tuple[str, ...]
    also: tuple[str, ...] = ()


def queries() -> list[Query]:
    """The labelled queries; those that were not graded have what was named with them."""
    rows = yaml.safe_load(QUERIES.read_text(encoding="utf-8"))["queries"]
    return [
        Query(
            query_id=row["id"],
            split=row["split"],
            style=row["style"],
            slot=row["slot"],
            text=row["text"],
            direct=tuple(row.get("direct", row["named"])),
            also=tuple(row.get("also", ())),
        )
        for row in rows
    ]


def overlap(query: Query, library: Library) -> float:
    """Share of the query's terms that stand in the entries of its direct answers, whatever the field."""
    held: set[str] = set()
    for entry in library.entries.values():
        if entry.paper_id in query.direct:
            document = document_of_entry(entry, library.papers[entry.paper_id])
            held.update(terms_of(document.text))
    terms = set(terms_of(query.text))
    return len(terms & held) / len(terms)


def index_of(library: Library, settings: RetrievalSettings) -> Index:
    """The library's entries, ready to be searched."""
    documents = documents_of(library.entries.values(), library.papers)
    index = Index(embedder_for(documents), settings)
    index.add(documents)
    return index


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How well one query was answered."""

    direct: float  # recall@5
    graded: float  # recall@5 over direct and also
    any: float


def found_for(index: Index, query: Query) -> Found:
    """Over the first five papers."""
    papers = {hit.document.group for hit in index.search(query.text, NUM, query.slot)}
    graded = {*query.direct, *query.also}
    return Found(
        direct=len(papers & set(query.direct)) / min(NUM, len(query.direct)),
        graded=len(papers & graded) / min(NUM, len(graded)),
        any=float(bool(papers & graded)),
    )


def measure(library: Library) -> dict[str, Any]:
    """Means by way and part of the queries, and the time of a search."""
    asked = queries()
    overlaps = {query.query_id: overlap(query, library) for query in asked}
    analyses = [query for query in asked if query.style == "analysis"]
    middle = statistics.median(overlaps[query.query_id] for query in analyses)
    low = [query for query in analyses if overlaps[query.query_id] < middle]
    parts: dict[str, list[Query]] = {
        "all": analyses,
        "tune": [query for query in analyses if query.split == "tune"],
        "test": [query for query in analyses if query.split == "test"],
        "low": low,
        "low, test": [query for query in low if query.split == "test"],
        "plain": [query for query in asked if query.style == "plain"],
    }
    figures: dict[str, dict[str, dict[str, float]]] = {}
    times: dict[str, float] = {}
    for way, settings in WAYS.items():
        index = index_of(library, settings)
        index.search("warm up", NUM)
        began = time.perf_counter()
        found = {query.query_id: found_for(index, query) for query in asked}
        times[way] = 1000 * (time.perf_counter() - began) / len(asked)
        figures[way] = {
            part: {
                name: statistics.fmean(getattr(found[query.query_id], name) for query in rows)
                for name in ("direct", "graded", "any")
            }
            for part, rows in parts.items()
        }
    return {
        "num_papers": len(library.papers),
        "num_entries": len(library.entries),
        "num_queries": {part: len(rows) for part, rows in parts.items()},
        "num_direct": {part: statistics.fmean(len(q.direct) for q in rows) for part, rows in parts.items()},
        "overlap": {part: statistics.fmean(overlaps[q.query_id] for q in rows) for part, rows in parts.items()},
        "found": figures,
        "search_ms": times,
    }


_NAMES = {"direct": "recall@5, direct answers", "graded": "recall@5, all graded", "any": "queries with any answer"}


def table(figures: dict[str, Any]) -> str:
    """The figures as text."""
    parts = list(figures["num_queries"])
    lines = [f"{figures['num_papers']} papers, {figures['num_entries']} entries; means over queries"]
    lines.append(f"{'':26}" + "".join(f"{part:>12}" for part in parts) + f"{'ms/search':>12}")
    lines.append(f"{'queries':26}" + "".join(f"{figures['num_queries'][part]:>12}" for part in parts))
    for name in ("num_direct", "overlap"):
        lines.append(f"{name.replace('_', ' '):26}" + "".join(f"{figures[name][part]:>12.2f}" for part in parts))
    for name, told in _NAMES.items():
        lines.append(told)
        for way, found in figures["found"].items():
            cells = "".join(f"{found[part][name]:>12.3f}" for part in parts)
            lines.append(f"  {way:24}{cells}{figures['search_ms'][way]:>12.1f}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="folder for the figures as JSON")
    options = parser.parse_args(arguments)
    figures = measure(load_library())
    print(table(figures))
    if options.results:
        write_result("retrieval", figures, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Does retrieval find the papers that help? Hybrid against BM25 alone and embeddings alone, side by side.

    python -m benchmarks.retrieval --results benchmarks/results

Queries are what analyses say of measured designs (benchmarks/retrieval_queries.yaml), written without sight of the
entries' wording. Recall@5 of a query: how many of its relevant papers are among the first five found, over the most
that could be (five, or all of them). Settings were chosen on the half "tune"; the half "test" is what counts. Overlap:
the share of a query's terms that the entries of its relevant papers hold; "low" is the half of the queries that shares
the least. "plain" are queries in everyday language and metaphors, which no analysis is written in: how far one gets
without a model of language.
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
from cognition.documents import document_of_entry
from cognition.embedding import HashedNgrams
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
    relevant: tuple[str, ...]


def queries(library: Library) -> list[Query]:
    """The labelled queries; labels that the library does not have are left out."""
    rows = yaml.safe_load(QUERIES.read_text(encoding="utf-8"))["queries"]
    found = [
        Query(
            query_id=row["id"],
            split=row["split"],
            style=row["style"],
            slot=row["slot"],
            text=row["text"],
            relevant=tuple(paper for paper in row["relevant"] if paper in library.papers),
        )
        for row in rows
    ]
    return [query for query in found if query.relevant]


def overlap(query: Query, library: Library) -> float:
    """Share of the query's terms that stand in the relevant papers' entries, whatever the field."""
    held: set[str] = set()
    for entry in library.entries.values():
        if entry.paper_id in query.relevant:
            document = document_of_entry(entry, library.papers[entry.paper_id])
            held.update(terms_of(document.text))
    terms = set(terms_of(query.text))
    return len(terms & held) / len(terms)


def index_of(library: Library, settings: RetrievalSettings) -> Index:
    """The library's entries, ready to be searched."""
    index = Index(HashedNgrams(), settings)
    index.add([document_of_entry(entry, library.papers[entry.paper_id]) for entry in library.entries.values()])
    return index


def recall(index: Index, query: Query) -> float:
    """Recall@5 over papers."""
    papers = {hit.document.group for hit in index.search(query.text, NUM, query.slot)}
    return len(papers & set(query.relevant)) / min(NUM, len(query.relevant))


def measure(library: Library) -> dict[str, Any]:
    """Mean recall@5 by way and part of the queries, and the time of a search."""
    asked = queries(library)
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
    ways: dict[str, dict[str, float]] = {}
    times: dict[str, float] = {}
    for way, settings in WAYS.items():
        index = index_of(library, settings)
        index.search("warm up", NUM)
        began = time.perf_counter()
        recalls = {query.query_id: recall(index, query) for query in asked}
        times[way] = 1000 * (time.perf_counter() - began) / len(asked)
        ways[way] = {part: statistics.fmean(recalls[q.query_id] for q in rows) for part, rows in parts.items()}
    return {
        "num_papers": len(library.papers),
        "num_entries": len(library.entries),
        "num_queries": {part: len(rows) for part, rows in parts.items()},
        "overlap": {part: statistics.fmean(overlaps[q.query_id] for q in rows) for part, rows in parts.items()},
        "recall_at_5": ways,
        "search_ms": times,
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as text."""
    parts = list(figures["num_queries"])
    lines = [f"{figures['num_papers']} papers, {figures['num_entries']} entries; recall@5 (mean over queries)"]
    lines.append(f"{'':18}" + "".join(f"{part:>14}" for part in parts) + f"{'ms/search':>12}")
    lines.append(f"{'queries':18}" + "".join(f"{figures['num_queries'][part]:>14}" for part in parts))
    lines.append(f"{'overlap':18}" + "".join(f"{figures['overlap'][part]:>14.2f}" for part in parts))
    for way, recalls in figures["recall_at_5"].items():
        lines.append(
            f"{way:18}" + "".join(f"{recalls[part]:>14.3f}" for part in parts) + f"{figures['search_ms'][way]:>12.1f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="folder for the figures as JSON")
    options = parser.parse_args(arguments)
    figures = measure(load_library())
    print(table(figures))
    if options.results:
        print(f"written to {write_result(options.results, 'retrieval', figures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

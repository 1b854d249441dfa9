"""`python -m cognition search`: what the library, and a run's insights, have on a shortcoming."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cognition.commands.money import add_money, stated_price
from cognition.commands.output import print_json
from cognition.documents import documents_of, embedder_for
from cognition.embedding import Embedder, NoVectors
from cognition.library import Library, LibraryError, load_library
from cognition.memory import Memory, Remembered
from cognition.printable import one_line
from cognition.reader import Reader
from cognition.records import Entry, Insight
from cognition.registered import EMBEDDERS, NotRegistered, Wish, registered
from cognition.retrieval import Hit, Index

HELP = "find what is known about a shortcoming: entries of the library, and insights of runs"
_USAGE = 2
_UNPRICED = " is not known: state it"  # how a price that nobody knows is told; the remedy behind is a campaign's
_WIDTH = 110


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    parser.add_argument("query", help='for example "state forgets early tokens on recall probes"')
    parser.add_argument("--num", type=int, default=5, help="how many of each kind (%(default)s)")
    parser.add_argument("--slot", help="only what can be used there: token_mixer, channel_mixer")
    parser.add_argument("--papers", type=Path, action="append", default=[], metavar="FOLDER", help="papers of your own")
    parser.add_argument(
        "--run", action="append", default=[], metavar="FOLDER", dest="runs", help="search this run's insights as well"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--embedder", metavar="MODEL", help="an embedding model as LiteLLM names it, else a local one")
    add_money(parser)


def run(options: argparse.Namespace) -> int:
    """Prints what was found, the best first; 0, or 2 with one line on stderr."""
    try:
        if options.num < 1 or not options.query.strip():
            raise ValueError("nothing is asked for: give a query in words, and --num of 1 or more")
        library = load_library(options.papers)
        slots = {slot for entry in library.entries.values() for slot in entry.slots}
        if options.slot and options.slot not in slots:
            raise ValueError(f"--slot is {options.slot!r}: entries are for {', '.join(sorted(slots))}")
        embedder = _embedder(library, options)
        entries = _entries(library, embedder, options)
        insights = _insights(embedder, options)
    except (LibraryError, NotRegistered, NoVectors, ValueError, OSError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return _USAGE
    if options.format == "json":
        found = [_plain_entry(hit, library) for hit in entries] + [_plain_insight(found) for found in insights]
        print_json(found, sys.stdout)
    else:
        print(
            "\n\n".join([*(_entry_text(hit, library) for hit in entries), *map(_insight_text, insights)]) or "nothing"
        )
    sys.stdout.flush()
    return 0


def _embedder(library: Library, options: argparse.Namespace) -> Embedder:
    if options.embedder is None:
        return embedder_for(documents_of(library.entries.values(), library.papers))
    wish = Wish(model=options.embedder, budget_usd=options.budget_usd, price=stated_price(options))
    try:
        made: Embedder = registered(EMBEDDERS)(wish)
    except NoVectors as error:
        what, unpriced, _ = str(error).partition(_UNPRICED)
        if not unpriced:
            raise
        raise NoVectors(
            f"{what} is not known: state it with --price INPUT OUTPUT, in US dollars per million tokens, or name "
            "another --embedder"
        ) from error
    return made


def _entries(library: Library, embedder: Embedder, options: argparse.Namespace) -> Sequence[Hit]:
    index = Index(embedder)
    index.add(documents_of(library.entries.values(), library.papers))
    return index.search(options.query, options.num, options.slot)


def _insights(embedder: Embedder, options: argparse.Namespace) -> Sequence[Remembered]:
    memory = Memory(embedder)
    for folder in options.runs:
        memory.add(Reader(folder).rows(Insight))
    return memory.search(options.query, options.num, options.slot)


def _entry_text(hit: Hit, library: Library) -> str:
    entry, paper = library.entries[hit.document.item_id], library.paper_of(hit.document.item_id)
    ranks = f"words {hit.word_rank or '-'}, vectors {hit.vector_rank or '-'}"
    where = "" if paper.library == "shipped" else f" [{paper.library}]"
    lines = [f"{entry.entry_id}  ({ranks}; score {hit.score:.4f})"]
    lines.append(f"  {one_line(f'{paper.title} ({paper.year}) {paper.identifier}{where}')}")
    lines += [_paragraph(name, text) for name, text in _told(entry)]
    return "\n".join(lines)


def _told(entry: Entry) -> Sequence[tuple[str, str]]:
    return (
        ("when", entry.trigger),
        ("insight", entry.insight),
        ("equation", " ".join(entry.equation.split())),
        ("here", entry.implementation),
        ("cost", entry.cost),
        ("state", entry.state),
        ("fails", entry.failure_modes),
    )


def _insight_text(found: Remembered) -> str:
    insight = found.insight
    sure = "-" if insight.confidence is None else f"{insight.confidence:.2f}"
    told = f"(insight; confidence {sure}, {insight.num_studies} results; score {found.score:.4f})"
    head = f"{one_line(insight.insight_id)}  {told}"
    return f"{head}\n{_paragraph('claim', insight.claim)}"


def _paragraph(name: str, text: str) -> str:
    # Files and rows hold what others wrote: it may not drive the terminal.
    return textwrap.fill(f"{name:9}{one_line(text)}", _WIDTH, initial_indent="  ", subsequent_indent=" " * 11)


def _plain_entry(hit: Hit, library: Library) -> dict[str, Any]:
    entry, paper = library.entries[hit.document.item_id], library.paper_of(hit.document.item_id)
    return {
        "item": "entry",
        "id": entry.entry_id,
        "score": hit.score,
        "title": paper.title,
        "identifier": paper.identifier,
        "year": paper.year,
        **dict(_told(entry)),
    }


def _plain_insight(found: Remembered) -> dict[str, Any]:
    insight = found.insight
    return {
        "item": "insight",
        "id": insight.insight_id,
        "score": found.score,
        "claim": insight.claim,
        "confidence": insight.confidence,
        "effect": insight.effect,
        "evidence": list(insight.evidence),
    }

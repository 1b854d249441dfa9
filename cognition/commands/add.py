"""`python -m cognition add`: a paper's file out of a PDF, a text or notes."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

from cognition.adding import FOLDER, ExtractionFailed, Extractor, Refused, add_paper
from cognition.commands.money import add_money, stated_price
from cognition.printable import one_line
from cognition.registered import BUILT_IN, EXTRACTORS, NotRegistered, Wish, registered
from cognition.sources import SUFFIXES, SourceError

HELP = "add a paper to a folder of yours: extracted by a language model, or as a skeleton to fill in"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    parser.add_argument("source", type=Path, help=f"a {', '.join(SUFFIXES)} file")
    parser.add_argument("--into", type=Path, default=FOLDER, metavar="FOLDER", help="where it goes (%(default)s)")
    parser.add_argument("--model", help="as LiteLLM names it; else what the environment offers; 'none': a skeleton")
    parser.add_argument("--identifier", default="", metavar="ID", help="arXiv:2406.06484 or doi:10.1000/x")
    parser.add_argument("--force", action="store_true", help="also where it looks like a paper that is known")
    add_money(parser)
    parser.add_argument("--extractor", default=BUILT_IN, help="one of another package (%(default)s)")


def run(options: argparse.Namespace) -> int:
    """Adds the paper; 0, or 2 with one line on stderr."""
    try:
        added = add_paper(
            options.source,
            options.into,
            extractor=_extractor(options),
            identifier=options.identifier,
            force=options.force,
            today=date.today(),
            say=lambda line: print(one_line(line), flush=True),
        )
    except (SourceError, Refused, ExtractionFailed, NotRegistered) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 2
    what = f"{added.num_entries} entries" if added.num_entries else "a skeleton"
    print(f"wrote {added.path}: {what}, identifier {added.citation.identifier or 'left open'}")
    do = "review it against the paper" if added.num_entries else "fill in each TODO"
    print(f"next: {do}, then `python -m cognition check {options.into}`")
    return 0


def _extractor(options: argparse.Namespace) -> Extractor | None:
    """None: no model is wanted, or none is to be had."""
    if options.model == "none":
        return None
    try:
        factory = registered(EXTRACTORS, options.extractor)
    except NotRegistered as error:
        if options.model is not None or options.extractor != BUILT_IN:
            raise
        print(f"without a language model: {error}")  # cognition alone, without the package that has models
        return None
    wish = Wish(model=options.model, budget_usd=options.budget_usd, price=stated_price(options))
    extractor: Extractor | None = factory(wish)
    if extractor is None:
        print("without a language model: name one with --model, or set a key or OPENAI_API_BASE in the environment")
    return extractor

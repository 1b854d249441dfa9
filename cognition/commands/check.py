"""`python -m cognition check`: whether a folder's papers can join the library."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cognition.duplicates import Known, known_in, same_paper, similar_texts
from cognition.library import SUFFIX, LibraryError, load_library, read_paper, shipped_folder
from cognition.printable import one_line

HELP = "check the papers of a folder: schema, relations, duplicates"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    parser.add_argument("folder", type=Path, help=f"a folder with one {SUFFIX} file a paper")


def run(options: argparse.Namespace) -> int:
    """Every complaint on a line of its own; 0 where there is none, else 1, or 2 where there is no such folder."""
    folder: Path = options.folder
    if not folder.is_dir():
        print(f"error: no folder {folder}: name one with a {SUFFIX} file for each paper", file=sys.stderr)
        return 2
    own = known_in([folder])
    if not own:
        print(
            f"error: {folder} has no {SUFFIX} file: `python -m cognition add PAPER.pdf --into {folder}`",
            file=sys.stderr,
        )
        return 2
    complaints = complaints_about(folder, own)
    for complaint in complaints:
        print(one_line(complaint))
    print(f"{len(own)} papers, {len(complaints)} to mend")
    if not complaints:
        print(f"next: `cognition.papers=[{folder}]` on the command line of a campaign")
    return 1 if complaints else 0


def complaints_about(folder: Path, own: Sequence[Known]) -> list[str]:
    """What keeps the files from being loaded beside the shipped library, and what is in there twice."""
    complaints = []
    for paper in own:
        try:
            read_paper(paper.path, str(folder))
        except LibraryError as error:
            complaints.append(str(error))
    shipped = folder.resolve() == shipped_folder().resolve()
    if not complaints:
        try:
            load_library([] if shipped else [folder])
        except LibraryError as error:
            complaints.append(str(error))
    others = [] if shipped else list(known_in([shipped_folder()]))
    for place, paper in enumerate(own):
        before = [*others, *own[:place]]
        near = same_paper(paper.title, paper.identifier, before) or similar_texts(paper.texts, before)
        if near is not None:
            complaints.append(f"{paper.path}: {near.known.path} has {near.why}: keep one of them")
    return complaints

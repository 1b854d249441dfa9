"""From a file to a paper's YAML for people to review: read, compare with what is known, extract or leave open, write.

Nothing that exists is overwritten, and a file appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from cognition.citation import Citation, citation_in, normalised, paper_id_of, year_of
from cognition.draft import filled, skeleton
from cognition.duplicates import Known, Neighbour, known_to, same_paper, similar_paper
from cognition.identifiers import is_identifier
from cognition.library import SUFFIX, paper_from
from cognition.plain_yaml import parse_yaml
from cognition.printable import printable, shown
from cognition.sources import Source, read_source

Check = Callable[[Mapping[str, Any]], None]
FOLDER = Path("papers")
REJECTED = ".rejected"  # no file of the library ends so


class ExtractionFailed(Exception):
    """No values could be had; says what was tried, what it cost and the remedy."""


class Refused(ValueError):
    """The paper was not added; says why and what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an extraction is about to take."""

    model: str
    num_characters: int  # of the text, as far as they are read
    num_left_out: int
    expected_usd: float
    worst_usd: float  # with a correction round


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """Values of a paper's file: title, year, topic, entries."""

    values: Mapping[str, Any]
    model: str
    usd: float


class Extractor(Protocol):
    """Takes a paper's values out of its text."""

    def plan(self, text: str) -> Plan:
        """What it would take. Raises ExtractionFailed where that is more than it may."""
        ...

    def extract(self, text: str, check: Check) -> Extraction:
        """The values; `check` raises LibraryError with what is wrong with them, to be corrected once.

        Raises:
            ExtractionFailed: there are none to be had.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A file that was written."""

    path: Path
    num_entries: int  # 0: a skeleton
    citation: Citation


def add_paper(
    path: Path,
    folder: Path = FOLDER,
    *,
    extractor: Extractor | None = None,
    identifier: str = "",
    force: bool = False,
    today: date,
    say: Callable[[str], None] = lambda line: None,
) -> Added:
    """Write a file's paper into a folder: by an extractor, or as a skeleton for people to fill in.

    Args:
        identifier: of the paper, where somebody knows it.
        force: write it although it looks like a paper that is known.
        say: told what happens, line by line.

    Raises:
        SourceError: no text can be had from the file.
        Refused: the paper is known already, its file exists, or the identifier is none.
        ExtractionFailed: the extractor has no answer.
    """
    source = read_source(path)
    say(f"read {len(source.text):,} characters of {path}" + f" ({source.num_pages} pages)" * bool(source.num_pages))
    known = known_to(folder)
    citation = _cited(source, identifier, today.year, known, force=force)
    if extractor is None:
        target = _target(folder, citation.title, path.stem, known)
        header = [
            f"Skeleton for {source.name}, {today}. Fill in each TODO: the library refuses the file until then.",
            *citation.notes,
        ]
        _write(target, skeleton(citation.title, citation.identifier, citation.year, header))
        return Added(path=target, num_entries=0, citation=citation)
    _target(folder, citation.title, path.stem, known)  # a file in the way is told before anything is paid for
    extraction = _extracted(extractor, source.text, say)
    values, citation = _merged(extraction.values, citation, source)
    header = [
        f"extracted by {extraction.model} from {source.name} on {today}: review before use",
        *citation.notes,
    ]
    unverified = "unverified: taken from the text, look it up" if not identifier else "as given when it was added"
    text = filled(values, header, {"identifier": unverified if citation.identifier else "none was found"})
    try:
        if not force:
            _refuse(same_paper(citation.title, "", known) or similar_paper(values["entries"], known), source.name)
        target = _target(folder, citation.title, path.stem, known)
        _write(target, text)
    except Refused as refusal:
        kept = _kept(folder / (paper_id_of(citation.title, path.stem) or "paper"), text)
        raise Refused(f"{refusal}. {kept}") from refusal
    return Added(path=target, num_entries=len(values["entries"]), citation=citation)


def _cited(source: Source, identifier: str, this_year: int, known: Sequence[Known], *, force: bool) -> Citation:
    """The text's citation, with a given identifier over the one that it has; known papers are refused."""
    if identifier and not is_identifier(identifier):
        raise Refused(f"--identifier {shown(identifier)} is none: use arXiv:2406.06484 or doi:10.1000/x")
    citation = citation_in(source, this_year=this_year)
    if identifier:
        citation = replace(citation, identifier=identifier, year=year_of(identifier) or citation.year, notes=())
    elif citation.identifier and not is_identifier(citation.identifier):
        note = f"{citation.identifier} is in the text, and no identifier can be that"
        citation = replace(citation, identifier="", notes=(*citation.notes, note))
    if not force:
        _refuse(same_paper(citation.title, citation.identifier, known), source.name)
    elif (taken := same_paper("", citation.identifier, known)) is not None:
        note = f"{citation.identifier} belongs to {taken.known.path} already, and no two files may have one"
        citation = replace(citation, identifier="", notes=(*citation.notes, note))
    return citation


def _refuse(neighbour: Neighbour | None, name: str) -> None:
    if neighbour is not None:
        raise Refused(
            f"{name} is in the library already: {neighbour.known.path} has {neighbour.why}. Add to that file, or write "
            "another one all the same with --force"
        )


def _extracted(extractor: Extractor, text: str, say: Callable[[str], None]) -> Extraction:
    plan = extractor.plan(text)
    left_out = f" ({plan.num_left_out:,} are left out)" if plan.num_left_out else ""
    say(
        f"{plan.model} reads {plan.num_characters:,} characters{left_out}: "
        f"about ${plan.expected_usd:.4f}, with a correction at most ${plan.worst_usd:.4f}"
    )
    extraction = extractor.extract(text, _check)
    say(f"{extraction.model} answered: ${extraction.usd:.4f}")
    return extraction


def _check(values: Mapping[str, Any]) -> None:
    """Whether the values would make a paper; its name and identifier are not theirs to say."""
    paper_from({"identifier": "", **_seen(values)}, "paper", "the reply", "")


def _seen(value: Any) -> Any:
    """As it will be written: with spaces for what cannot be printed."""
    if isinstance(value, str):
        return "\n".join(map(printable, value.splitlines()))
    if isinstance(value, Mapping):
        return {name: _seen(item) for name, item in value.items()}
    return [_seen(item) for item in value] if isinstance(value, list | tuple) else value


def _merged(values: Mapping[str, Any], citation: Citation, source: Source) -> tuple[dict[str, Any], Citation]:
    """What was extracted, held against the text: a title has to stand in it, the identifier is never a model's."""
    title = str(values["title"])
    if citation.title_stated:
        title = citation.title
    elif citation.title and normalised(title) not in normalised(source.text):
        note = "the extractor's title is not in the text, the text's first lines were taken"
        title, citation = citation.title, replace(citation, notes=(*citation.notes, note))
    year = citation.year or values["year"]
    merged = {**values, "title": title, "identifier": citation.identifier, "year": year}
    return merged, replace(citation, title=title, year=year)


def _target(folder: Path, title: str, stem: str, known: Sequence[Known]) -> Path:
    """Where the paper goes; raises Refused where a file is there."""
    name = paper_id_of(title, stem)
    if not name:
        raise Refused(f"neither the title {title!r} nor the file's name {stem!r} has a letter from a to z: rename it")
    taken = {paper.paper_id for paper in known if paper.path.parent.resolve() != folder.resolve()}
    free = next(one for one in (name, *(f"{name}_{num}" for num in range(2, len(taken) + 3))) if one not in taken)
    target = folder / f"{free}{SUFFIX}"
    if target.exists():
        raise Refused(f"{target} exists and is not overwritten: rename or remove it, or choose another folder (--into)")
    return target


def _kept(stem: Path, text: str) -> str:
    """Keep a refused extraction, which was paid for, beside the library's files; says where it lies."""
    names = (stem.with_name(f"{stem.name}{'' if num == 1 else f'_{num}'}{REJECTED}") for num in count(1))
    target = next(name for name in names if not name.exists())
    try:
        _write(target, text)
    except Refused as error:
        return f"What was extracted is lost: {error}"
    return f"What was extracted is kept in {target}: give it a name that ends with {SUFFIX} to use it"


def _write(target: Path, text: str) -> None:
    """The whole file or none, and only where there is none."""
    parse_yaml(text)  # an error here is ours, and better than a file that nobody can read
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if target.parent.exists() and not target.parent.is_dir():
            raise NotADirectoryError(20, f"{target.parent} is no folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        _publish(part, target)
    except FileExistsError as error:
        raise Refused(
            f"{error.filename2 or error.filename} exists and is not overwritten: rename or remove it"
        ) from error
    except OSError as error:
        raise Refused(f"{target} cannot be written ({error.strerror or error}): choose another --into") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _publish(part: Path, target: Path) -> None:
    try:
        os.link(part, target)  # unlike a rename it fails where a file is
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise FileExistsError(17, "exists", str(target)) from None
        os.replace(part, target)

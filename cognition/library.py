"""The library: one YAML file a paper, read and checked. The shipped one is cognition/papers; labs add their folders.

A file's name is the paper's id. docs/cognition.md shows one and says what belongs into each field.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from cognition.identifiers import is_identifier
from cognition.literature import Entry, Paper
from cognition.plain_yaml import NotPlain, read_yaml
from cognition.printable import first_unseen, shown

SHIPPED = "shipped"
SUFFIX = ".yaml"

TOPICS = (
    "linear_attention",  # kernels, feature maps, fast weights
    "state_space",  # state spaces and long convolutions
    "gated_recurrence",  # gates and decays
    "mamba",
    "delta_rule",  # and learning at test time
    "recall",  # and the limits of a fixed state
    "hybrid",  # attention and recurrence in one model; gates of attention
    "channel_mixing",  # feed-forward layers
    "position",
    "training",  # initialisation, normalisation, optimisation
    "systems",
    "other",
)
_RELATIONS = ("extends", "contradicts", "supersedes")
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,59}")
_FIRST_YEAR, _LAST_YEAR = 1943, 2100
_MOST_ENTRIES = 3
# Characters of each text: less says nothing, more does not fit a prompt.
LENGTHS = {
    "trigger": (40, 400),
    "insight": (60, 900),
    "mechanism": (60, 1200),
    "equation": (8, 600),
    "implementation": (80, 1500),
    "cost": (10, 400),
    "state": (4, 300),
    "failure_modes": (40, 900),
}
# Items of each list, the most, and characters of each item.
_SHORT = (1, 60)
_LISTS = {"slots": (8, _SHORT), "wordings": (30, (8, 400)), "operators": (30, _SHORT)}
_MOST_RELATIONS = 30


class LibraryError(ValueError):
    """A file of the library is not as it should be; the message names file, place and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """Papers and their entries, by id and in order of it."""

    papers: Mapping[str, Paper]
    entries: Mapping[str, Entry]

    def paper_of(self, entry_id: str) -> Paper:
        """The paper of an entry."""
        return self.papers[self.entries[entry_id].paper_id]


def load_library(folders: Iterable[Path | str] = (), *, shipped: bool = True) -> Library:
    """The shipped library together with a lab's own folders.

    Raises:
        LibraryError: a folder that is not there, a file that breaks the schema, or a paper that two files claim.
    """
    files: list[tuple[Path, str]] = []
    if shipped:
        files += [(path, SHIPPED) for path in _files(shipped_folder())]
    for folder in folders:
        if not Path(folder).is_dir():
            raise LibraryError(f"no folder {folder}: name a folder with one {SUFFIX} file a paper")
        files += [(path, str(folder)) for path in _files(Path(folder))]
    papers: dict[str, Paper] = {}
    entries: dict[str, Entry] = {}
    places: dict[str, Path] = {}
    for path, library in files:
        paper, own = read_paper(path, library)
        for claimed in (paper.paper_id, paper.identifier):
            if claimed and claimed in places:
                raise LibraryError(f"{path} and {places[claimed]} are both {claimed}: keep one of them")
            places[claimed] = path
        papers[paper.paper_id] = paper
        entries |= {entry.entry_id: entry for entry in own}
    for paper in papers.values():
        _check_relations(paper, papers, places[paper.paper_id])
    return Library(papers=dict(sorted(papers.items())), entries=dict(sorted(entries.items())))


def shipped_folder() -> Path:
    """Where the shipped papers are."""
    return Path(str(resources.files("cognition") / "papers"))


def read_paper(path: Path, library: str = SHIPPED) -> tuple[Paper, tuple[Entry, ...]]:
    """One file, checked; relations are not, since they lead to other files.

    Raises:
        LibraryError: it says where and what.
    """
    try:
        values = read_yaml(path)
    except NotPlain as error:
        raise LibraryError(f"{path} cannot be read: {error}") from error
    return paper_from(values, path.stem, str(path), library)


def paper_from(values: Any, paper_id: str, where: str, library: str) -> tuple[Paper, tuple[Entry, ...]]:
    """A paper and its entries from plain values; `where` begins every complaint.

    Raises:
        LibraryError: as `read_paper`.
    """
    if not _NAME.fullmatch(paper_id):
        raise LibraryError(f"{where}: the name {shown(paper_id)} becomes an id, use lower case letters, digits and '_'")
    known = ("title", "identifier", "year", "topic", *_RELATIONS, "entries")
    values = _mapping(values, where, known)
    title = _text(values, "title", where, (4, 300))
    identifier = values.get("identifier") or ""
    if identifier and not (isinstance(identifier, str) and is_identifier(identifier)):
        raise LibraryError(
            f"{where}: identifier {shown(identifier)} is none: use arXiv:2406.06484, doi:10.1000/x, "
            "or '' where it has none"
        )
    year = values.get("year")
    if not isinstance(year, int) or not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise LibraryError(f"{where}: year is {shown(year)}: use the year of the first version, as 2024")
    topic = values.get("topic")
    if topic not in TOPICS:
        raise LibraryError(f"{where}: topic is {shown(topic)}: use one of {', '.join(TOPICS)}")
    relations = {name: _texts(values, name, where, _MOST_RELATIONS, _SHORT) for name in _RELATIONS}
    rows = values.get("entries")
    if not isinstance(rows, list) or not 1 <= len(rows) <= _MOST_ENTRIES:
        raise LibraryError(f"{where}: entries has to be a list of 1 to {_MOST_ENTRIES}, what matters most of the paper")
    entries = tuple(_entry(row, paper_id, f"{where}: entries[{place}]") for place, row in enumerate(rows))
    names = [entry.entry_id for entry in entries]
    if len(set(names)) != len(names):
        raise LibraryError(f"{where}: two entries have one name: rename one of {', '.join(names)}")
    paper = Paper(
        paper_id=paper_id,
        title=title,
        identifier=identifier,
        year=year,
        topic=str(topic),
        extends=relations["extends"],
        contradicts=relations["contradicts"],
        supersedes=relations["supersedes"],
        library=library,
    )
    return paper, entries


def _files(folder: Path) -> Sequence[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (SUFFIX, ".yml") and path.is_file())


def _entry(values: Any, paper_id: str, where: str) -> Entry:
    values = _mapping(values, where, ("name", *LENGTHS, *_LISTS))
    name = values.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise LibraryError(f"{where}: name is {shown(name)}: use lower case letters, digits and '_'")
    texts = {key: _text(values, key, where, length) for key, length in LENGTHS.items()}
    lists = {key: _texts(values, key, where, *bounds) for key, bounds in _LISTS.items()}
    if not lists["slots"]:
        raise LibraryError(f"{where}: slots is empty: say where it can be used, as [token_mixer]")
    return Entry(
        entry_id=f"{paper_id}/{name}",
        paper_id=paper_id,
        slots=lists["slots"],
        trigger=texts["trigger"],
        wordings=lists["wordings"],
        insight=texts["insight"],
        mechanism=texts["mechanism"],
        equation=texts["equation"],
        implementation=texts["implementation"],
        operators=lists["operators"],
        cost=texts["cost"],
        state=texts["state"],
        failure_modes=texts["failure_modes"],
    )


def _mapping(values: Any, where: str, known: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise LibraryError(f"{where}: a mapping with {', '.join(known)} is needed, this is {type(values).__name__}")
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(shown(key).strip("'"), known, n=1)
            raise LibraryError(
                f"{where}: unknown key {shown(key)}"
                + (f", did you mean {close[0]!r}?" if close else f" (known: {known})")
            )
    return values


def _text(values: Mapping[str, Any], key: str, where: str, length: tuple[int, int]) -> str:
    value = values.get(key)
    if not isinstance(value, str):
        raise LibraryError(f"{where}: {key} is {shown(value)}: a text is needed (quote it)")
    text = " ".join(value.split()) if key != "equation" else value.strip()
    least, most = length
    if "TODO" in text:
        raise LibraryError(f"{where}: {key} still says TODO: fill it in")
    if not least <= len(text) <= most:
        raise LibraryError(f"{where}: {key} has {len(text)} characters: use {least} to {most}")
    _require_seen(text, f"{where}: {key}", but="\n" if key == "equation" else "")
    return text


def _texts(
    values: Mapping[str, Any], key: str, where: str, most_items: int, length: tuple[int, int]
) -> tuple[str, ...]:
    found = values.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, str) and item.strip() for item in found):
        raise LibraryError(f"{where}: {key} is {shown(found)}: a list of texts is needed, as [a, b]")
    if any("TODO" in item for item in found):
        raise LibraryError(f"{where}: {key} still says TODO: fill it in, or leave it empty")
    if len(found) > most_items:
        raise LibraryError(f"{where}: {key} has {len(found)} items: use {most_items} at most")
    texts = tuple(" ".join(item.split()) for item in found)
    least, most = length
    for place, text in enumerate(texts):
        if not least <= len(text) <= most:
            raise LibraryError(f"{where}: {key}[{place}] has {len(text)} characters: use {least} to {most}")
        _require_seen(text, f"{where}: {key}[{place}]")
    return texts


def _require_seen(text: str, where: str, *, but: str = "") -> None:
    """Raise LibraryError for what drives terminals, turns the reading order, or hides words from reviewers."""
    place = first_unseen(text, but=but)
    if place is not None:
        raise LibraryError(
            f"{where} has U+{ord(text[place]):04X} at character {place + 1}, which nobody sees: remove it"
        )


def _check_relations(paper: Paper, papers: Mapping[str, Paper], path: Path) -> None:
    for relation in _RELATIONS:
        for other in getattr(paper, relation):
            if other not in papers or other == paper.paper_id:
                close = difflib.get_close_matches(other, papers, n=1)
                hint = f", did you mean {close[0]!r}?" if close else ""
                raise LibraryError(f"{path}: {relation} names {shown(other)}, which is no other paper here{hint}")

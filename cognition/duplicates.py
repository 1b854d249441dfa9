"""Whether a paper is in the library already: by identifier, by title, by what its entries say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cognition.citation import normalised
from cognition.embedding import Embedder, HashedNgrams
from cognition.library import SUFFIX, shipped_folder
from cognition.plain_yaml import NotPlain, read_yaml
from cognition.printable import shown

# Cosine under HashedNgrams of trigger, insight and mechanism. Measured on 114 shipped entries: the two nearest of
# different papers have 0.51; with every twelfth word gone and the sentences moved 0.91 at the least, with two dozen
# words replaced besides 0.75.
TOO_SIMILAR = 0.65
_COMPARED = ("trigger", "insight", "mechanism")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a file of the library holds, as far as it can be read: drafts count too."""

    path: Path
    title: str = ""
    identifier: str = ""
    texts: tuple[str, ...] = ()  # of its entries, see `text_of`

    @property
    def paper_id(self) -> str:
        return self.path.stem


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A paper that is the same, or nearly."""

    known: Known
    why: str


def known_in(folders: Iterable[Path]) -> tuple[Known, ...]:
    """The papers of folders, drafts included; a file that is no YAML mapping has its name alone."""
    found = []
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix in (SUFFIX, ".yml") and path.is_file():
                found.append(_known(path))
    return tuple(found)


def known_to(folder: Path) -> tuple[Known, ...]:
    """The shipped papers and those of a folder."""
    same = folder.resolve() == shipped_folder().resolve()
    return known_in([shipped_folder()] if same else [shipped_folder(), folder])


def same_paper(title: str, identifier: str, known: Iterable[Known]) -> Neighbour | None:
    """A paper with the same identifier, or the same title but for spelling."""
    wanted = normalised(title)
    for paper in known:
        if identifier and paper.identifier and _bare(identifier) == _bare(paper.identifier):
            return Neighbour(known=paper, why=f"the same identifier, {paper.identifier[:80]}")
        if wanted and wanted == normalised(paper.title):
            return Neighbour(known=paper, why=f"the same title, {shown(paper.title)}")
    return None


def similar_paper(
    entries: Sequence[Mapping[str, Any]], known: Sequence[Known], embedder: Embedder | None = None
) -> Neighbour | None:
    """The paper with the entry nearest to one of these, if that is nearer than `TOO_SIMILAR`."""
    return similar_texts([text for text in map(text_of, entries) if text], known, embedder)


def similar_texts(texts: Sequence[str], known: Sequence[Known], embedder: Embedder | None = None) -> Neighbour | None:
    """The same for texts of entries, see `text_of`."""
    theirs = [(paper, text) for paper in known for text in paper.texts]
    if not theirs or not texts:
        return None
    embedder = embedder or HashedNgrams()
    cosines = (embedder.embed(texts) @ embedder.embed([text for _, text in theirs]).T).max(axis=0)
    place = int(cosines.argmax())
    if cosines[place] <= TOO_SIMILAR:
        return None
    return Neighbour(known=theirs[place][0], why=f"an entry that says nearly the same (cosine {cosines[place]:.2f})")


def text_of(entry: Mapping[str, Any]) -> str:
    """What two entries are compared by; '' for a draft's."""
    parts = [entry.get(name) for name in _COMPARED]
    texts = [part for part in parts if isinstance(part, str) and "TODO" not in part]
    return " ".join(texts) if len(texts) == len(_COMPARED) else ""


def _known(path: Path) -> Known:
    try:
        values = read_yaml(path)
    except NotPlain:
        return Known(path=path)
    if not isinstance(values, dict):
        return Known(path=path)
    rows = values.get("entries")
    entries = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return Known(
        path=path,
        title=_text(values.get("title")),
        identifier=_text(values.get("identifier")),
        texts=tuple(text for text in map(text_of, entries) if text),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _bare(identifier: str) -> str:
    """Without case and version."""
    return re.sub(r"(?<=\d)v\d+$", "", identifier.strip().casefold())

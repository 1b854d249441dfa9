"""SEARCH/REPLACE edits against a source text: applied exactly, or refused with one precise complaint."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

_SEARCH = re.compile(r"[ \t]*<{5,}[ \t]*SEARCH[ \t]*")
_MIDDLE = re.compile(r"[ \t]*={5,}[ \t]*")
_REPLACE = re.compile(r"[ \t]*>{5,}[ \t]*REPLACE[ \t]*")


class EditError(Exception):
    """An edit that does not apply; the text says which, and what is there instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Lines to find, exactly once, and what stands there afterwards."""

    search: str
    replace: str


def edits_in(reply: str) -> tuple[Edit, ...]:
    """All edits of a reply, in order, inside fences or outside; what is not complete is left out."""
    found: list[Edit] = []
    search: list[str] | None = None
    replace: list[str] | None = None
    for line in reply.replace("\r\n", "\n").split("\n"):
        if _SEARCH.fullmatch(line):
            search, replace = [], None
        elif search is not None and replace is None and _MIDDLE.fullmatch(line):
            replace = []
        elif search is not None and replace is not None and _REPLACE.fullmatch(line):
            found.append(Edit(search="\n".join(search), replace="\n".join(replace)))
            search = replace = None
        elif replace is not None:
            replace.append(line)
        elif search is not None:
            search.append(line)
    return tuple(found)


def has_broken_edits(reply: str) -> bool:
    """Marks of edits that do not make up whole ones."""
    num_marks = sum(_SEARCH.fullmatch(line) is not None for line in reply.replace("\r\n", "\n").split("\n"))
    return num_marks > len(edits_in(reply))


def applied(source: str, edits: tuple[Edit, ...]) -> str:
    """The source after all edits, one after another.

    Lines are compared as they are, then without trailing spaces, then shifted to the source's indentation.

    Raises:
        EditError: lines that are not there, or more than once; nothing is applied then.
    """
    lines = source.split("\n")
    for number, edit in enumerate(edits, start=1):
        wanted = _lines(edit.search)
        if not wanted:
            raise EditError(f"edit {number} has an empty SEARCH part: quote the lines that it replaces")
        places, shift = _places(lines, wanted)
        if not places:
            raise EditError(_not_there(lines, wanted, number))
        if len(places) > 1:
            where = ", ".join(str(place + 1) for place in places[:4])
            raise EditError(
                f"edit {number}: its SEARCH lines stand {len(places)} times (from lines {where}): quote more lines "
                "around them, so that they stand once"
            )
        replacement = [shift + line if line.strip() else line for line in _lines(edit.replace)]
        lines[places[0] : places[0] + len(wanted)] = replacement
    return "\n".join(lines)


def _lines(text: str) -> list[str]:
    return text.split("\n") if text else []


def _places(lines: list[str], wanted: list[str]) -> tuple[list[int], str]:
    """Where the wanted lines begin, and by how much they are to be indented further."""
    for strip in (str, str.rstrip):
        bare, need = [strip(line) for line in lines], [strip(line) for line in wanted]
        found = [place for place in range(len(lines) - len(need) + 1) if bare[place : place + len(need)] == need]
        if found:
            return found, ""
    first = next((line for line in wanted if line.strip()), "")
    for place in range(len(lines) - len(wanted) + 1):
        line = lines[place + next(i for i, w in enumerate(wanted) if w.strip())] if first else ""
        shift = len(line) - len(line.lstrip()) - (len(first) - len(first.lstrip()))
        if shift <= 0 or line.strip() != first.strip():
            continue
        moved = [(" " * shift + want if want.strip() else want).rstrip() for want in wanted]
        if [line.rstrip() for line in lines[place : place + len(wanted)]] == moved:
            return [place], " " * shift
    return [], ""


def _not_there(lines: list[str], wanted: list[str], number: int) -> str:
    first = next((line for line in wanted if line.strip()), wanted[0])
    close = difflib.get_close_matches(first, [line for line in lines if line.strip()], n=1, cutoff=0.5)
    near = f"; the nearest line is {lines.index(close[0]) + 1}: {close[0].strip()!r}" if close else ""
    missing = next((want for want in wanted if want.strip() and want.rstrip() not in map(str.rstrip, lines)), first)
    return (
        f"edit {number} does not apply: the line {missing.strip()!r} is not in the source{near}. Quote the source's "
        "lines exactly, or send the whole module"
    )

"""What a text says of itself: title, identifier, year. Guesses, said to be such; a doubtful one is left open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cognition.identifiers import is_arxiv_number
from cognition.sources import Source

_TOP = 1_500  # characters in which an identifier is the text's own, and not one that it cites
_HEAD = 6_000
_LONGEST_LINE = 300
_MOST_WORDS, _MOST_LETTERS = 5, 40  # of a paper's id
# Whole lines alone: one that says more, as "We compare with arXiv:2312.00752", is about another paper.
_NUMBER = r"(\d{4}\.\d{4,5}(?!\d)|[a-z-]+/\d{7})(?:v\d+)?"
_CATEGORY = r"\s*\[[a-z.-]+\]"
_DATE = r"\(?(?:\d{1,2}\s+[a-z]{3,9}\.?\s+\d{4}|[a-z]{3,9}\.?\s+\d{1,2},?\s+\d{4}|\d{4}(?:-\d\d){0,2})\)?"
# Printed by arXiv itself; behind its date a PDF may go on with the next line.
_STAMP = re.compile(rf"\W*arXiv:\s*{_NUMBER}{_CATEGORY}(?:\W*|\s*{_DATE}.*)", re.I)
_STATED = re.compile(
    r"\W*(?:(?:preprint|identifier|id)\W+)?(?:arXiv(?:\s+preprint)?\W*(?:arXiv:\s*)?|(?:https?://)?(?:www\.)?arxiv\.org/(?:abs|pdf)/)?"
    rf"{_NUMBER}(?:\.pdf)?(?:{_CATEGORY})?(?:\W*{_DATE})?\W*",
    re.I,
)
_IN_FILE_NAME = re.compile(r"(?<!\d)(\d{4}\.\d{4,5})(?:v\d+)?(?!\d)")
_DOI = re.compile(
    r"\W*(?:(?:identifier|id)\W+)?(?:doi\W+)?(?:(?:https?://)?(?:dx\.)?doi\.org/)?(10\.\d{4,9}/[^\s\"<>,;)\]]+)\W*",
    re.I,
)
_YEAR = re.compile(r"(?<![\d.-])(19[4-9]\d|20\d\d)(?!\d|\.\d)")
_CITED = re.compile(r"\([^()]*\b(?:19|20)\d\d[a-z]?[^()]*\)|\[[^\[\]]*\b(?:19|20)\d\d[^\[\]]*\]")
_NOT_A_TITLE = re.compile(
    r"^(arxiv\b|preprint|under review|published|proceedings|accepted|to appear|workshop|journal|vol\b|https?:|www\."
    r"|doi\b|copyright|©|abstract\b|page\b|\d+$|\d{1,2} \w+ \d{4}$|submitted)",
    re.I,
)
_GOES_ON = re.compile(r"([,:&-]|\b(a|an|and|as|at|by|for|from|in|is|of|on|or|the|to|via|with|without))$", re.I)
_SMALL_WORDS = "a an and are as at by for from in is of on or the to via with without towards toward"
_SMALL = frozenset(_SMALL_WORDS.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """How a text would be cited. `notes` say what was left open, and why."""

    title: str = ""
    title_stated: bool = False  # as a heading, or by the file and its text alike; else the first lines were taken
    identifier: str = ""
    year: int | None = None
    notes: tuple[str, ...] = ()


def citation_in(source: Source, *, this_year: int) -> Citation:
    """Title, identifier and year as far as the text gives them away."""
    found = identifier_in(source, this_year=this_year)
    year = year_of(found.identifier) or year_in(source.text, this_year=this_year)
    stated = _stated_title(source)
    return replace(found, title=stated or title_in(source), title_stated=bool(stated), year=year)


def identifier_in(source: Source, *, this_year: int) -> Citation:
    """The text's own arXiv id or DOI; empty, with a note, where there are several or it cannot be one."""
    head = source.text[:_HEAD]
    stamps = _distinct(_stated_in(head, _STAMP))
    in_name = _distinct(_IN_FILE_NAME.findall(source.name))
    top = head[:_TOP]
    named = stamps if len(stamps) == 1 else _distinct([*stamps, *in_name, *_stated_in(top, _STATED)])
    if len(stamps) == 1 and in_name and in_name != stamps:
        named = _distinct([*stamps, *in_name])
    wrong = [one for one in named if not _possible(one, this_year)]
    named = [one for one in named if one not in wrong]
    notes = tuple(f"arXiv:{one} is in the text, and no arXiv id can be that" for one in wrong)
    if len(named) == 1:
        return Citation(identifier=f"arXiv:{named[0]}", notes=notes)
    if named:
        return Citation(notes=(*notes, f"several identifiers are named: {_some(f'arXiv:{one}' for one in named)}"))
    dois = _distinct(one.rstrip(".") for one in _stated_in(top, _DOI))
    if len(dois) == 1:
        return Citation(identifier=f"doi:{dois[0]}", notes=notes)
    if dois:
        return Citation(notes=(*notes, f"several identifiers are named: {_some(f'doi:{one}' for one in dois)}"))
    return Citation(notes=(*notes, "no identifier was found at the top of the text"))


def _stated_in(text: str, form: re.Pattern[str]) -> list[str]:
    """The identifiers of the lines that are nothing else."""
    return [found.group(1) for line in text.splitlines() if (found := form.fullmatch(line.strip()[:_LONGEST_LINE]))]


def title_in(source: Source) -> str:
    """The title: what a PDF says of itself if its text says so too, a Markdown heading, else the first lines."""
    if stated := _stated_title(source):
        return stated
    lines = _lines(source)
    start = next((place for place, line in enumerate(lines) if _is_title(line)), None)
    if start is None:
        return ""
    title = lines[start].strip("#* ")
    for line in lines[start + 1 : start + 3]:
        if not line or not (_GOES_ON.search(title) or line[0].islower() or line.split()[0].lower() in _SMALL):
            break
        title = f"{title} {line}"
    return title[:300]


def _stated_title(source: Source) -> str:
    stated = " ".join(source.stated_title.split())
    if _is_title(stated) and normalised(stated) in normalised(source.text[:_HEAD]):
        return stated
    if source.name.lower().endswith(".md"):
        return next((line.lstrip("#").strip() for line in _lines(source) if re.match(r"#\s+\S", line)), "")[:300]
    return ""


def _lines(source: Source) -> list[str]:
    return [" ".join(line.split()) for line in source.text[:_HEAD].splitlines()]


def year_in(text: str, *, this_year: int) -> int | None:
    """The latest year that the top of a text names outside citations."""
    years = [int(year) for year in _YEAR.findall(_CITED.sub(" ", text[:_TOP]))]
    return max((year for year in years if year <= this_year), default=None)


def year_of(identifier: str) -> int | None:
    """The year of an arXiv id's first version."""
    found = re.fullmatch(r"arXiv:(?:[a-z-]+/)?(\d\d)\d\d.*", identifier, re.I)
    if found is None:
        return None
    short = int(found.group(1))
    return 1900 + short if "/" in identifier and short > 90 else 2000 + short


def paper_id_of(title: str, fallback: str = "") -> str:
    """A short name for a paper's file: its title's first words; '' where neither has a letter that may be in one."""
    for text in (title, fallback):
        short = text.split(":")[0] if len(text.split(":")[0].split()) > 1 else text
        words = [word for word in re.findall(r"[a-z0-9]+", short.lower()) if word not in _SMALL][:_MOST_WORDS]
        while len("_".join(words)) > _MOST_LETTERS and len(words) > 1:
            words.pop()
        if words:
            return "_".join(words)[:_MOST_LETTERS]
    return ""


def normalised(title: str) -> str:
    """Letters and digits alone: what two spellings of one title share."""
    return "".join(letter for letter in title.casefold() if letter.isalnum())


def _is_title(line: str) -> bool:
    letters = sum(letter.isalpha() for letter in line)
    words = len(line.split())
    return 2 <= words <= 40 and letters >= max(6, len(line) // 2) and not _NOT_A_TITLE.match(line) and len(line) <= 300


def _possible(arxiv: str, this_year: int) -> bool:
    return is_arxiv_number(arxiv) and (year_of(f"arXiv:{arxiv}") or this_year) <= this_year


def _distinct(found: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(one.lower() if "/" in one and one[0].isalpha() else one for one in found))


def _some(found: Iterable[str]) -> str:
    listed: Sequence[str] = list(found)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")

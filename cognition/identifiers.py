"""Identifiers of papers: arXiv ids and DOIs, as far as their form tells. That such a paper exists is not known."""

from __future__ import annotations

import re

from cognition.printable import first_unseen

_ARXIV = re.compile(r"arXiv:([0-9]{4}\.[0-9]{4,5}|[a-z-]+/[0-9]{7})")
_DOI = re.compile(r"doi:10\.[0-9]{4,9}/\S+")
_LONGEST = 200


def is_identifier(text: str) -> bool:
    """Whether a text can be a paper's identifier, as arXiv:2406.06484 or doi:10.1000/x."""
    if found := _ARXIV.fullmatch(text):
        return is_arxiv_number(found.group(1))
    return bool(_DOI.fullmatch(text)) and len(text) <= _LONGEST and first_unseen(text) is None


def is_arxiv_number(number: str) -> bool:
    """Whether arXiv numbers papers so: cs/YYMMNNN, YYMM.NNNN from April 2007, YYMM.NNNNN since 2015."""
    archive, _, old = number.rpartition("/")
    month = int((old if archive else number)[2:4])
    if archive:
        return 1 <= month <= 12
    year, num_digits = 2000 + int(number[:2]), len(number) - len("2406.")
    return 1 <= month <= 12 and (year, month) >= (2007, 4) and num_digits == (4 if year < 2015 else 5)

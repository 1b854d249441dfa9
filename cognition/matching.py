"""Is an element of a design taken from something that is known? By the words that both use.

A document counts as the source when it is the first that a search finds, says most of the element's words, and one of
its parts is near to it. Not covered: ideas that are told in other words, and words that are used for something else. It
finds the family rather than the very paper: tests/cognition/test_matching.py prints how often each.
"""

from __future__ import annotations

from dataclasses import dataclass

from cognition.documents import Document
from cognition.embedding import HashedNgrams
from cognition.words import terms_of

NEAR = 0.3  # cosine to the nearest part
_SHARED = 0.6  # of the element's terms
_FEWEST = 3  # terms of an element that says something


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How near an element is to a document."""

    document: Document
    similarity: float  # cosine of hashed n-grams to the nearest part
    near: bool


def match(element: str, document: Document, more: str = "") -> Match:
    """Hold an element against a document; `more` is text of it that is not searched."""
    embedder = HashedNgrams()
    texts = [*document.parts.values(), *([more] if more else [])]
    similarity = float((embedder.embed(texts) @ embedder.embed([element])[0]).max())
    terms = set(terms_of(element))
    shared = terms & set(terms_of("\n".join(texts)))
    near = similarity >= NEAR and len(terms) >= _FEWEST and len(shared) >= _SHARED * len(terms)
    return Match(document=document, similarity=similarity, near=near)

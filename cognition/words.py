"""Text as terms: lower case, without stop words, stemmed. What BM25 and the hashed embedder count."""

from __future__ import annotations

import functools
import re

import Stemmer
from bm25s.stopwords import STOPWORDS_EN

_WORD = re.compile(r"[a-z]+|\d+")
_FUNCTION_WORDS = """
    also although because been being both can cannot could does doing done each even ever every from had has have having
    here how its itself just like may might more most much must nor once only onto our out over own same shall should
    since some still such than them then these those though thus too under until upon very was were what when where
    whether which while who whom whose why would yet you your we am so all any do did he she one two us use used using
    make makes made get gets got go goes set
"""
_STOP = frozenset(STOPWORDS_EN) | frozenset(_FUNCTION_WORDS.split())


@functools.cache
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("english")


def terms_of(text: str) -> list[str]:
    """The terms of a text, in order; numbers are kept, single letters are not."""
    words = [word for word in _WORD.findall(text.lower()) if word not in _STOP and (len(word) > 1 or word.isdigit())]
    return list(_stemmer().stemWords(words))

"""Do two texts say the same in the same words? What decides where the likeness of two vectors is not enough.

A cosine over terms hardly sees a negation, an order, a direction or a number, and each of them turns an idea into
another one. Here every word counts, in its place, but a closed list of those that carry nothing: what the list does not
know makes texts different, so that no list of telling words can be too short.

Not covered: a passive without "by" reads as its active. The same in other words is never recognised, nor is a clause
that moved.
"""

from __future__ import annotations

import re

# Numbers, words, and signs, of which punctuation is none; a dash is one where it stands before a term of its own.
_TOKEN = re.compile(
    r"\d+(?:[.,]\d+)*"
    r"|[^\W\d_]+"
    r"|(?<!\w)[-\u2212](?=\s?\w)"
    r"|[^\w\s.,;:!?()\[\]{}\"'`\u2018-\u201d\u2026\u2010-\u2015-]"
)
_SPELLINGS = (
    (re.compile(r"n['\u2019]t\b|\bcannot\b"), " not "),
    (re.compile(r"['\u2019]s\b"), " "),
    (re.compile(r"\brather than\b|\binstead of\b"), " instead "),
    (re.compile(r"\b(?:every|per)\b"), "each"),
    (re.compile(r"iz(?=e|ing|ation)"), "is"),
)
# Articles, pronouns, auxiliaries and what joins clauses. No word of place, direction, amount, condition or negation;
# and not "by", which tells who does from who is done to.
_FILLERS = """
    a an the this that these those which it its they them their itself themselves there own
    is are was were be been being do does did has have had having can could may might should shall will would
    of in on at for to with and as so since because therefore thus hence also
    we our us let lets use uses used using
"""
_COUNTED = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty
"""
_FILLER = frozenset(_FILLERS.split())
_NUMBERS = {word: str(number) for number, word in enumerate(_COUNTED.split())}
_PLURAL_OF_Y = re.compile(r"(?<=[a-z]{2})ies$")
_ENDING = re.compile(r"(?<=[a-z]{3})(?:es|(?<!s)s|ed|ing|e)$")  # no more than inflection: "later" is not "late"
_DOUBLED = re.compile(r"([b-df-hj-np-tv-z])\1$")


def same_words(first: str, second: str) -> bool:
    """Whether two texts are equal but for inflection, punctuation, spelling and words that carry nothing."""
    return wording_of(first) == wording_of(second)


def wording_of(text: str) -> tuple[str, ...]:
    """What a text says, word by word: roots in their order, numbers and signs among them, filler left out."""
    text = text.lower()
    for spelling, chosen in _SPELLINGS:
        text = spelling.sub(chosen, text)
    return tuple(_root(word) for word in _TOKEN.findall(text) if word not in _FILLER)


def _root(word: str) -> str:
    if word in _NUMBERS:
        return _NUMBERS[word]
    return _DOUBLED.sub(r"\1", _ENDING.sub("", _PLURAL_OF_Y.sub("y", word)))

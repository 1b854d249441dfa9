"""Pairs of English sentences: agreement in number and gender, and forms of irregular verbs, from a small grammar.

After BLiMP (Warstadt et al. 2020, arXiv 1912.00582, table 2), whose vocabulary and sentences are not used. Number is
drawn for every pair, so that a liking for the singular tells nothing. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from models.minimal_pairs.words import Pair, pick, two

_NOUNS = (
    *(("teacher", "teachers"), ("doctor", "doctors"), ("student", "students"), ("farmer", "farmers")),
    *(("writer", "writers"), ("child", "children"), ("woman", "women"), ("neighbor", "neighbors")),
    *(("river", "rivers"), ("house", "houses"), ("book", "books"), ("garden", "gardens"), ("road", "roads")),
    *(("machine", "machines"), ("letter", "letters"), ("village", "villages"), ("picture", "pictures")),
)
_MEN = ("boy", "man", "king", "father", "brother", "uncle", "son", "husband")
_WOMEN = ("girl", "woman", "queen", "mother", "sister", "aunt", "daughter", "wife")
_VERBS = (("is", "are"), ("was", "were"), ("has", "have"), ("does", "do"))
_ENDS = {
    "is": ("very old", "near the city", "ready for winter", "known to everyone"),
    "was": ("very old", "near the city", "ready for winter", "known to everyone"),
    "has": ("been there for years", "changed over time", "become well known"),
    "does": ("not change at all", "not matter much", "not last for long"),
}
_PREPOSITIONS = ("near", "behind", "beside", "with", "from", "above")
_REFLEXIVE = ("saw", "hurt", "helped", "blamed", "taught", "described", "praised", "introduced")
_IRREGULAR = (
    *(("ate", "eaten"), ("wrote", "written"), ("took", "taken"), ("broke", "broken"), ("gave", "given")),
    *(("saw", "seen"), ("drove", "driven"), ("chose", "chosen"), ("knew", "known"), ("drew", "drawn")),
)


def subject_verb(rng: np.random.Generator) -> Pair:
    """A verb agrees with the noun before it."""
    noun, number, end = pick(rng, _NOUNS), int(rng.integers(2)), _end(rng)
    verb = _verb_of(end)
    return Pair(f"The {noun[number]} {verb[number]} {end[1]}.", f"The {noun[number]} {verb[1 - number]} {end[1]}.")


def distant_subject(rng: np.random.Generator) -> Pair:
    """A verb agrees with its subject, not with the noun of the other number that stands between."""
    noun, between = two(rng, _NOUNS)
    number, end = int(rng.integers(2)), _end(rng)
    verb, head = _verb_of(end), f"The {noun[number]} {pick(rng, _PREPOSITIONS)} the {between[1 - number]}"
    return Pair(f"{head} {verb[number]} {end[1]}.", f"{head} {verb[1 - number]} {end[1]}.")


def determiner(rng: np.random.Generator) -> Pair:
    """A determiner agrees with its noun."""
    words, noun, number = pick(rng, (("this", "these"), ("that", "those"))), pick(rng, _NOUNS), int(rng.integers(2))
    person = pick(rng, ("She", "He", "They", "We"))
    head = f"{person} talked about"
    return Pair(f"{head} {words[number]} {noun[number]}.", f"{head} {words[1 - number]} {noun[number]}.")


def reflexive(rng: np.random.Generator) -> Pair:
    """A reflexive pronoun agrees with its subject in gender."""
    women = bool(rng.integers(2))
    head = f"The {pick(rng, _WOMEN if women else _MEN)} {pick(rng, _REFLEXIVE)}"
    hers, his = f"{head} herself.", f"{head} himself."
    return Pair(hers, his) if women else Pair(his, hers)


def irregular_form(rng: np.random.Generator) -> Pair:
    """A participle behind an auxiliary, the past without one."""
    (past, participle), noun = pick(rng, _IRREGULAR), pick(rng, _NOUNS[:8])
    subject, rest = f"The {noun[int(rng.integers(2))]}", pick(rng, ("it", "them", "everything", "most of it"))
    if rng.integers(2):
        return Pair(f"{subject} had {participle} {rest}.", f"{subject} had {past} {rest}.")
    return Pair(f"{subject} {past} {rest}.", f"{subject} {participle} {rest}.")


def word_order(rng: np.random.Generator) -> Pair:
    """An article stands before its noun, and a preposition before both."""
    noun, other = two(rng, _NOUNS)
    preposition, end = pick(rng, _PREPOSITIONS), _end(rng)
    head = f"The {noun[0]}"
    tail = f"{_verb_of(end)[0]} {end[1]}."
    return Pair(f"{head} {preposition} the {other[0]} {tail}", f"{head} the {preposition} {other[0]} {tail}")


def _end(rng: np.random.Generator) -> tuple[str, str]:
    """A verb in the singular, and what may follow it."""
    verb = pick(rng, tuple(_ENDS))
    return verb, pick(rng, _ENDS[verb])


def _verb_of(end: tuple[str, str]) -> tuple[str, str]:
    return next(verb for verb in _VERBS if verb[0] == end[0])


PHENOMENA: Mapping[str, Callable[[np.random.Generator], Pair]] = {
    "subject_verb": subject_verb,
    "distant_subject": distant_subject,
    "determiner": determiner,
    "reflexive": reflexive,
    "irregular_form": irregular_form,
    "word_order": word_order,
}

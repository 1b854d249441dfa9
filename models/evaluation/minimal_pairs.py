"""Pairs of texts of which one is right: does a model give it the higher probability? (BLiMP, arXiv 1912.00582)

Made from a seed, without data. In every family right and wrong texts hold the same characters or are as long on
average, so that length alone decides nothing: guessing gives one half.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_NAMES = ("count", "total", "index", "value", "width", "limit", "state", "token", "order", "scale")
_CALLS = ("len", "max", "sum", "abs", "str", "int", "set", "list", "sorted", "tuple")
_SINGULAR = ("dog", "teacher", "river", "engine", "child", "letter", "woman", "bird", "king", "author")
_PLURAL = ("dogs", "teachers", "rivers", "engines", "children", "letters", "women", "birds", "kings", "authors")
_VERBS = (("is", "are"), ("was", "were"), ("has", "have"), ("does", "do"))  # singular, plural
_PLACES = ("near", "behind", "beside", "above", "with")
_ENDS = ("here", "today", "in the house", "by the road", "at last", "in the morning")


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimalPair:
    """Two texts that differ in one thing."""

    good: str
    bad: str


def minimal_pairs(family: str, num: int, seed: int) -> tuple[MinimalPair, ...]:
    """So many different pairs of a family; the same for the same seed.

    Raises:
        ValueError: there is no such family, or it has fewer pairs.
    """
    if family not in FAMILIES:
        raise ValueError(f"no family of minimal pairs named {family!r}; there are {', '.join(FAMILIES)}")
    rng = random.Random(f"{seed}/{family}")
    found: dict[MinimalPair, None] = {}
    for _ in range(50 * num):
        if len(found) == num:
            break
        found[FAMILIES[family](rng, len(found))] = None
    if len(found) < num:
        raise ValueError(f"{num} minimal pairs were asked for, family {family} gave {len(found)}: ask for fewer")
    return tuple(found)


def _brackets(rng: random.Random, number: int) -> MinimalPair:
    """Closing brackets in the order in which they were opened, or two of them swapped."""
    opening, closing = zip(*rng.sample(["()", "[]", "{}"], 2), strict=True)
    name, inner = rng.sample(_NAMES, 2)
    head = f"{name} = {opening[0]}{rng.choice(_CALLS)}, {opening[1]}{inner}, {rng.randrange(10, 100)}"
    return MinimalPair(good=f"{head}{closing[1]}{closing[0]}\n", bad=f"{head}{closing[0]}{closing[1]}\n")


def _names(rng: random.Random, number: int) -> MinimalPair:
    """A function that returns its own argument, or a name that is not there; all names are equally long."""
    given, other, function = rng.sample(_NAMES, 3)
    head = f"def {function}({given}):\n    return {rng.choice(_CALLS)}("
    return MinimalPair(good=f"{head}{given})\n", bad=f"{head}{other})\n")


def _quotes(rng: random.Random, number: int) -> MinimalPair:
    """A string that ends as it began."""
    mark, other = rng.sample(["'", '"'], 2)
    head = f"{rng.choice(_NAMES)} = {mark}{rng.choice(_SINGULAR)} {rng.randrange(100)}"
    return MinimalPair(good=f"{head}{mark}\n", bad=f"{head}{other}\n")


def _agreement(rng: random.Random, number: int) -> MinimalPair:
    """Verb and subject agree in number; singular and plural subjects take turns."""
    plural = number % 2
    return _sentence(rng, plural, f"the {rng.choice(_PLURAL if plural else _SINGULAR)}")


def _attractor(rng: random.Random, number: int) -> MinimalPair:
    """The same, with a noun of the other number in between."""
    plural = number % 2
    subject, between = rng.choice(_PLURAL if plural else _SINGULAR), rng.choice(_SINGULAR if plural else _PLURAL)
    return _sentence(rng, plural, f"the {subject} {rng.choice(_PLACES)} the {between}")


def _determiner(rng: random.Random, number: int) -> MinimalPair:
    """this dog, these dogs."""
    plural = number % 2
    right, wrong = ("these", "this") if plural else ("this", "these")
    noun = rng.choice(_PLURAL if plural else _SINGULAR)
    rest = f"{noun} {rng.choice(_PLACES)} the {rng.choice(_SINGULAR)}"
    return MinimalPair(good=f"We saw {right} {rest}.", bad=f"We saw {wrong} {rest}.")


def _sentence(rng: random.Random, plural: int, subject: str) -> MinimalPair:
    verbs, end = rng.choice(_VERBS), rng.choice(_ENDS)
    head = subject[0].upper() + subject[1:]
    good, bad = (f"{head} {verbs[which]} {end}." for which in (plural, 1 - plural))
    return MinimalPair(good=good, bad=bad)


FAMILIES: Mapping[str, Callable[[random.Random, int], MinimalPair]] = {
    "python_brackets": _brackets,
    "python_names": _names,
    "python_quotes": _quotes,
    "english_agreement": _agreement,
    "english_attractor": _attractor,
    "english_determiner": _determiner,
}

"""What the grammars draw from: identifiers that nobody has seen, and words that every corpus has. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_ONSETS, _VOWELS, _CODAS = (
    ["b", "c", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z"],
    ["a", "e", "i", "o", "u"],
    ["l", "m", "n", "r", "s", "t"],
)


@dataclass(frozen=True, slots=True)
class Pair:
    """An acceptable text and one that is not, as long as the other but for words that English makes longer."""

    good: str
    bad: str


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of them, all equally likely."""
    return choices[int(rng.integers(len(choices)))]


def two(rng: np.random.Generator, choices: Sequence[T]) -> tuple[T, T]:
    """Two different ones."""
    first, second = rng.choice(len(choices), size=2, replace=False)
    return choices[int(first)], choices[int(second)]


def identifier(rng: np.random.Generator, syllables: int = 2) -> str:
    """A made-up name of three letters a syllable: nothing that a training text could have told."""
    return "".join(pick(rng, _ONSETS) + pick(rng, _VOWELS) + pick(rng, _CODAS) for _ in range(syllables))


def identifiers(rng: np.random.Generator, syllables: int = 2) -> tuple[str, str]:
    """Two different names of one length."""
    first = identifier(rng, syllables)
    while (second := identifier(rng, syllables)) == first:
        pass
    return first, second

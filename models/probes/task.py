"""What every synthetic task is to the rest, and the draws that several of them share. No torch.

Every task is posed to a causal language model: token ids in, and at some positions one token id that is due there.
Token 0 is a blank in all tasks but state tracking.

Shapes: N sequences, T time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.batch import IGNORED, Batch

BLANK = 0

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(ABC):
    """A synthetic task with its options; a subclass per task, which checks its own."""

    kind: str = field(init=False)  # the task's name in a scale, so that a record of it says which task it is

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Tokens that the task uses: ids 0..vocab_size-1."""

    @property
    @abstractmethod
    def min_length(self) -> int:
        """Tokens that the shortest sequence takes."""

    @abstractmethod
    def chance(self, length: int) -> float:
        """Accuracy of the best model that lacks the ability in question, for sequences of `length` tokens."""

    @abstractmethod
    def sequences(self, num: int, length: int, rng: np.random.Generator) -> Batch:
        """`num` sequences, [N, T]; at least one target of each counts."""


def blank_batch(num: int, length: int) -> Batch:
    """Blanks everywhere and nothing that counts, to be filled in."""
    return Batch(np.full((num, length), BLANK, dtype=np.int64), np.full((num, length), IGNORED, dtype=np.int64))


def draw_different(rng: np.random.Generator, num: int, alphabet: int, size: int) -> Ints:
    """[num, size] different symbols of 0..alphabet-1 in each row, all equally likely."""
    return rng.random((num, alphabet)).argsort(axis=1)[:, :size]


def draw_weighted(rng: np.random.Generator, num: int, weight: Floats, size: int) -> Ints:
    """[num, size] different indices of `weight` in each row, drawn in proportion to it (Gumbel top-k)."""
    return np.argsort(-(np.log(weight) + rng.gumbel(size=(num, len(weight)))), axis=1)[:, :size]


def commonest_share(num: int, alphabet: int) -> float:
    """How much of `num` independent uniform symbols the commonest one makes up, in expectation.

    That is the accuracy of a model that knows which symbols there were and not where each stood. Exact, from
    P(no symbol occurs more than m times) = num! / alphabet^num times the coefficient of x^num in
    (sum of x^j / j! over j <= m)^alphabet.
    """
    expected = 0.0
    for most in range(num):
        once = [1.0 / math.factorial(count) for count in range(most + 1)]
        product = np.ones(1)
        for _ in range(alphabet):
            product = np.convolve(product, once)[: num + 1]
        ways = float(product[num]) if len(product) > num else 0.0
        expected += 1.0 - ways * math.exp(math.lgamma(num + 1) - num * math.log(alphabet))
    return expected / num

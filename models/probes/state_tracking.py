"""State tracking: the word problem of a permutation group, the running product being due at every step. No torch.

The tokens are elements of the group, and x_0..x_t ask for x_t o ... o x_0 (x_0 is applied first). S_2 is parity: the
answer is the number of swaps so far, modulo 2. S_3 is solvable and S_5 is not: unless TC0 = NC1, neither attention of
a fixed depth nor a mixer with diagonal state transitions solves S_5 at all lengths (Merrill et al. 2024, "The Illusion
of State in State-Space Models", arXiv 2404.08819). In finite precision, transitions whose eigenvalues are all positive
do not even solve parity (Grazzi et al. 2024, "Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues",
arXiv 2411.12537).

Not guaranteed: at a probe's short lengths a network may learn the first steps by rote, which lifts it above chance, and
longer sequences than those trained on are not asked for.

Shapes: N sequences, T time, G elements of the group, M moves that occur as tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from itertools import permutations
from typing import ClassVar

import numpy as np

from models.batch import Batch
from models.probes.task import Ints, Task

ALL, SWAPS = "all", "swaps"
MOVES = (ALL, SWAPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _WordProblem(Task):
    """The word problem of all permutations of `degree` things, whose ids are tokens and answers alike."""

    degree: ClassVar[int]

    @property
    def vocab_size(self) -> int:
        return math.factorial(self.degree)

    @property
    def min_length(self) -> int:
        return 2

    def chance(self, length: int) -> float:
        """A model that reads the last token alone and takes what came before for the likeliest product."""
        moves_M, table_GG = self.drawn(), composition(self.degree)
        before_G = np.zeros(self.vocab_size)
        before_G[0] = 1.0  # nothing has been read: the identity for sure
        hits = 0.0
        for _ in range(length):
            hits += float(before_G.max())
            after_G = np.zeros_like(before_G)
            for move in moves_M:
                after_G[table_GG[move]] += before_G / len(moves_M)
            before_G = after_G
        return hits / length

    def sequences(self, num: int, length: int, rng: np.random.Generator) -> Batch:
        moves_M, table_GG = self.drawn(), composition(self.degree)
        tokens_NT = moves_M[rng.integers(0, len(moves_M), (num, length))]
        states_NT = tokens_NT.copy()
        for step in range(1, length):
            states_NT[:, step] = table_GG[tokens_NT[:, step], states_NT[:, step - 1]]
        return Batch(tokens_NT, states_NT)

    def drawn(self) -> Ints:
        """[M] ids of the elements that tokens are drawn from, uniformly."""
        return np.arange(self.vocab_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity(_WordProblem):
    """Whether the ones so far are odd in number: the word problem of S_2. It has no options."""

    degree: ClassVar[int] = 2
    kind: str = field(init=False, default="parity")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moving(_WordProblem):
    """A group of which all elements may occur as tokens, or a part that generates it."""

    moves: str  # "all" elements, or the identity and the "swaps" of two things, which are easier to learn

    def __post_init__(self) -> None:
        if self.moves not in MOVES:
            raise ValueError(f"{self.kind}.moves is {self.moves!r}; use one of {', '.join(MOVES)}")

    def drawn(self) -> Ints:
        elements = permutations(range(self.degree))
        most = self.degree if self.moves == ALL else 2
        return np.array([index for index, element in enumerate(elements) if _num_moved(element) <= most])


@dataclass(frozen=True, slots=True, kw_only=True)
class S3(_Moving):
    """The word problem of the 6 permutations of three things."""

    degree: ClassVar[int] = 3
    kind: str = field(init=False, default="s3")


@dataclass(frozen=True, slots=True, kw_only=True)
class S5(_Moving):
    """The word problem of the 120 permutations of five things."""

    degree: ClassVar[int] = 5
    kind: str = field(init=False, default="s5")


def _num_moved(element: tuple[int, ...]) -> int:
    return sum(at != place for place, at in enumerate(element))


@cache
def composition(degree: int) -> Ints:
    """[G, G] ids: entry [later, earlier] is `later` applied after `earlier`; ids in lexicographic order, 0 identity."""
    elements = list(permutations(range(degree)))
    number = {element: index for index, element in enumerate(elements)}
    table = np.array([[number[tuple(later[at] for at in earlier)] for earlier in elements] for later in elements])
    table.flags.writeable = False
    return table

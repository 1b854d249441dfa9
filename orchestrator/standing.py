"""Who has finished, in columns: what selection looks at, without a record made for each member at each look.

Rows are put in by candidate number, so that what a number may see is a prefix. Shapes: N members.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from agents.brief import Member

_FIRST_ROWS = 64

Key = tuple[int, int, str]  # number, attempt, candidate


class Members(Sequence[Member]):
    """Members by number, made when they are asked for; to be read before the next row is added.

    Args:
        ids: candidates by number.
        fitness_N: NaN where there is none.
        num_children_N: proposals that name them as a parent.
        member: what is known of a candidate.
    """

    def __init__(
        self,
        ids: Sequence[Key],
        fitness_N: npt.NDArray[np.float64],
        num_children_N: npt.NDArray[np.float64],
        member: Callable[[str], Member],
    ) -> None:
        self._ids, self._member = ids, member
        self.fitness_N, self.num_children_N = fitness_N, num_children_N

    @classmethod
    def of(cls, members: Sequence[Member]) -> Members:
        """Members in any order."""
        if isinstance(members, Members):
            return members
        known = sorted(members, key=lambda member: (member.candidate.number, member.candidate.attempt))
        fitness = [np.nan if member.fitness is None else member.fitness for member in known]
        places = {str(place): member for place, member in enumerate(known)}
        return cls(
            [(member.candidate.number, member.candidate.attempt, str(at)) for at, member in enumerate(known)],
            np.array(fitness, dtype=np.float64),
            np.array([member.num_children for member in known], dtype=np.float64),
            places.__getitem__,
        )

    def __len__(self) -> int:
        return len(self.fitness_N)

    def numbers_from(self, number: int) -> Sequence[int]:
        """The members' numbers, from one of them on."""
        num = len(self)
        return [n for n, _, _ in self._ids[bisect_left(self._ids, (number,), hi=num) : num]]

    def num_from(self, number: int) -> int:
        """How many those are."""
        return len(self) - bisect_left(self._ids, (number,), hi=len(self))

    @overload
    def __getitem__(self, index: int) -> Member: ...

    @overload
    def __getitem__(self, index: slice) -> list[Member]: ...

    def __getitem__(self, index: int | slice) -> Member | list[Member]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._member(self._ids[range(len(self))[index]][2])

    def __iter__(self) -> Iterator[Member]:
        return (self._member(identity) for _, _, identity in self._ids[: len(self)])


class Standing:
    """Finished members by number; each is put in once, and told of again when its fitness or its children change."""

    def __init__(self, member: Callable[[str], Member | None]) -> None:
        """`member`: what is known of a candidate; None: not enough yet."""
        self._find = member
        self._waiting: dict[str, None] = {}  # explained, and not looked at yet
        self._ids: list[Key] = []
        self._keys: dict[str, Key] = {}
        self._fitness = np.empty(_FIRST_ROWS, dtype=np.float64)
        self._num_children = np.empty(_FIRST_ROWS, dtype=np.float64)
        self._best: dict[str, tuple[float, int, str]] = {}  # by arm: loss, number, candidate

    def changed(self, candidate_id: str, *, explained: bool = False) -> None:
        """Something is known of a candidate that was not before."""
        if explained or candidate_id in self._keys:
            self._waiting[candidate_id] = None

    def members(self, up_to: int | None = None) -> Members:
        """By number, up to one of them or all."""
        self._catch_up()
        num = len(self._ids) if up_to is None else bisect_right(self._ids, up_to, key=lambda key: key[0])
        return Members(self._ids, self._fitness[:num], self._num_children[:num], self._known)

    def best(self) -> Mapping[str, Member]:
        """The member with the lowest loss of each arm that has one."""
        self._catch_up()
        return {arm: self._known(candidate_id) for arm, (_, _, candidate_id) in self._best.items()}

    def __contains__(self, candidate_id: object) -> bool:
        self._catch_up()
        return candidate_id in self._keys

    def _known(self, candidate_id: str) -> Member:
        member = self._find(candidate_id)
        assert member is not None, "nothing is taken back"
        return member

    def _catch_up(self) -> None:
        for candidate_id in list(self._waiting):
            if (member := self._find(candidate_id)) is None:
                continue  # rows were lost, or come later
            del self._waiting[candidate_id]
            if (key := self._keys.get(candidate_id)) is None:
                place = self._insert((member.candidate.number, member.candidate.attempt, candidate_id))
            else:
                place = bisect_right(self._ids, key) - 1
            self._fitness[place] = np.nan if member.fitness is None else member.fitness
            self._num_children[place] = member.num_children
            if member.verdict is not None and member.verdict.loss is not None:
                arm, entry = member.candidate.arm, (member.verdict.loss, member.candidate.number, candidate_id)
                self._best[arm] = min(entry, self._best.get(arm, entry))

    def _insert(self, key: Key) -> int:
        num = len(self._ids)
        if num == len(self._fitness):
            self._fitness = np.concatenate([self._fitness, np.empty_like(self._fitness)])
            self._num_children = np.concatenate([self._num_children, np.empty_like(self._num_children)])
        place = bisect_right(self._ids, key)
        insort(self._ids, key)
        self._keys[key[2]] = key
        for column in (self._fitness, self._num_children):
            column[place + 1 : num + 1] = column[place:num].copy()
        return place

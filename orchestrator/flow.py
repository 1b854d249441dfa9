"""Order: which number may start, what it may know of the others, and who waits for the founders."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from orchestrator.look_ahead import LookAhead

FIXED_LOOK_AHEAD = 6  # of deterministic campaigns, unless another number is given


class Flow:
    """Candidates in flight, by number; founders come first and all at once.

    In deterministic mode a number starts only when all that are `look_ahead` or more below it are closed, and knows
    only of those, so that what its proposal sees does not depend on the clock. Otherwise `look_ahead` bounds how many
    are in flight, be it a number or as many as keep the slots busy (of these only who is on the way to a slot or holds
    one), and every proposal knows all that is finished.
    """

    def __init__(
        self,
        num_founders: int,
        look_ahead: int | LookAhead,
        *,
        deterministic: bool,
        closed: Iterable[int] = (),
        num_desks: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: seconds that only go forward."""
        assert not (deterministic and isinstance(look_ahead, LookAhead)), "the clock would decide"
        self.num_founders = num_founders
        self._look_ahead = look_ahead
        self.deterministic = deterministic
        self._clock = clock
        # Proposals and examinations take their turn here, in order of number where there is one desk.
        self.desk = asyncio.Semaphore(1 if deterministic else num_desks)
        self._closed = set(closed)
        self._num_closed_first = 0  # all numbers below this one are closed
        self._open: dict[int, float] = {}  # since when, by the clock
        self._not_at_slots: dict[int, float] = {}  # of them, those that never were
        self._slot_s: dict[int, float] = {}  # waited for slots and held them
        self._trained_at: dict[int, float] = {}  # when those that need no slot any more gave theirs back
        self._changed = asyncio.Event()
        self._explored = [asyncio.Event() for _ in range(num_founders)]
        for number in self._closed:
            self.explored(number)

    @property
    def num_open(self) -> int:
        return len(self._open)

    @property
    def num_closed(self) -> int:
        return len(self._closed)

    def numbers(self, num: int) -> Iterable[int]:
        """The numbers below `num` that are not closed yet."""
        return [number for number in range(num) if number not in self._closed]

    async def turn(self, number: int) -> None:
        """Wait until this number may start."""
        while number >= self.num_founders and not self._may_start(number):
            self._changed.clear()
            await self._changed.wait()
        self._open[number] = self._not_at_slots[number] = self._clock()

    def close(self, number: int) -> None:
        """Nothing more happens to this number."""
        self._closed.add(number)
        since, slot_s = self._open.pop(number, None), self._slot_s.pop(number, None)
        self._not_at_slots.pop(number, None)
        trained_at = self._trained_at.pop(number, self._clock())
        if isinstance(self._look_ahead, LookAhead) and since is not None and slot_s is not None:
            self._look_ahead.closed(trained_at - since, slot_s)
        self.explored(number)
        self._changed.set()

    def horizon(self, number: int) -> int | None:
        """The highest number that this one may know of; None: all that is finished."""
        return number - self.look_ahead if self.deterministic else None

    @property
    def look_ahead(self) -> int:
        """How many may be in flight at this moment."""
        if not isinstance(self._look_ahead, LookAhead):
            return self._look_ahead
        now = self._clock()
        return self._look_ahead.wanted([now - since for since in self._not_at_slots.values()])

    def look_again(self) -> None:
        """Time has passed: more may be wanted in flight."""
        self._changed.set()

    @contextmanager
    def at_slots(self, number: int) -> Iterator[None]:
        """This number waits for slots and holds them."""
        since = self._clock()
        self._slot_s.setdefault(number, 0.0)
        self._not_at_slots.pop(number, None)
        self._trained_at.pop(number, None)
        yield
        self._trained_at[number] = self._clock()
        self._slot_s[number] += self._clock() - since
        self._changed.set()

    def trained(self, slot_s: float) -> None:
        """An exploration trial has ended by itself."""
        if isinstance(self._look_ahead, LookAhead):
            self._look_ahead.trained(slot_s)

    def explored(self, number: int) -> None:
        """A founder has its exploration trials; nothing for other numbers."""
        if number < self.num_founders:
            self._explored[number].set()

    async def founder(self, number: int = 0) -> None:
        """Wait until a founder has its exploration trials, or has none and never will."""
        await self._explored[number].wait()

    async def all_founders(self) -> None:
        for explored in self._explored:
            await explored.wait()

    async def founders_closed(self) -> None:
        """Wait until nothing more happens to any founder: they are scored and explained."""
        while not self._all_closed_below(self.num_founders):
            self._changed.clear()
            await self._changed.wait()

    def _may_start(self, number: int) -> bool:
        if self.deterministic:
            return self._all_closed_below(number - self.look_ahead + 1)
        if not isinstance(self._look_ahead, LookAhead):
            return len(self._open) < self._look_ahead
        if len(self._open) >= self._look_ahead.most:
            return False
        # Who was trained keeps no slot busy, however long it waits for the founders to be scored or for a model's word.
        return len(self._open) - len(self._trained_at) < self.look_ahead

    def _all_closed_below(self, number: int) -> bool:
        while self._num_closed_first in self._closed:
            self._num_closed_first += 1
        return self._num_closed_first >= number

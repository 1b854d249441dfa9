"""Order: which number may start, what it may know of the others, and who waits for the founders."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from orchestrator.look_ahead import LookAhead

FIXED_LOOK_AHEAD = 6  # of deterministic campaigns, unless another number is given


class Flow:
    """Candidates in flight, by number; founders come first and all at once.

    In deterministic mode a number starts only when all that are `look_ahead` or more below it are closed, and knows
    only of those, so that what its proposal sees does not depend on the clock. Otherwise `look_ahead` bounds how many
    are in flight, be it a number or as many as keep the slots busy, and every proposal knows all that is finished.
    """

    def __init__(
        self,
        num_founders: int,
        look_ahead: int | LookAhead,
        *,
        deterministic: bool,
        closed: Iterable[int] = (),
        num_desks: int = 1,
    ) -> None:
        assert not (deterministic and isinstance(look_ahead, LookAhead)), "the clock would decide"
        self.num_founders = num_founders
        self._look_ahead = look_ahead
        self.deterministic = deterministic
        # Proposals and examinations take their turn here, in order of number where there is one desk.
        self.desk = asyncio.Semaphore(1 if deterministic else num_desks)
        self._closed = set(closed)
        self._open: dict[int, float] = {}  # since when, by a monotonic clock
        self._slot_s: dict[int, float] = {}  # waited for slots and held them
        self._changed = asyncio.Event()
        self._explored = [asyncio.Event() for _ in range(num_founders)]
        for number in self._closed:
            self.explored(number)

    @property
    def num_open(self) -> int:
        return len(self._open)

    def numbers(self, num: int) -> Iterable[int]:
        """The numbers below `num` that are not closed yet."""
        return [number for number in range(num) if number not in self._closed]

    async def turn(self, number: int) -> None:
        """Wait until this number may start."""
        while number >= self.num_founders and not self._may_start(number):
            self._changed.clear()
            await self._changed.wait()
        self._open[number] = time.monotonic()

    def close(self, number: int) -> None:
        """Nothing more happens to this number."""
        self._closed.add(number)
        since, slot_s = self._open.pop(number, None), self._slot_s.pop(number, None)
        if isinstance(self._look_ahead, LookAhead) and since is not None and slot_s is not None:
            self._look_ahead.closed(time.monotonic() - since, slot_s)
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
        now = time.monotonic()
        return self._look_ahead.wanted([now - since for n, since in self._open.items() if n not in self._slot_s])

    def look_again(self) -> None:
        """Time has passed: more may be wanted in flight."""
        self._changed.set()

    @contextmanager
    def at_slots(self, number: int) -> Iterator[None]:
        """This number waits for slots and holds them."""
        since = time.monotonic()
        self._slot_s.setdefault(number, 0.0)
        yield
        self._slot_s[number] += time.monotonic() - since

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
        while not self._closed.issuperset(range(self.num_founders)):
            self._changed.clear()
            await self._changed.wait()

    def _may_start(self, number: int) -> bool:
        if self.deterministic:
            return self._closed.issuperset(range(number - self.look_ahead + 1))
        return len(self._open) < self.look_ahead

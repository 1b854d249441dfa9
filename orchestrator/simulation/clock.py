"""A clock that jumps: an event loop which never waits, because its time is the time of whatever happens next."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Outcome = TypeVar("Outcome")

_RESOLUTION_S = 1e-6  # events nearer than this happen together


class VirtualClock:
    """Seconds since the simulation began; only the loop and whoever holds the loop up move it."""

    def __init__(self, epoch: float = 0.0) -> None:
        """`epoch`: seconds since the epoch at which the simulation begins."""
        self._epoch, self._passed_s = epoch, 0.0

    def seconds(self) -> float:
        return self._passed_s

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._epoch + self._passed_s

    def spend(self, seconds: float) -> None:
        """Time passes while nothing else can run, as in a call that holds up the loop."""
        self._passed_s += seconds


class _Jump(selectors.SelectSelector):
    """Waits for nothing: the time for which it is asked to wait has passed when it answers."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("the simulation stands still: everybody waits for somebody else")
        if timeout > 0:
            self._clock.spend(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop over a virtual clock. Nothing from outside can wake it: no sockets, no threads, no signals."""

    def __init__(self, clock: VirtualClock) -> None:
        self._virtual = clock
        super().__init__(_Jump(clock))
        self._clock_resolution = _RESOLUTION_S

    def time(self) -> float:
        return self._virtual.seconds()

    def _write_to_self(self) -> None:
        """Nobody sleeps."""


def run(clock: VirtualClock, main: Coroutine[Any, Any, Outcome]) -> Outcome:
    """`asyncio.run` on a virtual clock."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main)

"""Rows on their way to the disk: committed as they come; held in order and tried again while that is refused.

Where commits would take more than a fifth of the driver's time, rows wait a moment and are committed together, so that
a campaign whose trials end by the dozen each second writes in fewer and larger groups and is never busy with its disk.

What this does not guarantee: rows that are held or wait are in memory alone, and a kill loses them. Who is about to do
what costs, or tells others that rows are kept, waits for `on_disk` first.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Protocol

from cognition.records import Record
from orchestrator.errors import UsageError

REFUSED, TAKEN_AGAIN = "store_refused", "store_taken_again"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 30.0
_LAST_CHANCE_S = 5.0
_SHARE = 0.2  # of the time that commits may take
_MOST_SAVED_S = 1.0  # of time that was not taken, and may be at once: a campaign on a laptop never waits


class Sink(Protocol):
    """What the outbox asks of a store: `cognition.store.Store` says what is raised."""

    def append(self, *records: Record) -> None: ...

    def close(self) -> None: ...


class Outbox:
    """The way into one store. Belongs to one event loop."""

    def __init__(
        self,
        store: Sink,
        patience_s: float,
        report: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`report`: told an event's kind and detail, once when the file system refuses and once when it takes again.

        `clock`: seconds that only go forward.
        """
        self._store, self._patience_s, self._report = store, patience_s, report
        self._clock = clock
        self._saved_s, self._saved_at = _MOST_SAVED_S, clock()
        self._later: asyncio.TimerHandle | None = None
        self._held: deque[list[tuple[Record, ...]]] = deque()  # groups that are committed together
        self._tried = False  # the first of them: it has to be committed as it was
        self._num_apart = 0  # the first so many are committed one by one
        self._num_put = self._num_written = 0  # groups
        self._retrying: asyncio.Task[None] | None = None
        self._give_up_at = 0.0
        self._broken: str | None = None
        self._hurried, self._changed = asyncio.Event(), asyncio.Event()

    @property
    def holds(self) -> bool:
        """Rows wait for the file system."""
        return self._retrying is not None

    @property
    def broken(self) -> str | None:
        """Why rows are held for good: patience is over. None: it is not."""
        return self._broken

    def put(self, *records: Record) -> None:
        """Commit records as one group, after all that were put before, or a moment later together with others.

        They are held where that is refused.

        Raises:
            ValueError: the group is none that the store takes, and is not held.
        """
        self._num_put += 1
        self._held.append([records])
        if self._broken is not None or (self._retrying is None and self._has_time()):
            try:
                self._drain()
            except OSError as error:
                self._wait_out(error)

    async def on_disk(self) -> None:
        """Wait until everything that was put before this is durable.

        Raises:
            UsageError: patience is over before.
        """
        place = self._num_put
        while self._num_written < place:
            if self._broken is not None:
                raise UsageError(self._broken)
            self._changed.clear()
            await self._changed.wait()

    def hurry(self) -> None:
        """The campaign stops: from now on a few seconds of patience are all there is."""
        self._patience_s = min(self._patience_s, _LAST_CHANCE_S)
        self._give_up_at = min(self._give_up_at, time.monotonic() + self._patience_s)
        self._hurried.set()
        self._commit_now()

    def close(self) -> None:
        self._commit_now()
        if self._retrying is not None:
            self._retrying.cancel()
        self._store.close()

    def _has_time(self) -> bool:
        """Commits have not taken their share of the time; otherwise what is held is committed once they may again."""
        now = self._clock()
        self._saved_s = min(_MOST_SAVED_S, self._saved_s + _SHARE * (now - self._saved_at))
        self._saved_at = now
        if self._saved_s >= 0 or self._later is not None:
            return self._later is None
        try:
            self._later = asyncio.get_running_loop().call_later(-self._saved_s / _SHARE, self._commit_now)
        except RuntimeError:  # nobody else runs whom it might hold up
            return True
        return False

    def _commit_now(self) -> None:
        """Commit what waits for its time; nothing where nothing does."""
        if self._later is None:
            return
        self._later.cancel()
        self._later = None
        if self._retrying is None and self._broken is None:
            try:
                self._drain()
            except OSError as error:
                self._wait_out(error)
            except ValueError as refused:  # whoever put it has gone on
                self._break_off(refused)

    def _drain(self) -> None:
        while self._held:
            groups, began = self._next(), self._clock()
            try:
                self._store.append(*chain.from_iterable(groups))
            except ValueError:
                if not self._parted(groups):
                    raise
            else:
                self._done(len(groups))
            finally:
                self._saved_s -= self._clock() - began

    def _next(self) -> list[tuple[Record, ...]]:
        """The groups to commit together: all that wait, unless the first were tried before or are to go one by one."""
        if not self._tried and not self._num_apart:
            self._held = deque([list(chain.from_iterable(self._held))])
        self._tried = True
        return self._held[0]

    def _parted(self, groups: list[tuple[Record, ...]]) -> bool:
        """One of them is none that the store takes: have them go one by one; False where it is the only one."""
        if len(groups) == 1:
            self._done(1)
            return False
        self._held.popleft()
        self._held.extendleft([group] for group in reversed(groups))
        self._tried, self._num_apart = False, len(groups)
        return True

    def _done(self, num_groups: int) -> None:
        self._held.popleft()
        self._tried, self._num_apart = False, max(0, self._num_apart - 1)
        self._num_written += num_groups
        self._changed.set()

    def _break_off(self, refused: ValueError) -> None:
        """Rows that no store would take: whoever waits has to hear of it."""
        self._broken = f"rows that were held cannot be written ({refused})"
        self._changed.set()

    @property
    def _num_rows(self) -> int:
        return sum(len(group) for groups in self._held for group in groups)

    def _wait_out(self, error: OSError) -> None:
        if self._retrying is not None:
            return
        since = time.monotonic()
        self._give_up_at = since + self._patience_s
        self._retrying = asyncio.get_running_loop().create_task(self._retry(error, since))
        self._report(REFUSED, f"{_reason(error)}; rows are held in memory and tried again for {self._patience_s:g} s")

    async def _retry(self, error: OSError, since: float) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            left_s = self._give_up_at - time.monotonic()
            if left_s <= 0:
                self._broken = (
                    f"the store could not be written for {time.monotonic() - since:.0f} s ({_reason(error)}), and "
                    f"{self._num_rows} rows were not kept: make room on the disk or mend the folder. What they said is "
                    "done again"
                )
                self._changed.set()
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurried.wait(), min(pause_s, left_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            if self._hurried.is_set():
                self._hurried.clear()
                pause_s = _FIRST_PAUSE_S
            num = self._num_rows
            try:
                while self._held:
                    groups = self._next()
                    try:  # in a thread: a store that cannot be reached may take seconds to say so
                        await asyncio.to_thread(self._store.append, *chain.from_iterable(groups))
                    except ValueError:
                        if not self._parted(groups):
                            raise
                    else:
                        self._done(len(groups))
            except OSError as again:
                error = again
                continue
            except ValueError as refused:
                self._break_off(refused)
                return
            self._retrying = None
            self._report(TAKEN_AGAIN, f"after {time.monotonic() - since:.0f} s; {num} rows that were held are on disk")
            return


def _reason(error: OSError) -> str:
    return f"{error.strerror or error}: {error.filename}" if error.filename else f"{error.strerror or error}"

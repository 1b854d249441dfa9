"""Rows on their way to the disk: committed as they come; held in order and tried again while that is refused.

What this does not guarantee: rows that are held are in memory alone, and a kill loses them. Who is about to do what
costs, or tells others that rows are kept, waits for `on_disk` first.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

from cognition.records import Record
from cognition.store import Store
from orchestrator.errors import UsageError

REFUSED, TAKEN_AGAIN = "store_refused", "store_taken_again"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 30.0
_LAST_CHANCE_S = 5.0


class Outbox:
    """The way into one store. Belongs to one event loop."""

    def __init__(self, store: Store, patience_s: float, report: Callable[[str, str], None]) -> None:
        """`report`: told an event's kind and detail, once when the file system refuses and once when it takes again."""
        self._store, self._patience_s, self._report = store, patience_s, report
        self._held: deque[tuple[Record, ...]] = deque()
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
        """Commit records as one group, after all that were put before; they are held where that is refused.

        Raises:
            ValueError: the group is none that the store takes, and is not held.
        """
        self._num_put += 1
        self._held.append(records)
        if self._retrying is None or self._broken is not None:
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

    def close(self) -> None:
        if self._retrying is not None:
            self._retrying.cancel()
        self._store.close()

    def _drain(self) -> None:
        while self._held:
            try:
                self._store.append(*self._held[0])
            except ValueError:
                self._written()
                raise
            self._written()

    def _written(self) -> None:
        """The first group that is held is no longer."""
        self._held.popleft()
        self._num_written += 1
        self._changed.set()

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
                num = sum(map(len, self._held))
                self._broken = (
                    f"the store could not be written for {time.monotonic() - since:.0f} s ({_reason(error)}), and "
                    f"{num} rows were not kept: make room on the disk or mend the folder. What they said is done again"
                )
                self._changed.set()
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurried.wait(), min(pause_s, left_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            if self._hurried.is_set():
                self._hurried.clear()
                pause_s = _FIRST_PAUSE_S
            num = sum(map(len, self._held))
            try:
                while self._held:  # in a thread: a store that cannot be reached may take seconds to say so
                    await asyncio.to_thread(self._store.append, *self._held[0])
                    self._written()
            except OSError as again:
                error = again
                continue
            except ValueError as refused:  # rows that no store would take: whoever waits has to hear of it
                self._written()
                self._broken = f"rows that were held cannot be written ({refused})"
                self._changed.set()
                return
            self._retrying = None
            self._report(TAKEN_AGAIN, f"after {time.monotonic() - since:.0f} s; {num} rows that were held are on disk")
            return


def _reason(error: OSError) -> str:
    return f"{error.strerror or error}: {error.filename}" if error.filename else f"{error.strerror or error}"

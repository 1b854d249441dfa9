"""The driver's end of the purse: its rows go to the store as they come, and the ledger hears when they are on disk."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import ray

from orchestrator.errors import UsageError
from orchestrator.rows import Rows

_GONE = "the ledger's process ended"


class Books:
    """Writes what the ledger's actor books: calls of language models and attempts to train."""

    def __init__(self, ledger: Any, rows: Rows) -> None:
        self._ledger, self._rows = ledger, rows
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._write())

    async def caught_up(self) -> None:
        """Everything that was booked before this is a row. Raises UsageError where that cannot be."""
        if self._task is not None:
            flushed = asyncio.ensure_future(_awaited(self._ledger.flush.remote()))
            await asyncio.wait({flushed, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if not flushed.done():
                flushed.cancel()
                raise UsageError(self.broken or "the rows of what was spent are not written any more")
            if flushed.exception() is not None:
                raise UsageError(_GONE)

    @property
    def broken(self) -> str | None:
        """Why rows cannot be written any more, so that agents would wait for ever; None: they can."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        error = self._task.exception()
        if isinstance(error, ray.exceptions.RayError):
            return _GONE
        if isinstance(error, UsageError):
            return str(error)
        return f"the rows of what was spent cannot be written ({error})"

    async def end(self) -> None:
        """Whatever is still open is cancelled and keeps its reservation; then nothing more is written."""
        if self._task is None:
            return
        # A dead ledger has nothing more to say, and what a full disk does not take is in its intents.
        with contextlib.suppress(ray.exceptions.RayError, UsageError):
            await self._ledger.abandon.remote()
            await self.caught_up()
        task, self._task = self._task, None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ray.exceptions.RayError, UsageError):
            await task

    async def _write(self) -> None:
        while True:
            records = await self._ledger.rows.remote()
            self._rows.record(*records)
            await self._rows.on_disk()
            await self._ledger.written.remote(len(records))


async def _awaited(call: Any) -> None:
    await call

"""The gate's processes: as many examinations at once as there are of them, beside the trials."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from cognition.records import Report
from models.sandbox.layer import Layer
from models.trial import ExamJob
from orchestrator.answers import answer


class Examiners:
    """Hands each examination to an examiner that has nothing to do; who comes first is first."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = tuple(actors)
        self._idle: asyncio.Queue[Any] = asyncio.Queue()
        for actor in self._actors:
            self._idle.put_nowait(actor)

    async def layers(self) -> Sequence[Layer]:
        """What confines candidates, as the first of them found it."""
        layers: Sequence[Layer] = await answer(self._actors[0].layers.remote())
        return layers

    async def examine(self, job: ExamJob) -> Report:
        actor = await self._idle.get()
        try:
            report: Report = await answer(actor.examine.remote(job))
            return report
        finally:
            self._idle.put_nowait(actor)

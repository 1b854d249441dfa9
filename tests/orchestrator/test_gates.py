"""Examinations go to whoever is idle; an examiner that fails is asked again by the next who comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.gates import Examiners


class Examiner:
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.go = asyncio.Event()
        self.examine = self

    def remote(self, job: Any) -> Any:
        self.asked.append(job)
        return self._answer(job)

    async def _answer(self, job: Any) -> Any:
        await self.go.wait()
        if job == "broken":
            raise UsageError("no child can be had")
        return job


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_as_many_examinations_run_at_once_as_there_are_examiners() -> None:
    examiners = [Examiner(), Examiner()]
    gate = Examiners(examiners)
    jobs = [asyncio.ensure_future(gate.examine(job)) for job in ("a", "b", "c")]
    await settle()
    assert [examiner.asked for examiner in examiners] == [["a"], ["b"]]
    examiners[1].go.set()
    await settle()
    assert examiners[1].asked == ["b", "c"]
    examiners[0].go.set()
    assert await asyncio.gather(*jobs) == ["a", "b", "c"]


async def test_an_examiner_that_failed_is_asked_again() -> None:
    examiner = Examiner()
    examiner.go.set()
    gate = Examiners([examiner])
    with pytest.raises(UsageError, match="no child"):
        await gate.examine("broken")
    assert await gate.examine("next") == "next"

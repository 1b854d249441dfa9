"""Order: who may start, what it may know, who waits for the founders."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import numpy as np
import pytest

from orchestrator.flow import Flow
from orchestrator.look_ahead import LookAhead


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def starting(flow: Flow, num: int) -> AsyncIterator[list[int]]:
    """The loop's way through the numbers; the list holds those that have started so far."""
    started: list[int] = []

    async def start() -> None:
        for number in flow.numbers(num):
            await flow.turn(number)
            started.append(number)

    task = asyncio.create_task(start())
    await settle()
    try:
        yield started
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def close(flow: Flow, *numbers: int) -> None:
    for number in numbers:
        flow.close(number)
    await settle()


@pytest.mark.parametrize("deterministic", [True, False])
async def test_founders_start_at_once_whatever_the_look_ahead(deterministic: bool) -> None:
    flow = Flow(4, 1, deterministic=deterministic)
    async with starting(flow, 10) as started:
        assert started == [0, 1, 2, 3]
        assert flow.num_open == 4


async def test_deterministic_mode_starts_a_number_when_all_that_it_may_know_of_are_closed() -> None:
    flow = Flow(2, 3, deterministic=True)
    async with starting(flow, 8) as started:
        assert started == [0, 1, 2]
        await close(flow, 1, 2)
        assert started == [0, 1, 2], "3 waits for 0, however many others are closed"
        await close(flow, 0)
        assert started == [0, 1, 2, 3, 4, 5]
        await close(flow, 5, 4)
        assert started[-1] == 5
        await close(flow, 3)
        assert started == list(range(8))


async def test_deterministic_mode_shows_a_number_the_same_others_in_any_order_of_finishing() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        flow, closed = Flow(3, 4, deterministic=True), set[int]()
        async with starting(flow, 20) as started:
            seen = 0
            while len(closed) < 20:
                for number in started[seen:]:
                    horizon = flow.horizon(number)
                    assert horizon == number - 4
                    assert number < 3 or closed.issuperset(range(horizon + 1))
                seen = len(started)
                number = int(rng.choice(sorted(set(started) - closed)))
                closed.add(number)
                await close(flow, number)
            assert started == list(range(20))


async def test_otherwise_look_ahead_bounds_how_many_are_in_flight() -> None:
    flow = Flow(3, 2, deterministic=False)
    async with starting(flow, 8) as started:
        await close(flow, 1)
        assert started == [0, 1, 2], "two founders in flight are as many as may be"
        await close(flow, 2)
        assert started == [0, 1, 2, 3], "a slow founder holds nobody up"
        await close(flow, 3)
        assert started == [0, 1, 2, 3, 4]
        assert flow.num_open == 2
    assert flow.horizon(7) is None


async def test_a_resumed_flow_leaves_closed_numbers_out() -> None:
    flow = Flow(2, 2, deterministic=True, closed={0, 1, 2, 4})
    assert list(flow.numbers(7)) == [3, 5, 6]
    async with starting(flow, 7) as started:
        assert started == [3]
        await close(flow, 3)
        assert started == [3, 5, 6]


async def test_a_resumed_flow_does_not_wait_for_closed_founders() -> None:
    flow = Flow(2, 2, deterministic=False, closed={0, 1})
    await asyncio.wait_for(flow.founder(), timeout=200)
    await asyncio.wait_for(flow.all_founders(), timeout=200)


async def test_founders_are_waited_for_until_explored_or_closed() -> None:
    flow = Flow(3, 2, deterministic=False, closed={2})
    first, everybody = asyncio.create_task(flow.founder()), asyncio.create_task(flow.all_founders())
    await settle()
    assert (first.done(), everybody.done()) == (False, False)
    flow.explored(0)
    await settle()
    assert (first.done(), everybody.done()) == (True, False)
    flow.explored(7)
    await settle()
    assert not everybody.done(), "7 is no founder"
    flow.close(1)
    await asyncio.wait_for(everybody, timeout=200)


async def test_who_was_trained_and_waits_keeps_no_slot_idle() -> None:
    flow = Flow(1, LookAhead(2, trial_s=10.0, most=5), deterministic=False, clock=lambda: 0.0)
    async with starting(flow, 10) as started:
        assert started == [0, 1, 2], "two slots, and one that waits for them"
        with flow.at_slots(1):
            pass
        await settle()
        assert started == [0, 1, 2, 3], "1 has given its slot back, and waits for the founder to be scored"
        for number in (2, 3):
            with flow.at_slots(number):
                pass
            await settle()
        assert started == [0, 1, 2, 3, 4], "as many in flight as may be, trained or not"
        with flow.at_slots(1):  # mended, and trained again
            await close(flow, 2, 3)
            assert started == [0, 1, 2, 3, 4]
        await settle()
        assert started == [0, 1, 2, 3, 4, 5]

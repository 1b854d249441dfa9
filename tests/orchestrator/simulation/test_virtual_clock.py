"""A clock that jumps to whatever happens next."""

from __future__ import annotations

import asyncio
import time

import pytest

from orchestrator.simulation.clock import VirtualClock, run


def test_waiting_takes_no_time_and_happens_in_order() -> None:
    clock, seen = VirtualClock(1000.0), list[tuple[str, float]]()

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, clock.now()))

    async def main() -> None:
        await asyncio.gather(wait("late", 86_400.0), wait("early", 1.5), wait("between", 3600.0))

    since = time.monotonic()
    run(clock, main())
    assert time.monotonic() - since < 60
    assert [name for name, _ in seen] == ["early", "between", "late"]
    assert [at for _, at in seen] == pytest.approx([1001.5, 4600.0, 87_400.0])


def test_what_holds_the_loop_up_delays_everybody() -> None:
    clock = VirtualClock()

    async def main() -> float:
        waiting = asyncio.create_task(asyncio.sleep(1.0))
        await asyncio.sleep(0.5)
        clock.spend(10.0)
        await waiting
        return clock.seconds()

    assert run(clock, main()) == pytest.approx(10.5)


def test_a_simulation_in_which_everybody_waits_says_so() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="stands still"):
        run(VirtualClock(), main())


def test_a_time_out_is_of_the_virtual_clock() -> None:
    async def main() -> None:
        async with asyncio.timeout(3600):
            await asyncio.sleep(7200)

    with pytest.raises(TimeoutError):
        run(VirtualClock(), main())

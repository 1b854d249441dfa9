"""How many candidates are wanted in flight: enough for no slot to wait, and no more."""

from __future__ import annotations

import heapq

import pytest

from orchestrator.look_ahead import LookAhead


def idle_share(num_slots: int, outside_s: float, trial_s: float, num: int = 400) -> float:
    """Share of slot time in which nobody trains, after a start of 100 candidates, by a simulation of the flow."""
    look = LookAhead(num_slots, trial_s=trial_s, most=1_000)
    now, started, free = 0.0, 0, [0.0] * num_slots
    writing: list[tuple[float, float]] = []  # ready at, began at
    flying: list[tuple[float, float, float]] = []  # ends at, began at, time at slots
    trained_s, since = 0.0, 0.0
    while started < num or writing or flying:
        while started < num and len(writing) + len(flying) < look.wanted([now - began for _, began in writing]):
            heapq.heappush(writing, (now + outside_s, now))
            started += 1
        nexts = ([writing[0][0]] if writing else []) + ([flying[0][0]] if flying else [])
        now = min(nexts)
        if writing and writing[0][0] <= now:
            ready, began = heapq.heappop(writing)
            slot = heapq.heappop(free)
            end = max(ready, slot) + trial_s
            heapq.heappush(free, end)
            heapq.heappush(flying, (end, began, end - ready))
            if started > 100:
                since = since or now
                trained_s += trial_s
        else:
            end, began, at_slots = heapq.heappop(flying)
            look.trained(trial_s)
            look.closed(end - began, at_slots)
    return 1 - trained_s / (num_slots * (now - since))


@pytest.mark.parametrize("num_slots", [1, 2, 16])
@pytest.mark.parametrize("outside_s", [0.01, 1.0, 60.0])
def test_no_slot_waits_however_long_writing_takes(num_slots: int, outside_s: float) -> None:
    assert idle_share(num_slots, outside_s, trial_s=10.0) < 0.1


def test_quick_writers_are_not_let_run_ahead() -> None:
    look = LookAhead(2, trial_s=10.0, most=64)
    assert look.wanted() == 3
    look.closed(lifetime_s=12.0, queued_and_trained_s=11.9)
    assert look.wanted() == 4


def test_a_writer_that_has_not_answered_yet_counts_by_its_age() -> None:
    look = LookAhead(2, trial_s=10.0, most=64)
    assert [look.wanted([age, age]) for age in (0.0, 20.0, 60.0, 6_000.0)] == [3, 7, 15, 64]


def test_what_trials_take_replaces_what_was_expected() -> None:
    look = LookAhead(2, trial_s=1.0, most=1_000)
    for _ in range(40):
        look.trained(100.0)
        look.closed(lifetime_s=150.0, queued_and_trained_s=100.0)
    assert look.wanted() == 2 + 1 + 1

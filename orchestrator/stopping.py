"""Stops: who asks for one, who waits for it, what is still finished, and which errors are the user's to mend."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from models.scale import Scale
from orchestrator.errors import BudgetReached, UsageError
from orchestrator.estimate import rest_s
from orchestrator.population import Population

if TYPE_CHECKING:
    from orchestrator.board import RunningTrial

Outcome = TypeVar("Outcome")

_ONE_SIGNAL_S = 1.0
PATIENCE = 2.0  # what is nearly done may take so many times the grace, since rests are estimates


class Halt:
    """The first reason to stop. Nothing is torn down by asking: whoever would start something new waits for ever."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.at_once = False
        self.fault = False  # something broke: nobody wanted this end
        self._signalled_at: float | None = None

    def ask(self, reason: str, *, at_once: bool = False, fault: bool = False) -> None:
        """Stop gracefully, or without finishing anything; the first reason stays."""
        self.fault = self.fault or (fault and self.reason is None)
        self.reason = self.reason or reason
        self.at_once = self.at_once or at_once

    def signalled(self, name: str, now: float) -> None:
        """Ctrl-C or SIGTERM: gracefully the first time, at once the second.

        What runs the campaign may send one to it and to its group: two within a second are one.
        """
        again = self._signalled_at is not None and now - self._signalled_at > _ONE_SIGNAL_S
        self.ask(name, at_once=again)
        self._signalled_at = now if self._signalled_at is None else self._signalled_at

    async def gate(self) -> None:
        """Before something new: returns at once, or never once the campaign is to stop."""
        if self.reason is not None:
            await _for_ever()

    async def within_budget(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Do something that a limit may end: that is a reason to stop, and what others have under way goes on."""
        try:
            return await work
        except BudgetReached as reached:
            self.ask(str(reached))
        await _for_ever()


class Ending:
    """What is still finished once there is a reason to stop, and how long that may take.

    Args:
        nearly_done: trials that are waited for.
        grace_s: seconds that the rest of a trial may be expected to take, and that calls of models are waited for.
        now: seconds of a monotonic clock.
    """

    def __init__(self, nearly_done: Sequence[str], grace_s: float, now: float) -> None:
        self.nearly_done = tuple(nearly_done)
        self._grace_s, self._since = grace_s, now

    def over(self, population: Population, num_calls: int, now: float) -> bool:
        """Nothing is waited for any more; `num_calls` of models wait for an answer that is paid for."""
        waited_s = now - self._since
        trained = all(population.has_trial(trial_id) for trial_id in self.nearly_done)
        answered = num_calls == 0 or waited_s >= self._grace_s
        return (trained or waited_s >= PATIENCE * self._grace_s) and answered


def nearly_done(
    running: Sequence[RunningTrial], scale: Scale, means_s: Mapping[str, float | None], grace_s: float
) -> Sequence[str]:
    """Trials whose expected rest is within the grace; `means_s` are what finished trials of a stage took."""
    rests = {trial.trial_id: rest_s(trial, scale.stage(trial.stage), means_s.get(trial.stage)) for trial in running}
    return [trial_id for trial_id, rest in rests.items() if grace_s > 0 and rest <= grace_s]


def on_signals(stop: Callable[[str], None]) -> None:
    """Ctrl-C and SIGTERM (as `ray job stop` sends it) are a clean stop; only the main thread can hear them."""
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, signal.Signals(number).name)


def users_error(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first error of a group when all of them are the user's to mend; otherwise it goes on as it is."""
    errors, others = group.split(UsageError)
    if errors is None or others is not None:
        raise group
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _for_ever() -> NoReturn:
    """Until it is cancelled."""
    while True:
        await asyncio.get_running_loop().create_future()

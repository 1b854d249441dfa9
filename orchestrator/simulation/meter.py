"""Whose processor time it is: the driver's code runs here for real, and beside it what other processes would run."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any

DRIVER, OUTSIDE = "driver", "outside"


class Meter:
    """Processor seconds by process; what nobody claims is the driver's."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self._clock = clock
        self._cpu_s: dict[str, float] = defaultdict(float)
        self._who, self._since = DRIVER, clock()
        self.message_bytes: Counter[str] = Counter()  # that the driver sent, by actor
        self.num_messages: Counter[str] = Counter()

    def cpu_s(self, who: str) -> float:
        self._switch(self._who)
        return self._cpu_s[who]

    @contextmanager
    def of(self, who: str) -> Iterator[None]:
        former = self._switch(who)
        try:
            yield
        finally:
            self._switch(former)

    def _switch(self, who: str) -> str:
        now, former = self._clock(), self._who
        self._cpu_s[former] += now - self._since
        self._who, self._since = who, now
        return former


class _Metered(Coroutine[Any, Any, Any]):
    """A coroutine each step of which is charged to somebody."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], meter: Meter, who: str) -> None:
        self._coroutine, self._meter, self._who = coroutine, meter, who

    def send(self, value: Any) -> Any:
        with self._meter.of(self._who):
            return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        with self._meter.of(self._who):
            return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()


class Handle:
    """An actor as whoever asks it sees it: `handle.method.remote(...)` is under way at once, and can be awaited.

    Args:
        actor: has the methods, as coroutines.
        who: whose processor time they take.
        sent: what the driver sends is pickled as Ray would do it, and counted.
    """

    def __init__(self, actor: Any, meter: Meter, who: str, *, sent: bool = True) -> None:
        self._actor, self._meter, self._who, self._sent = actor, meter, who, sent

    def __getattr__(self, name: str) -> _Method:
        method = _Method(getattr(self._actor, name), self._meter, self._who, sent=self._sent)
        setattr(self, name, method)
        return method


class _Method:
    def __init__(self, method: Callable[..., Any], meter: Meter, who: str, *, sent: bool) -> None:
        self._method, self._meter, self._who, self._sent = method, meter, who, sent

    def remote(self, *arguments: Any, **named: Any) -> asyncio.Task[Any]:
        if self._sent:
            self._meter.message_bytes[self._who] += len(pickle.dumps((arguments, named), protocol=5))
            self._meter.num_messages[self._who] += 1
        coroutine = _Metered(self._method(*arguments, **named), self._meter, self._who)
        return asyncio.get_running_loop().create_task(coroutine)

"""Clean stops: what signals ask for, and which errors are the user's to mend."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

from orchestrator.errors import UsageError


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

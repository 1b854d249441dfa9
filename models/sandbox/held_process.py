"""Processes of the parent's that can be killed without fear that their number has gone to another."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import weakref
from contextlib import suppress
from typing import Protocol


class HeldProcess(Protocol):
    """A process that can be killed without fear that its number has gone to another."""

    def has_ended(self, timeout_s: float) -> bool: ...

    def kill(self) -> None: ...


class Launched:
    """A child of this process, unreaped until it is known to have ended."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def has_ended(self, timeout_s: float) -> bool:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        self._process.kill()


class Detached:
    """A process that is no child of this one, held by a pidfd. The caller has just heard from it, so it is the one."""

    def __init__(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._fd)

    def has_ended(self, timeout_s: float) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1_000))

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)

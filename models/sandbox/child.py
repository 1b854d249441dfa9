"""The first lines that run in a confined child: its channel, and the boundary that turns any end into a message."""

from __future__ import annotations

import linecache
import mmap
import os
import socket
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NoReturn

from models.sandbox import wire
from models.sandbox.layer import Layer

CANDIDATE_FILE = "<candidate>"
"""Traceback frames of this file are the candidate's own lines; models.loading compiles under this name."""

RANK_LOST = "rank_lost"
"""The kind of a failure that is only the consequence of another rank's (models.sandbox.gang)."""

LOST = 4
"""The exit code of a rank that ended for want of another one."""

_MAX_DETAIL = 4_000
# Given back to the kernel when a task fails: one that was refused memory has left none to say so.
_RESERVE_BYTES = 4 << 20
_REFUSED_ALLOCATION = "DefaultCPUAllocator: can't allocate memory"
_FULL_GPU = "OutOfMemoryError"


class TaskError(Exception):
    """A task ends without a result for a reason that has a name."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Channel:
    """The child's end: messages to and from the parent, and the files that it handed over."""

    def __init__(self, connection: socket.socket, handed_fds: tuple[int, ...], layers: tuple[Layer, ...] = ()) -> None:
        self._connection = connection
        self.handed_fds = handed_fds
        self.layers = layers
        self.rank, self.num_ranks = 0, 1

    def receive(self) -> wire.Message:
        """The parent's next message; the parent is trusted, so its arrays may have any size."""
        return wire.receive(self._connection, max_array_bytes=1 << 50)

    def send(
        self,
        kind: str,
        body: Mapping[str, wire.Json] | None = None,
        arrays: Mapping[str, wire.Array] | None = None,
    ) -> None:
        wire.send(self._connection, kind, body, arrays)

    def fail(self, failure: str, detail: str) -> int:
        """Tell that the task ended without a result; the exit code to leave with."""
        self.send("failed", {"failure": failure, "detail": detail})
        return 2


Task = Callable[[Channel], None]


def run(task: Task, channel: Channel) -> NoReturn:
    """Run the task to its end and leave the process; what it raises becomes a `failed` message, with its traceback."""
    code = 0
    reserve = mmap.mmap(-1, _RESERVE_BYTES, flags=mmap.MAP_PRIVATE)
    try:
        task(channel)
    except wire.PeerGoneError:
        # The parent, or rank 0, has turned away: nobody is left to tell.
        code = LOST if channel.rank else 3
    except BaseException as error:  # noqa: BLE001  the child's process boundary: a candidate may raise anything
        code = 2
        reserve.close()
        code = channel.fail(*_explain(error))
    finally:
        os._exit(code)


def _explain(error: BaseException) -> tuple[str, str]:
    if isinstance(error, TaskError):
        return error.kind, error.detail[:_MAX_DETAIL]
    return kind_of(error), trimmed_traceback(error)


def kind_of(error: BaseException | None) -> str:
    """What kind of failure an error is whose type names none: memory where an allocation was refused."""
    # On the CPU torch says so with a plain RuntimeError, on a GPU with a type of its own; this room imports no torch.
    refused = isinstance(error, MemoryError) or (error is not None and _REFUSED_ALLOCATION in _message(error))
    return "memory" if refused or type(error).__name__ == _FULL_GPU else "error"


def trimmed_traceback(error: BaseException) -> str:
    """The candidate's own lines of a traceback, innermost last, then type and message.

    Where none of the lines is the candidate's, the innermost two frames stand in, by file name without folder.
    """
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__
    lines = [line for one in reversed(chain) for line in _frames(one.__traceback__, own_only=True)]
    if not lines:
        lines = _frames(error.__traceback__, own_only=False)[-2:]
    return "\n".join([*lines[-12:], f"{type(error).__name__}: {_message(error)}"])[:_MAX_DETAIL]


def _frames(trace: TracebackType | None, *, own_only: bool) -> list[str]:
    lines = []
    for frame in traceback.extract_tb(trace):
        own = frame.filename == CANDIDATE_FILE
        if own or not own_only:
            where = "candidate" if own else os.path.basename(frame.filename)
            text = frame.line or linecache.getline(frame.filename, frame.lineno or 0).strip()
            lines.append(f"{where} line {frame.lineno}, in {frame.name}: {text}".rstrip(": "))
    return lines


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  the candidate's own __str__, on the child's side of the boundary
        return "(its message cannot be printed)"

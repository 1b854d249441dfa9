"""The parent's side of the sandbox: start the fork server, spawn children, talk to them, kill them.

Runs inside a Ray worker: standard library and numpy only. Every method may be called from any thread; a child's
`receive` and `send` belong to one thread at a time, its `kill` to any.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np

from models.sandbox import leavings, wire
from models.sandbox.held_process import Detached, HeldProcess, Launched
from models.sandbox.jail import Cause, Device, Layer, Limits, scrubbed
from models.scratch import Scratch

_REQUEST_TIMEOUT_S = 30.0
_KILL_TIMEOUT_S = 1.5
_CLOSE_TIMEOUT_S = 10.0
_ROOT = Path(__file__).resolve().parents[2]


Require = Literal["available", "full"]
"""Which layers of the jail have to hold: those that this machine has, or every one that Linux can have."""

_USE_OF: dict[Cause, str] = {"memory": "memory", "processes": "processes and threads", "disk": "the disk"}


class SandboxError(RuntimeError):
    """The fork server cannot do what was asked; nothing that a candidate's child says raises this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child's process ended; both None when nobody could tell."""

    code: int | None = None
    signal: int | None = None
    log: str = ""  # the last of what it printed: untrusted text
    cause: Cause | None = None  # the limit for which the watch ended it
    excess: str = ""  # by how much it was past that limit
    by_server: bool = False  # it had not ended when the server was asked to end it

    @property
    def with_server(self) -> bool:
        """The fork server went down with it, which may not be the child's doing."""
        return self.code is None and self.signal is None

    @property
    def by_outsider(self) -> bool:
        """Somebody killed it whom the server knows nothing of: perhaps not the child's doing either."""
        return self.signal == signal.SIGKILL and self.cause is None and not self.by_server

    def describe(self) -> str:
        """One line for a failure's detail, with what the child printed last."""
        if self.cause is not None:
            how = f"the child was ended for its use of {_USE_OF[self.cause]}: {self.excess}"
        elif self.by_server:
            how = "the connection to the child was closed, and the child ended"
        elif self.signal is not None:
            name = signal.Signals(self.signal).name if self.signal in set(signal.Signals) else f"signal {self.signal}"
            how = f"the child was ended by {name}"
        elif self.code is not None:
            how = f"the child ended with exit code {self.code}"
        else:
            how = "the child ended with the fork server"
        return f"{how}\n{self.log}".rstrip()


class Child:
    """One confined process with a task; leaving the context kills it and everything it started."""

    def __init__(self, *, server: _Server, number: int, pid: int, connection: socket.socket, deadline: float) -> None:
        self.pid = pid
        self._server = server
        self._number = number
        self._connection = connection
        self._deadline = deadline
        self._lock = threading.Lock()
        self._ended: Ended | None = None

    def send(
        self,
        kind: str,
        body: Mapping[str, wire.Json] | None = None,
        arrays: Mapping[str, wire.Array] | None = None,
    ) -> None:
        """Send a message before the child's deadline. Raises wire.WireError, and ValueError for an unsendable body."""
        wire.send(self._connection, kind, body, arrays, deadline=self._deadline)

    def receive(self, *, max_array_bytes: int = 0, timeout_s: float | None = None) -> wire.Message:
        """The child's next message. Raises wire.WireError; PeerSilentError is this timeout or the child's deadline."""
        deadline = self._deadline if timeout_s is None else min(self._deadline, time.monotonic() + timeout_s)
        return wire.receive(self._connection, max_array_bytes=max_array_bytes, deadline=deadline)

    def kill(self) -> Ended:
        """Kill the child's whole tree; idempotent. A `receive` under way in another thread ends with PeerGoneError."""
        with self._lock:
            if self._ended is None:
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
                self._ended = self._server.kill(self._number)
            return self._ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._connection.close()


class ForkServer:
    """A fork server that is started when first needed, and started anew when it has been lost.

    `tasks` names a module with `TASKS` (name -> task) and `warm_up()` or `warm_up(device)`; importing it is the
    preload. Where several processes shall run a task, it has a `rendezvous` as well (models.sandbox.gang).

    `search_path` adds folders to the server's import path. The import path of our own packages is passed on from
    wherever they are.

    `device` is what the children compute on: on "cuda" they may start compilers and speak to the card, so that the
    jail is wider. `require="full"` refuses to start where a layer of the jail is missing that Linux can have.
    `compile_cache` names a trusted folder whose content every child on CUDA finds in the caches of its compilers.
    """

    def __init__(
        self,
        *,
        tasks: str = "models.sandbox.tasks",
        search_path: Sequence[str] = (),
        limits: Limits | None = None,
        require: Require = "available",
        device: Device = "cpu",
        compile_cache: str | None = None,
        start_timeout_s: float = 180.0,
    ) -> None:
        for name, value, choices in (("require", require, get_args(Require)), ("device", device, get_args(Device))):
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
        self._tasks = tasks
        self._search_path = tuple(search_path)
        self._require = require
        self._settings = json.dumps(
            {
                "limits": asdict(limits or Limits.for_device(device)),
                "device": device,
                "compile_cache": compile_cache,
            }
        )
        self._start_timeout_s = start_timeout_s
        self._lock = threading.Lock()
        self._server: _Server | None = None

    def start(self) -> int:
        """Have a server that is ready, and return its process id. Raises SandboxError when it cannot be started."""
        return self._ready().pid

    def layers(self) -> tuple[Layer, ...]:
        """The layers of the jail as a first child found them. Raises SandboxError like `start`."""
        return self._ready().layers

    def spawn(
        self,
        task: str,
        body: Mapping[str, wire.Json] | None = None,
        arrays: Mapping[str, wire.Array] | None = None,
        fds: Sequence[int] = (),
        *,
        deadline_s: float,
        num_processes: int = 1,
    ) -> Child:
        """Fork a child that runs `task`, and send it its first message, of kind "start".

        With several processes all of them run it, and one of them speaks (models.sandbox.gang): one child to all here.

        `fds` are handed over to the child (the caller keeps its own). The child may be spoken with for `deadline_s`
        seconds; the caller kills it then. Raises SandboxError, wire.WireError and, for a bad body, ValueError.
        """
        deadline = time.monotonic() + deadline_s
        server = self._ready()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                number, pid = server.spawn(task, (theirs.fileno(), *fds), num_processes)
        except BaseException:
            ours.close()
            raise
        child = Child(server=server, number=number, pid=pid, connection=ours, deadline=deadline)
        try:
            child.send("start", body, arrays)
        except BaseException:
            with child:
                raise
        return child

    def close(self) -> None:
        """End the server and all its children."""
        with self._lock:
            if self._server is not None:
                self._server.close()
                self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> _Server:
        with self._lock:
            if self._server is not None and not self._server.is_alive():
                self._server.close()
                self._server = None
            if self._server is None:
                server = _Server(
                    tasks=self._tasks,
                    search_path=self._search_path,
                    settings=self._settings,
                    start_timeout_s=self._start_timeout_s,
                )
                missing = [layer for layer in server.layers if layer.required and not layer.in_force]
                if missing and self._require == "full":
                    server.close()
                    raise SandboxError(_incomplete(missing))
                self._server = server
            return self._server


class _Server:
    """One running server process and the request in flight to it."""

    def __init__(self, *, tasks: str, search_path: tuple[str, ...], settings: str, start_timeout_s: float) -> None:
        self._lock = threading.Lock()
        self._lost = False
        self._owned = Scratch("sandbox-")
        self._scratch = str(self._owned.path)
        self._log = Path(self._scratch, "server.log")
        self._control, theirs = socket.socketpair()
        with theirs, self._log.open("wb") as log:
            launched = subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # the working directory is no place to import from
                    "-m",
                    "models.sandbox.server",
                    str(theirs.fileno()),
                    self._scratch,
                    tasks,
                    settings,
                ],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_server_environment(search_path, self._scratch),
                start_new_session=True,
            )
        self._process: HeldProcess = Launched(launched)
        deadline = time.monotonic() + start_timeout_s
        try:
            self.pid = wire.receive(self._control, deadline=deadline).integer("pid")
            if sys.platform == "linux":
                self._process = Detached(self.pid)
                launched.wait()
            greeting = wire.receive(self._control, deadline=deadline)
        except (wire.WireError, OSError) as error:
            detail = f"{error}\n{self._log.read_text(errors='replace')[-2_000:]}"
            self.close()
            raise SandboxError(f"the fork server did not start: {detail}") from error
        if greeting.kind != "ready":
            self.close()
            raise SandboxError(f"the fork server cannot serve {tasks}:\n{greeting.text('detail')}")
        self.layers = tuple(Layer(**row) for row in greeting.rows("layers"))  # type: ignore[arg-type]

    def is_alive(self) -> bool:
        return not self._lost and not self._process.has_ended(0)

    def spawn(self, task: str, fds: tuple[int, ...], num_processes: int) -> tuple[int, int]:
        """Number and process id of a new child. Raises SandboxError."""
        try:
            with self._lock:
                deadline = time.monotonic() + _REQUEST_TIMEOUT_S
                request: dict[str, wire.Json] = {"task": task, "num_fds": len(fds), "num_processes": num_processes}
                wire.send(self._control, "spawn", request, deadline=deadline)
                socket.send_fds(self._control, [b"F"], fds)
                reply = wire.receive(self._control, deadline=deadline)
        except (wire.WireError, OSError) as error:
            self._abandon()
            raise SandboxError(f"the fork server was lost while it forked a child: {error}") from error
        if reply.kind != "spawned":
            raise SandboxError(f"the fork server refused the task {task!r}: {reply.text('detail')}")
        return reply.integer("child"), reply.integer("pid")

    def kill(self, number: int) -> Ended:
        """End a child. A server that does not answer in time is killed itself, which ends all its children."""
        try:
            with self._lock:
                deadline = time.monotonic() + _KILL_TIMEOUT_S
                wire.send(self._control, "kill", {"child": number}, deadline=deadline)
                reply = wire.receive(self._control, deadline=deadline)
        except wire.WireError:
            self._abandon()
            return Ended()
        return Ended(
            code=reply.optional_integer("code"),
            signal=reply.optional_integer("signal"),
            log=reply.text("log") if "log" in reply.body else "",
            cause=_cause(reply.body.get("cause")),
            excess=reply.text("detail") if "detail" in reply.body else "",
            by_server=reply.body.get("by_server") is True,
        )

    def close(self) -> None:
        """Let the server end its children and itself; kill it when it does not."""
        self._lost = True
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        if not self._process.has_ended(_CLOSE_TIMEOUT_S):
            self._abandon()
        self._control.close()
        self._owned.release()
        leavings.remove(self._scratch, timeout_s=_CLOSE_TIMEOUT_S)

    def _abandon(self) -> None:
        """Kill a server that no longer answers: its children die with it."""
        self._lost = True
        self._process.kill()
        self._process.has_ended(_CLOSE_TIMEOUT_S)


@contextmanager
def lent(tokens: wire.Array) -> Iterator[int]:
    """A file with the array's bytes to hand to children: in memory and sealed against change where Linux has that."""
    with ExitStack() as stack:
        if sys.platform == "linux":
            file = stack.enter_context(
                os.fdopen(os.memfd_create("tokens", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb")
            )
        else:
            file = stack.enter_context(tempfile.TemporaryFile())
        file.write(np.ascontiguousarray(tokens).reshape(-1).view(np.uint8).data)
        file.flush()
        if sys.platform == "linux":
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
            fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, seals)
        yield file.fileno()


def _incomplete(missing: Sequence[Layer]) -> str:
    lines = [f"  {layer.name}: {layer.detail}; to have it: {layer.remedy}" for layer in missing]
    return "\n".join(
        [
            f'the sandbox lacks {len(missing)} of its layers, and require is "full":',
            *lines,
            "or go on without them: sandbox.require=available",
        ]
    )


def _cause(value: wire.Json) -> Cause | None:
    return next((cause for cause in get_args(Cause) if cause == value), None)


def _server_environment(search_path: tuple[str, ...], scratch: str) -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    inherited = os.environ.get("PYTHONPATH")
    paths = [str(_ROOT), *search_path, *([inherited] if inherited else [])]
    return {
        **scrubbed(os.environ),
        **threads,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
        "LANG": "C.UTF-8",
        "LOGNAME": "sandbox",  # torch asks for a user name, which the user's id need not have
        "HOME": scratch,
    }

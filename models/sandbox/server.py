"""The fork server: imports everything once, then forks a confined child per task.

`python -m models.sandbox.server CONTROL_FD SCRATCH TASKS SETTINGS` has its own main, so that no child carries the
parent's interpreter. It has one thread and answers one request at a time over the control socket:

    spawn {task, num_fds, num_processes} + descriptors (the child's socket first)
                  ->  spawned {child, pid} | refused {detail}
    kill {child}  ->  ended {code, signal, log, cause, detail, by_server}

A child of several processes is a gang (models.sandbox.gang): one child to all that is said here.

Between requests it looks at what its children use (models.sandbox.watch) and ends those that are past a limit.

It is the only process that signals children, since it alone knows which process ids are unreaped: a number is never
signalled after it may have been given to somebody else. When a child ends, or is to end, its process group is killed,
then every process that was orphaned to this server (it is their subreaper), until none is left. An orphan therefore
lives no longer than a look of the watch. The server ends with its parent: the control socket's EOF kills all.

Not guaranteed: survival of a child that kills the server, where neither file rules nor a user of its own hold it back;
the parent starts a new one then.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from models.sandbox import leavings, linux, wire
from models.sandbox.child import Channel, Task, run
from models.sandbox.gang import Rendezvous, channel_of
from models.sandbox.jail import Device, Jail, Limits, Tools, confine, prepare
from models.sandbox.watch import Excess, Watch, usage_of

_LOG_TAIL_BYTES = 2_000
_LOOK_S = 0.2
_PROBE_TIMEOUT_S = 30.0
_REMOVAL_S = 0.2  # for one try at what a child left
_LAST_REMOVAL_S = 8.0
_DEATH_WAIT_S = 0.7  # less than the parent waits for an answer
_MAX_FDS = 64
_MAX_PROCESSES = 64
_PF_EXITING = 0x4  # of the flags in /proc/PID/stat


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    number: int
    pid: int
    scratch: str
    log_fd: int
    watch: Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How children are confined; sent by the parent as JSON."""

    limits: Limits
    device: Device
    compile_cache: str | None

    @classmethod
    def parsed(cls, text: str) -> Settings:
        """The settings that the parent wrote."""
        table = json.loads(text)
        return cls(limits=Limits(**table["limits"]), device=table["device"], compile_cache=table["compile_cache"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Preloaded:
    """What children can be asked to run, and how several of them meet."""

    tasks: Mapping[str, Task]
    rendezvous: Rendezvous | None


class Server:
    """The state of the fork server's one thread."""

    def __init__(
        self, *, control: socket.socket, preloaded: Preloaded, scratch: str, settings: Settings, tools: Tools
    ) -> None:
        self._control = control
        self._preloaded = preloaded
        self._scratch = scratch
        self._settings = settings
        self._tools = tools
        self._children: dict[int, _Child] = {}
        self._ended: dict[int, dict[str, wire.Json]] = {}
        self._next_number = 0
        self._dying: set[int] = set()  # killed, and told so, but not yet taken apart by the kernel
        self._next_look = 0.0
        self._leavings: list[str] = []  # folders that could not be removed at once

    def layers(self) -> list[wire.Json]:
        """The layers that hold, as rows: found by confining a child. Raises RuntimeError when it cannot be."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                child = self._fork(_tell_layers, (theirs.fileno(),), 1)
            try:
                told = wire.receive(ours, deadline=time.monotonic() + _PROBE_TIMEOUT_S)
            except wire.WireError as error:
                self._end(child)
                raise RuntimeError(
                    f"a child could not be confined: {error}\n{self._ended[child.number]['log']}"
                ) from error
        self._end(child)
        del self._ended[child.number]
        return [*told.rows("layers")]

    def serve(self) -> None:
        """Answer requests until the parent closes the control socket; leaves no descendant behind."""
        wake, waker = socket.socketpair()
        wake.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(wake, selectors.EVENT_READ)
                selector.register(self._control, selectors.EVENT_READ)
                while True:
                    for key, _ in selector.select(_LOOK_S if self._children or self._leavings else None):
                        if key.fileobj is wake:
                            if {signal.SIGTERM, signal.SIGINT} & set(wake.recv(4096)):
                                return
                            self._reap()
                        else:
                            self._answer(wire.receive(self._control))
                    if (began := time.monotonic()) >= self._next_look:
                        self._look()
                        now = time.monotonic()
                        self._next_look = now + max(_LOOK_S, now - began)  # half of its time at most
        except wire.PeerGoneError:
            return
        finally:
            for child in list(self._children.values()):
                self._end(child)

    def _answer(self, request: wire.Message) -> None:
        if request.kind == "spawn":
            num_fds = request.integer("num_fds", low=1, high=_MAX_FDS)
            _, fds, _, _ = socket.recv_fds(self._control, 1, num_fds)
            try:
                num = request.integer("num_processes", low=1, high=_MAX_PROCESSES)
                if num > 1 and self._preloaded.rendezvous is None:
                    raise ValueError("these tasks have no rendezvous, which several processes need to meet")
                child = self._fork(self._preloaded.tasks[request.text("task")], tuple(fds), num)
            except (OSError, KeyError, ValueError, wire.MalformedError) as error:
                wire.send(self._control, "refused", {"detail": f"{type(error).__name__}: {error}"})
            else:
                wire.send(self._control, "spawned", {"child": child.number, "pid": child.pid})
            finally:
                for fd in fds:
                    os.close(fd)
        elif request.kind == "kill":
            number = request.integer("child")
            if number in self._children:
                self._end(self._children[number])
            wire.send(self._control, "ended", self._ended.pop(number, {}))
        else:
            wire.send(self._control, "refused", {"detail": f"no such request: {request.kind}"})

    def _fork(self, task: Task, fds: tuple[int, ...], num_processes: int) -> _Child:
        scratch = tempfile.mkdtemp(prefix="child-", dir=self._scratch)
        log_path = Path(self._scratch, f"{Path(scratch).name}.log")
        log_fd = os.open(log_path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        log_path.unlink()
        limits, usage = self._settings.limits, usage_of(os.getpid())
        if num_processes > 1:
            limits = limits.of_gang(num_processes)
        jail = Jail(
            scratch=scratch,
            log_fd=log_fd,
            kept_fd=fds[0],
            handed_fds=fds[1:],
            server_pid=os.getpid(),
            limits=limits,
            device=self._settings.device,
            tools=self._tools,
            compile_cache=self._settings.compile_cache,
            num_processes=num_processes,
        )
        try:
            pid = os.fork()
        except OSError:
            os.close(log_fd)
            os.rmdir(scratch)
            raise
        if pid == 0:
            _live(task, jail, self._preloaded.rendezvous)
        watch = Watch(
            pid=pid,
            scratch=scratch,
            log_fd=log_fd,
            limits=limits,
            handed_fds=jail.handed_fds,
            forked_bytes=usage.private_bytes if usage is not None else 0,
        )
        child = _Child(number=self._next_number, pid=pid, scratch=scratch, log_fd=log_fd, watch=watch)
        self._next_number += 1
        self._children[child.number] = child
        return child

    def _look(self) -> None:
        """End the children that are past a limit, and the orphans; go on removing what children left."""
        for child in list(self._children.values()):
            if child.number not in self._dying and (excess := child.watch.excess()) is not None:
                self._end(child, excess)
        self._kill_strays(time.monotonic() + _LOOK_S)
        self._leavings = [folder for folder in self._leavings if not leavings.remove(folder, timeout_s=_REMOVAL_S)]

    def _reap(self) -> None:
        for child in list(self._children.values()):
            if _has_ended(child.pid):
                self._end(child)
        self._kill_strays(time.monotonic() + _LOOK_S)

    def _end(self, child: _Child, excess: Excess | None = None) -> None:
        """Kill what is left of a child and of everything it started, then reap it and remove its scratch folder.

        Takes no longer than _DEATH_WAIT_S: the kernel may need longer to take many gigabytes apart, and reaping waits
        for a later look then. Nothing of the child's runs any more.
        """
        give_up = time.monotonic() + (0 if child.number in self._dying else _DEATH_WAIT_S)
        by_server = not _is_ending(child.pid)
        # The child is unreaped until waitpid below, so that its number, as process and as group, is still its own.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        os.kill(child.pid, signal.SIGKILL)  # before its setsid it is in no group of its own
        _await_end(child.pid, give_up)
        self._kill_strays(give_up)
        reaped, status = os.waitpid(child.pid, os.WNOHANG)
        if not reaped:
            status, by_server = signal.SIGKILL, True
        if child.number not in self._dying:
            self._ended[child.number] = {
                "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
                "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
                "log": _tail(child.log_fd),
                "cause": excess.cause if excess is not None else None,
                "detail": excess.detail if excess is not None else "",
                "by_server": by_server,
            }
        if not reaped:
            self._dying.add(child.number)
            return
        self._dying.discard(child.number)
        del self._children[child.number]
        os.close(child.log_fd)
        if not leavings.remove(child.scratch, timeout_s=_REMOVAL_S):
            self._leavings.append(child.scratch)

    def _kill_strays(self, give_up: float) -> None:
        """Kill and reap orphaned descendants until `give_up`; each death may orphan more of them to this process."""
        while True:
            known = {child.pid for child in self._children.values()}
            strays = [pid for pid in _own_children() if pid not in known]
            if not strays:
                return
            for pid in strays:
                os.kill(pid, signal.SIGKILL)
            for pid in strays:
                _await_end(pid, give_up)
                os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > give_up:  # a living child may go on making them
                return


def _live(task: Task, jail: Jail, rendezvous: Rendezvous | None) -> NoReturn:
    """The child's side of the fork; never returns into the server's frames."""
    try:
        confined = confine(jail, rendezvous)
        connection = socket.socket(fileno=confined.kept_fd)
        run(task, channel_of(connection, confined.handed_fds, confined.layers, confined.rank))
    except BaseException:  # noqa: BLE001  the process boundary: a child that is not confined must not run anything
        traceback.print_exc()
    finally:
        os._exit(1)


def _tell_layers(channel: Channel) -> None:
    channel.send("confined", {"layers": [layer.as_row() for layer in channel.layers]})


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _is_ending(pid: int) -> bool:
    """Whether a child has ended, or is about to: the kernel closes its descriptors before it can be waited for."""
    if _has_ended(pid):
        return True
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return bool(int(fields[6]) & _PF_EXITING)
    return False


def _await_end(pid: int, give_up: float) -> None:
    """Wait until a killed child is a zombie; gives up on one that the kernel keeps."""
    pause_s = 0.0002
    while not _has_ended(pid) and time.monotonic() < give_up:
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.02)


def _own_children() -> list[int]:
    """Process ids of this process's unreaped children; empty where the platform does not tell."""
    own = os.getpid()
    try:
        return [int(pid) for pid in Path(f"/proc/{own}/task/{own}/children").read_text().split()]
    except FileNotFoundError:
        return [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent_in(stat) == own]


def _parent_in(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:  # it ended meanwhile, so it is no unreaped child of ours
        return -1


def _tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    return os.pread(fd, _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES)).decode("utf-8", "replace")


def _preload(module_name: str, device: Device) -> Preloaded:
    """Import the tasks' module and let it warm up; a server with a second thread could not fork safely."""
    module = importlib.import_module(module_name)
    if inspect.signature(module.warm_up).parameters:
        module.warm_up(device)
    else:
        module.warm_up()
    num_threads = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else threading.active_count()
    if num_threads != 1:
        raise RuntimeError(f"{module_name} left {num_threads} threads; preload nothing that starts one")
    return Preloaded(tasks=module.TASKS, rendezvous=getattr(module, "rendezvous", None))


def main(arguments: list[str]) -> int:
    """Serve on the control socket until it closes; 1 when the tasks cannot be imported or no child can be confined."""
    control_fd, scratch, module_name, settings = arguments
    control = socket.socket(fileno=int(control_fd))
    control.set_inheritable(False)
    # Ray kills the children of a worker that ends. A server that is no child lives on until it has cleared up after
    # itself; the parent holds it by a pidfd, which only Linux has.
    if sys.platform == "linux" and os.fork():
        os._exit(0)
    wire.send(control, "started", {"pid": os.getpid()})
    try:
        server = _ready(control, scratch, module_name, Settings.parsed(settings))
    except Exception:  # noqa: BLE001  the process boundary: whatever an import raises is told to the parent
        wire.send(control, "failed", {"detail": traceback.format_exc()[-4_000:]})
        return 1
    server.serve()
    leavings.remove(scratch, timeout_s=_LAST_REMOVAL_S)
    return 0


def _ready(control: socket.socket, scratch: str, module_name: str, settings: Settings) -> Server:
    """A server that has imported everything, with its first child confined and gone."""
    preloaded = _preload(module_name, settings.device)
    tools = prepare(settings.device)
    subreaper = linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    # No child of the same user looks into the server's memory, or stops it in a debugger.
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    if os.geteuid() == 0:
        os.chmod(scratch, 0o711)  # children of other users find their own folder in it and can list nothing
    names: list[wire.Json] = [*sorted(preloaded.tasks)]
    gc.collect()
    gc.freeze()  # the children share these pages; a collection that touched them would copy them
    server = Server(control=control, preloaded=preloaded, scratch=scratch, settings=settings, tools=tools)
    wire.send(control, "ready", {"subreaper": subreaper, "tasks": names, "layers": server.layers()})
    return server


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Who drives a campaign: a lock of the operating system on disk, an object with a heartbeat in an object store.

On disk the lease is dropped with its holder, so that it is never stale for longer than its driver lives; the text in
it says who holds it. On file systems without locks the text alone decides, by heartbeat: who wants the folder watches
it for a minute, since the times in it are another clock's.

An object store has no locks. Who wants the lease watches a heartbeat that is there for a minute, writes a token of its
own and looks again after a moment: of several, the last one finds its own. A driver that could not renew it for most of
that minute (frozen, cut off) writes nothing before it has taken it anew. Not covered: a PUT that was given up and lands
later, and a driver that is frozen between its last look at the clock and its PUT (docs/storage.md).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shlex
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Protocol

import psutil

from cognition.folders import Folder, read_json
from orchestrator.errors import UsageError

LEASE = "lease.json"
HEARTBEAT_S = 5.0
STALE_AFTER_S = 60.0
SURE_FOR_S = 40.0  # after a renewal nobody else can have the lease: less than STALE_AFTER_S, a slow PUT included
_LEASE_BYTES = 512
_LOOK_S = 1.0
_SETTLE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who drives a campaign."""

    host: str
    pid: int
    since: float
    beat: float


class Lease(Protocol):
    """The right to drive one campaign."""

    lost: str | None
    """Why this driver has to end: somebody else drives the campaign. None: nobody does, as far as is known."""

    last_beat: float
    """Of whoever drove it before, where that ended without releasing it; 0 where nobody did."""

    def take(self, now: float) -> None:
        """Become the one driver. Raises UsageError where there is one, OSError where the folder refuses."""

    def beat(self, now: float) -> None:
        """Say that the driver lives; a folder that does not take it is no reason to end, and asked again soon."""

    def confirm(self) -> None:
        """Raise UsageError where somebody else drives the campaign by now, OSError where that cannot be known."""

    def release(self) -> None:
        """Let others have it."""

    def holder(self, now: float) -> Holder | None:
        """Who drives the campaign at this moment, as far as another process can tell."""


def _clock() -> float:
    """Seconds that go on while the machine sleeps, where its system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def lease_of(folder: Folder) -> Lease:
    """The lease of a run folder; not taken yet."""
    return _FileLease(folder.path) if folder.path is not None else ObjectLease(folder)


class _FileLease:
    def __init__(self, path: Path) -> None:
        self._folder, self._path = path, path / LEASE
        self._file: IO[str] | None = None
        self._since = 0.0
        self.last_beat = 0.0
        self.lost: str | None = None

    def take(self, now: float) -> None:
        while True:
            file = open(self._path, "r+", opener=_created)  # noqa: SIM115  # kept: the lock is its
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = _read_holder(file)
                held = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
                if held or (holder is not None and _lives(file, holder)):
                    file.close()
                    raise _held(self._folder, holder) from error
            if _same_file(file, self._path):
                break
            file.close()  # the holder released it between our open and our lock
        self._file, self._since = file, now
        before = _read_holder(file)
        self.last_beat = before.beat if before is not None else 0.0
        self.beat(now)

    def beat(self, now: float) -> None:
        if self._file is not None:
            holder = Holder(host=socket.gethostname(), pid=os.getpid(), since=self._since, beat=now)
            # One write of one length over the text that is there: it needs no room on a full disk.
            text = json.dumps(asdict(holder)).ljust(_LEASE_BYTES)
            with contextlib.suppress(OSError):
                os.pwrite(self._file.fileno(), text.encode(), 0)

    def confirm(self) -> None:
        """The lock is the driver's as long as it lives."""

    def release(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # the lock goes with the file, whatever stays of its name
                self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def holder(self, now: float) -> Holder | None:
        try:
            with self._path.open("r+") as file:
                holder = _read_holder(file)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                        return holder or Holder(host="unknown", pid=0, since=now, beat=now)
                    return holder if holder and abs(now - holder.beat) < STALE_AFTER_S else None
                return None
        except OSError:
            return None


class ObjectLease:
    """An object with a token of its holder. `beat` may be called from another thread than the rest."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._token = uuid.uuid4().hex
        self._since = 0.0
        self._sure_until = 0.0
        self.lost: str | None = None
        self._taken = threading.Lock()  # while it is renewed, or released
        self._released = threading.Event()
        self._released.set()
        self.last_beat = 0.0

    def take(self, now: float) -> None:
        found = self._read()
        if found is not None and not _surely_dead(found):
            found = self._watched(found)
        self.last_beat = found.holder.beat if found is not None else 0.0
        self._since = now
        self._released.clear()
        try:
            self._settle(found.token if found is not None else None, now, _SETTLE_S)
        except BaseException:
            self._released.set()
            raise

    def beat(self, now: float) -> None:
        """Renew it; where somebody else has it, `confirm` says so from then on."""
        with self._taken, contextlib.suppress(OSError):
            if self._released.is_set() or self.lost is not None:
                return
            try:
                self._renew(now)
            except UsageError as error:
                self.lost = f"the lease was lost while the store could not be reached: {error}"

    def confirm(self) -> None:
        """Asks nobody: the heartbeat has."""
        if self.lost is not None:
            raise UsageError(self.lost)
        if _clock() >= self._sure_until:
            raise OSError(errno.ENOTCONN, f"not renewed for {SURE_FOR_S:g} s", self._folder.where(LEASE))

    def release(self) -> None:
        self._released.set()
        with self._taken, contextlib.suppress(OSError):
            found = self._read()
            if found is not None and found.token == self._token:
                self._folder.remove(LEASE)

    def holder(self, now: float) -> Holder | None:
        found = self._read()
        if found is None or _surely_dead(found) or abs(now - found.holder.beat) >= STALE_AFTER_S:
            return None
        return found.holder

    def _watched(self, found: _Held) -> _Held | None:
        """The same once its heartbeat has stood still for long enough; None where it was released meanwhile."""
        give_up = _clock() + STALE_AFTER_S
        while _clock() < give_up:
            time.sleep(_LOOK_S)
            now = self._read()
            if now is None:
                return None
            if now != found:
                raise _held(self._folder, now.holder)
        return found

    def _renew(self, now: float) -> None:
        if _clock() < self._sure_until:
            self._extend(now)
        else:
            self._settle(self._token, now, SURE_FOR_S)

    def _settle(self, free_as: str | None, now: float, wait_s: float) -> None:
        """Put the own token in the place of one that is given up, and see after a wait that no other came.

        Of two who do this the later PUT wins, and the earlier one sees it when it looks again. Where a PUT took longer
        than that look waits, it waits until whoever found its own token before has renewed it or is not sure of it.
        """
        began = _clock()
        there = self._read()
        if there is not None and there.token not in (free_as, self._token):
            raise _held(self._folder, there.holder)
        self._write(now)
        answered = _clock()
        if self._released.wait(wait_s if answered - began <= _SETTLE_S else SURE_FOR_S):
            return
        self._extend(now)

    def _extend(self, now: float) -> None:
        """Renew what is still the own lease, within the minute for which a taker would have to watch it."""
        began = _clock()
        there = self._read()
        if there is None or there.token != self._token:
            raise _held(self._folder, there.holder if there is not None else None)
        self._write(now)
        self._sure_until = began + SURE_FOR_S

    def _read(self) -> _Held | None:
        try:
            values = read_json(self._folder, LEASE)
            return _Held(holder=Holder(**values["holder"]), token=values["token"], process=values["process"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):  # whoever it is, it stands still or not
            return _Held(holder=Holder(host="unknown", pid=0, since=0.0, beat=0.0), token="", process="")

    def _write(self, now: float) -> None:
        holder = Holder(host=socket.gethostname(), pid=os.getpid(), since=self._since, beat=now)
        values = {"holder": asdict(holder), "token": self._token, "process": _process(os.getpid())}
        self._folder.write(LEASE, json.dumps(values).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What a lease object says."""

    holder: Holder
    token: str
    process: str  # the kernel's own words for the process, "" where they are not known


def _process(pid: int) -> str:
    """A process among all there ever were: of which boot, of which container, started when. "" where it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if state in ("Z", "X"):
            return ""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # In ticks since the boot: times of day would change with the clock.
        return f"{boot} {os.readlink('/proc/self/ns/pid')} {pid} {fields[18]}"
    except (OSError, ValueError, IndexError):
        return ""


def _surely_dead(found: _Held) -> bool:
    """Whether its holder was a process of this machine, in this container, that has ended."""
    here = _process(os.getpid()).split(" ")[:2]
    return bool(found.process) and found.process.split(" ")[:2] == here and _process(found.holder.pid) != found.process


def _held(place: object, holder: Holder | None) -> UsageError:
    who = f"process {holder.pid} on {holder.host}" if holder else "another process"
    quoted = shlex.quote(str(place))
    return UsageError(
        f"{place} is being driven by {who}: watch it with `python -m orchestrator.status {quoted}`, "
        f"stop it with `python -m orchestrator.stop {quoted}`, or use run.fresh=true"
    )


def _same_file(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _created(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def _lives(file: IO[str], holder: Holder) -> bool:
    """Whether the heartbeat goes on, by a clock that nobody sets."""
    if holder.host == socket.gethostname() and not psutil.pid_exists(holder.pid):
        return False
    give_up = time.monotonic() + STALE_AFTER_S
    while time.monotonic() < give_up:
        time.sleep(_LOOK_S)
        if _read_holder(file) != holder:
            return True
    return False


def _read_holder(file: IO[str]) -> Holder | None:
    try:
        file.seek(0)
        return Holder(**json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return None

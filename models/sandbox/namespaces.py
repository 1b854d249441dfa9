"""Namespaces: no network for any child; on CUDA, where a child may start processes, its own tree and its own mounts.

A process namespace ends as one: when its first process ends, the kernel kills every other one in it before that
death is seen. So the child becomes three processes there: a keeper, which the server knows as the child; the first
process of the namespace, which reaps and does nothing else; and the task.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from models.sandbox import linux
from models.sandbox.layer import Jail, MissingLayer
from models.sandbox.own_process import leave_as, limit_threads

_ALLOW = (
    "allow user namespaces (sysctl user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1, "
    "kernel.apparmor_restrict_unprivileged_userns=0), or give a container CAP_SYS_ADMIN"
)
_NETWORK = linux.CLONE_NEWNET | linux.CLONE_NEWIPC
_STATUS = struct.Struct("i")
_SOCKET = 3  # after the standard streams
_SHARED_MEMORY = "/dev/shm"
_COUNTS_BY_NAMESPACE = (5, 14)  # the kernel from which on RLIMIT_NPROC binds within a user namespace alone


def try_user_namespace() -> MissingLayer | None:
    """Why a process of this user cannot have a user namespace with a network of its own; None if it can.

    Tried in a process apart, since some systems grant the namespace and then refuse to let it be used.
    """
    if sys.platform != "linux":
        return MissingLayer("not Linux", "run on Linux")
    pid = os.fork()
    if pid == 0:
        code = errno.EPERM
        try:
            linux.prctl(linux.PR_SET_DUMPABLE, 1)
            _enter_user_namespace(_NETWORK)
            code = 0
        except OSError as error:
            code = error.errno or code
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return MissingLayer(f"no user namespace: {os.strerror(abs(code))}", _ALLOW) if code else None


def own_network(jail: Jail) -> str:
    """No network device but a loopback, down but in a gang, and no System V memory or queues of others."""
    what = _unshare_network(jail)
    if jail.num_processes == 1:
        return what
    linux.raise_loopback()
    return f"{what}, with a loopback for its ranks"


def _unshare_network(jail: Jail) -> str:
    try:
        linux.unshare(_NETWORK)
    except (OSError, AttributeError) as error:
        if os.geteuid() == 0 and jail.device == "cpu":  # a user namespace would keep it from changing its user
            raise MissingLayer(str(error), _ALLOW) from error
    else:
        return "own network and IPC namespace"
    if jail.tools.user_namespace is not None:
        raise jail.tools.user_namespace
    _enter_user_namespace(_NETWORK)
    if _kernel() >= _COUNTS_BY_NAMESPACE:
        limit_threads(jail.limits.processes + jail.limits.threads)
    return "own network, IPC and user namespace"


def _enter_user_namespace(flags: int) -> None:
    """A user namespace in which this user is itself, and nobody else is. Raises OSError."""
    user, group = os.geteuid(), os.getegid()
    linux.unshare(flags | linux.CLONE_NEWUSER)
    with suppress(FileNotFoundError):
        Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def own_processes(jail: Jail) -> str:
    """Returns in the task; the keeper and the first process of the namespace never return."""
    try:
        linux.unshare(linux.CLONE_NEWPID)
    except (OSError, AttributeError) as error:
        raise MissingLayer(str(error), _ALLOW) from error
    alive, keep_alive = os.pipe()
    told, tell = os.pipe()
    first = os.fork()
    if first:
        _close_all_but(_SOCKET, told, keep_alive)  # that the connection ends says that everything has ended
        _keep(first, told)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.close(keep_alive)
    poll = select.poll()
    poll.register(alive, 0)
    if poll.poll(0):  # the keeper died before the signal was asked for
        os._exit(1)
    task = os.fork()
    if task:
        _close_all_but(tell)
        _reap(task, tell)
    for fd in (alive, told, tell):
        os.close(fd)
    os.setsid()
    return "own process namespace: ends with its first process"


def own_mounts(jail: Jail) -> str:
    """Everything is read-only but the scratch and a shared memory of its own: mode, owner and times included."""
    try:
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        linux.mount(jail.scratch, jail.scratch, "", linux.MS_BIND)
        linux.set_read_only("/", wanted=True, recursive=True)
    except (OSError, AttributeError) as error:
        raise MissingLayer(str(error), f"run Linux 5.12 or later; {_ALLOW}") from error
    linux.set_read_only(jail.scratch, wanted=False)
    if os.path.isdir(_SHARED_MEMORY) and not jail.scratch.startswith(_SHARED_MEMORY):
        size = f"size={jail.limits.rss_bytes // 8},nr_inodes=1000,mode=1777"
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("sandbox", _SHARED_MEMORY, "tmpfs", flags, size)
    os.chdir(jail.scratch)
    return "read-only mounts but for the scratch; shared memory of its own"


def _keep(first: int, told: int) -> NoReturn:
    """Wait for the namespace's end and leave as its task did, so that the server sees that."""
    data = os.read(told, _STATUS.size)
    os.waitpid(first, 0)
    leave_as(_STATUS.unpack(data)[0] if len(data) == _STATUS.size else signal.SIGKILL)


def _reap(task: int, tell: int) -> NoReturn:
    """Reap whatever is orphaned until the task ends, and take what is left of it along."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == task:
            os.write(tell, _STATUS.pack(status))
            os._exit(0)


def _close_all_but(*kept: int) -> None:
    for fd in range(_SOCKET, max(kept)):
        if fd not in kept:
            with suppress(OSError):
                os.close(fd)


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2] if part.isdecimal())

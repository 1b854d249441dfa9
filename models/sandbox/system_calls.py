"""The system call filter (seccomp): a list of what is allowed on a CPU, of what is refused on CUDA.

On CUDA the driver and the compilers start processes and speak to devices in ways that differ from version to version,
so that a list of allowed calls would be a guess; the refused ones are those that no compiler needs.

A refused call fails with EPERM and the program goes on; a call of another architecture ends the process.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

from models.sandbox.layer import Device, Jail, MissingLayer

_MEMORY = "brk munmap mremap mprotect madvise mincore membarrier get_mempolicy"
_THREADS = (
    "futex futex_waitv set_robust_list get_robust_list rseq set_tid_address exit exit_group sched_yield "
    "sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min getcpu "
    "getpriority restart_syscall"
)
_TIME = (
    "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrusage sysinfo uname getrandom "
    "alarm getitimer setitimer"
)
_FILES = (
    "read write readv writev pread64 pwrite64 preadv pwritev lseek close fstat stat lstat newfstatat fstatat64 statx "
    "access faccessat faccessat2 readlink readlinkat getcwd chdir fchdir getdents getdents64 dup dup2 dup3 pipe pipe2 "
    "ftruncate truncate mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 fsync fdatasync fadvise64 "
    "statfs fstatfs eventfd2 poll ppoll select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait"
)
_SIGNALS = "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack pause"
_IDENTITY = (
    "getpid gettid getppid getuid geteuid getgid getegid getgroups getpgrp getpgid getsid getresuid getresgid getrlimit"
)
# Only ever on the sockets that it was given: no other can be made, and none can arrive without recvmsg.
_SOCKET = "recvfrom shutdown getsockopt getsockname getpeername"
_ALLOWED = " ".join((_MEMORY, _THREADS, _TIME, _FILES, _SIGNALS, _IDENTITY, _SOCKET)).split()

_REFUSED = (
    "socket connect bind listen accept accept4 sendmsg sendmmsg "
    "ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd pidfd_send_signal kcmp "
    "mount umount umount2 move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr pivot_root chroot "
    "setns unshare kexec_load kexec_file_load add_key request_key keyctl bpf "
    "init_module finit_module delete_module create_module reboot swapon swapoff acct quotactl quotactl_fd syslog "
    "io_uring_setup io_uring_enter io_uring_register userfaultfd perf_event_open fanotify_init "
    "open_by_handle_at lookup_dcookie nfsservctl vhangup personality iopl ioperm modify_ldt "
    "settimeofday clock_settime clock_adjtime adjtimex stime sethostname setdomainname "
    "shmget shmat shmctl msgget msgsnd msgrcv msgctl semget semop semtimedop semctl "
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp"
)
_REFUSED_ON_CUDA = _REFUSED.split()

_CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x7E020000  # every namespace that clone can make
_CLONE_TRACE = 0x00002000 | 0x00800000
_O_TMPFILE = 0x00400000
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
_PRCTL_ALLOWED = (15, 16, 0x53564D41)  # set and get a thread's name, name a mapping
_PRCTL_REFUSED_ON_CUDA = (1, 4)  # the parent-death signal; dumpable
_FCNTL_ALLOWED = (0, 1, 2, 3, 4, 1_030, 1_032, 1_034)  # duplicate, flags, size of a pipe, seals; no owner of signals
_ARCH_PRCTL_ALLOWED = (0x1021, 0x1022, 0x1023)  # ask for the matrix units
_MSG_FASTOPEN = 0x20000000
_TERMINAL_INPUT = (0x5412, 0x541C)


class Filter:
    """A filter as data of libseccomp, made once in the server; every child adds its own process id and loads it."""

    def __init__(self, seccomp: Any, device: Device) -> None:
        self._seccomp = seccomp
        self._device = device
        self._refused = seccomp.ERRNO(errno.EPERM)
        self._filter = seccomp.SyscallFilter(self._refused if device == "cpu" else seccomp.ALLOW)
        self._filter.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)
        self._filter.set_attr(seccomp.Attr.CTL_TSYNC, True)  # threads that a rank's rendezvous started are filtered too
        for rule in _cpu_rules() if device == "cpu" else _cuda_rules():
            self._add(rule)

    @classmethod
    def prepare(cls, device: Device) -> Self | MissingLayer:
        """The filter, or why this platform has none."""
        if sys.platform != "linux":
            return MissingLayer("not Linux", "run on Linux")
        try:
            import pyseccomp
        except ImportError:
            return MissingLayer("pyseccomp is not installed", "pip install pyseccomp")
        except (RuntimeError, OSError, TypeError, AttributeError) as error:  # the C library under it
            return MissingLayer(f"libseccomp is not installed: {error}", "install libseccomp (Debian: libseccomp2)")
        return cls(pyseccomp, device)

    def load(self) -> str:
        """Confine this process with all its threads. Raises OSError."""
        if self._device == "cpu":
            own = os.getpid()
            for name in ("kill", "tgkill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
                self._add(_Rule(name=name, where=(_Where(argument=0, value=own),)))
        self._filter.load()
        return "allows a list of calls" if self._device == "cpu" else "refuses a list of calls"

    def _add(self, rule: _Rule) -> None:
        number = self._seccomp.resolve_syscall(self._seccomp.Arch.NATIVE, rule.name)
        if number < 0:  # not on this platform
            return
        actions = {
            "allow": self._seccomp.ALLOW,
            "refuse": self._refused,
            "absent": self._seccomp.ERRNO(errno.ENOSYS),
            "pretend": self._seccomp.ERRNO(0),  # done, it says, and nothing is
            "unsuited": self._seccomp.ERRNO(errno.ENOTTY),
        }
        conditions = [
            self._seccomp.Arg(where.argument, self._seccomp.EQ, where.value)
            if where.mask is None
            else self._seccomp.Arg(where.argument, self._seccomp.MASKED_EQ, where.mask, where.value)
            for where in rule.where
        ]
        self._filter.add_rule(actions[rule.action], number, *conditions)


def system_calls(jail: Jail) -> str:
    """Refuse the calls that no candidate needs."""
    prepared = jail.tools.system_calls
    if isinstance(prepared, MissingLayer):
        raise prepared
    return prepared.load()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    argument: int
    value: int
    mask: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    name: str
    where: tuple[_Where, ...] = ()
    action: Literal["allow", "refuse", "absent", "pretend", "unsuited"] = "allow"


def _cpu_rules() -> Iterator[_Rule]:
    for name in _ALLOWED:
        yield _Rule(name=name)
    yield _Rule(name="ioctl", action="unsuited")  # no terminal, as whoever asks finds out politely
    # Threads, no processes. The C library falls back from clone3, whose flags a filter cannot see.
    yield _Rule(name="clone3", action="absent")
    threads_only = _Where(argument=0, mask=_CLONE_THREAD | _CLONE_NEW | _CLONE_TRACE, value=_CLONE_THREAD)
    yield _Rule(name="clone", where=(threads_only,))
    # Not a file without a name, whose size nobody could see.
    yield _Rule(name="open", where=(_Where(argument=1, mask=_O_TMPFILE, value=0),))
    yield _Rule(name="openat", where=(_Where(argument=2, mask=_O_TMPFILE, value=0),))
    # Not shared memory without a file, which stays when it is no longer mapped.
    for kind in (_MAP_SHARED, _MAP_ANONYMOUS, 0):
        yield _Rule(name="mmap", where=(_Where(argument=3, mask=_MAP_SHARED | _MAP_ANONYMOUS, value=kind),))
    # To whoever a socket is connected to: with an address sendto connects, to what it likes.
    yield _Rule(name="sendto", where=(_Where(argument=4, value=0),))
    # Its own limits can be read.
    yield _Rule(name="prlimit64", where=(_Where(argument=0, value=0), _Where(argument=2, value=0)))
    for name, argument, values in (
        ("prctl", 0, _PRCTL_ALLOWED),
        ("fcntl", 1, _FCNTL_ALLOWED),
        ("arch_prctl", 0, _ARCH_PRCTL_ALLOWED),
    ):
        for value in values:
            yield _Rule(name=name, where=(_Where(argument=argument, value=value),))


def _cuda_rules() -> Iterator[_Rule]:
    # What a child starts stays in its session and process group: that is killed as one, and scheduled as one, so that
    # a crowd of processes does not keep the server from its turn.
    for name in ("setsid", "setpgid"):
        yield _Rule(name=name, action="pretend")
    for name in _REFUSED_ON_CUDA:
        yield _Rule(name=name, action="refuse")
    yield _Rule(name="clone3", action="absent")
    for bit in (1 << shift for shift in range(32)):
        if bit & _CLONE_NEW:
            yield _Rule(name="clone", action="refuse", where=(_Where(argument=0, mask=bit, value=bit),))
    for option in _PRCTL_REFUSED_ON_CUDA:
        yield _Rule(name="prctl", action="refuse", where=(_Where(argument=0, value=option),))
    yield _Rule(name="sendto", action="refuse", where=(_Where(argument=3, mask=_MSG_FASTOPEN, value=_MSG_FASTOPEN),))
    for request in _TERMINAL_INPUT:
        yield _Rule(name="ioctl", action="refuse", where=(_Where(argument=1, value=request, mask=0xFFFFFFFF),))

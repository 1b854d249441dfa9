"""What a child process gives up before it runs anything of a candidate's.

Layers are applied in order, each by a function of the child's own process; more of them (file system rules, system
call filters, namespaces) belong at the end of LAYERS. Every layer is irreversible for an unprivileged process.

Not guaranteed today: that the child cannot read the file system, open a connection, or signal processes of the same
user. What holds: it leads its own session and process group, dies with the fork server, sees no environment of its
parent's, no open file but its own, leaves no core file, and cannot map, write or open without bound.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

# What torch, its compilers and our own dispatch read; everything else (keys, tokens, addresses) stays outside.
KEPT_VARIABLES = (
    "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES",
    "KERNELS_BACKEND",
    "LD_LIBRARY_PATH",
    "MKL_NUM_THREADS",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PATH",
    "PYTHONHASHSEED",
)

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits of one child."""

    memory_bytes: int | None = 16 << 30  # address space; None on CUDA, which maps far more than it uses
    file_bytes: int = 256 << 20  # largest file that it may write
    open_files: int = 256

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; give a positive number" + " or None" * (name == "memory_bytes"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Jail:
    """What one child keeps."""

    scratch: str  # an empty folder of its own: working directory, HOME and TMPDIR
    log_fd: int  # where its standard output and error go
    kept_fd: int  # one end of the socket to the parent
    handed_fds: tuple[int, ...]  # files that the parent lent it
    server_pid: int
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Confined:
    """The descriptors under their new numbers, and the layers that hold."""

    kept_fd: int
    handed_fds: tuple[int, ...]
    layers: tuple[str, ...]


def confine(jail: Jail) -> Confined:
    """Confine the calling process, which must be a fresh fork of a single-threaded server.

    Raises OSError where a layer that this platform has cannot be applied: the child must not go on then.
    """
    for layer in LAYERS:
        layer(jail)
    first = 3
    return Confined(
        kept_fd=first,
        handed_fds=tuple(range(first + 1, first + 1 + len(jail.handed_fds))),
        layers=tuple(layer.__name__.strip("_") for layer in LAYERS),
    )


def become_subreaper() -> bool:
    """Make orphaned descendants of this process its own children; False where the platform cannot (not Linux)."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environment` that a child may see."""
    return {name: environment[name] for name in KEPT_VARIABLES if name in environment}


def _own_session(jail: Jail) -> None:
    os.setsid()


def _default_signals(jail: Jail) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _death_with_server(jail: Jail) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != jail.server_pid:  # it died before the line above
        os._exit(1)


def _few_descriptors(jail: Jail) -> None:
    """Standard streams, then the socket as 3 and the handed files from 4; everything else is closed."""
    wanted = (jail.kept_fd, *jail.handed_fds)
    # Copies above every number that is about to be overwritten.
    floor = 3 + len(wanted) + 1
    copies = [_duplicate_above(fd, floor) for fd in (*wanted, jail.log_fd)]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(copies[-1], 1)
    os.dup2(copies[-1], 2)
    for number, copy in enumerate(copies[:-1], start=3):
        os.dup2(copy, number, inheritable=False)
    os.closerange(3 + len(wanted), os.sysconf("SC_OPEN_MAX"))


def _bare_environment(jail: Jail) -> None:
    kept = scrubbed(os.environ)
    os.environ.clear()
    os.environ.update(kept)
    os.environ.update(HOME=jail.scratch, TMPDIR=jail.scratch, LANG="C.UTF-8")
    tempfile.tempdir = None


def _private_scratch(jail: Jail) -> None:
    os.chdir(jail.scratch)


def _resource_limits(jail: Jail) -> None:
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, jail.limits.open_files)
    _lower(resource.RLIMIT_FSIZE, jail.limits.file_bytes)
    if jail.limits.memory_bytes is not None:
        _lower(resource.RLIMIT_AS, jail.limits.memory_bytes)


LAYERS: tuple[Callable[[Jail], None], ...] = (
    _own_session,
    _default_signals,
    _death_with_server,
    _few_descriptors,
    _bare_environment,
    _private_scratch,
    _resource_limits,
)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (ceiling, ceiling))


def _duplicate_above(fd: int, floor: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor)


def _prctl(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
    return True

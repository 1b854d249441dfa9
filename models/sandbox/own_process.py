"""The layers that every platform has: session, signals, descriptors, environment, folder, resource limits.

Each is irreversible for an unprivileged process but for the environment and the working directory, which hide rather
than forbid.
"""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from models.sandbox import linux
from models.sandbox.layer import Jail, MissingLayer

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
_CACHE_VARIABLES = {
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "CUDA_CACHE_PATH": "cuda",
}
# Of 1000. Out of memory, the kernel ends a child rather than its parents, and of several the largest: Ray gives its
# workers 1000 as well, so that with less than that a worker would go before the child that took the memory.
_FIRST_TO_GO = "1000"


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environment` that a child may see."""
    return {name: environment[name] for name in KEPT_VARIABLES if name in environment}


def own_session(jail: Jail) -> str:
    """Lead a session and a process group of its own."""
    os.setsid()
    return "leads a session and a process group"


def default_signals(jail: Jail) -> str:
    """Undo the server's handlers."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    return "no handler of the server's"


def death_with_server(jail: Jail) -> str:
    """Have the kernel end this process with the server."""
    if not linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL):
        raise MissingLayer(f"{sys.platform} has no parent-death signal", "run on Linux")
    if os.getppid() != jail.server_pid:  # it died before the line above
        os._exit(1)
    # Readable again for the server, which is not: it measures its children.
    linux.prctl(linux.PR_SET_DUMPABLE, 1)
    return "ends when the server ends"


def few_descriptors(jail: Jail) -> str:
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
    os.closerange(jail.num_kept_fds, os.sysconf("SC_OPEN_MAX"))
    return "standard streams, the socket and what was handed over"


def bare_environment(jail: Jail) -> str:
    """Keep the variables that torch and its compilers read; on CUDA, give these a cache of their own."""
    kept = scrubbed(os.environ)
    os.environ.clear()
    os.environ.update(kept)
    os.environ.update(HOME=jail.scratch, TMPDIR=jail.scratch, LANG="C.UTF-8")
    tempfile.tempdir = None
    if jail.device == "cuda":
        os.environ.update(LOGNAME="sandbox", USER="sandbox")  # torch's compilers name folders after the user
        cache = Path(jail.scratch, "cache")
        os.environ.update({name: str(cache / folder) for name, folder in _CACHE_VARIABLES.items()})
        if jail.compile_cache is not None:
            shutil.copytree(jail.compile_cache, cache, symlinks=True, dirs_exist_ok=True)
    return f"{len(os.environ)} variables"


def private_scratch(jail: Jail) -> str:
    """Work in the scratch folder."""
    os.chdir(jail.scratch)
    return "an empty working directory"


def resource_limits(jail: Jail) -> str:
    """Core files, descriptors, file size, and where it does not break CUDA, private memory and the address space.

    The watch sees memory a few times a second. What a process of the child maps for itself is bounded here, at once:
    untouched pages and the stacks of threads count too, pages that may not be written are left to the watch.
    """
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, jail.limits.open_files)
    _lower(resource.RLIMIT_FSIZE, jail.limits.file_bytes)
    with suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    if jail.device == "cuda" or jail.limits.memory_bytes is None:
        return "core, files, descriptors"
    _lower(resource.RLIMIT_AS, jail.limits.memory_bytes)
    if (mapped := _private_bytes()) is None:
        return "core, files, descriptors, address space"
    _lower(resource.RLIMIT_DATA, mapped + jail.limits.rss_bytes)
    return "core, files, descriptors, address space, private memory"


def limit_threads(num: int) -> None:
    """Bound processes and threads of this process's user, which must be nobody else's."""
    _lower(resource.RLIMIT_NPROC, num)


def leave_as(status: int) -> NoReturn:
    """End this process as another one ended, whose wait status this is."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with suppress(OSError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def die_with(parent: int) -> None:
    """Have the kernel end this process with the one that forked it, and see to it that it still lives."""
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def _private_bytes() -> int | None:
    """What this process has mapped for itself, from the server that it was forked from; None where nobody tells."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) << 10
    return None


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (ceiling, ceiling))


def _duplicate_above(fd: int, floor: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor)

"""What hostile programs are after, laid out so that taking it shows: files, keys, a process, sockets, packages."""

from __future__ import annotations

import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SECRET_PREFIX = "aro-key-"
SECRET_VARIABLE = "ARO_TEST_SECRET"

# It notes every signal that can be noted; the others show by its end or by its state.
_BAIT_PROCESS = """
import ctypes, os, signal, sys
if user := int(sys.argv[1]):  # the interpreter itself need not be readable for that user
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as for a process that the user started
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, lambda number, frame: os.write(1, f"signal {number}\\n".encode()))
os.write(1, b"ready\\n")
sys.stdin.read()
"""
_PACKAGE_MODULE = "VALUE = 1\n"


class Bait:
    """One set of bait for children of one user; `damage` says what has been touched."""

    def __init__(self, *, folder: Path, user: int | None, stack: ExitStack) -> None:
        self.folder = folder
        self.secret = SECRET_PREFIX + secrets.token_hex(8)
        self._user = user
        self._lay_out_files()
        self._system_v_key = secrets.randbelow(1 << 30) + 1
        self._shared_name = f"aro-test-{secrets.token_hex(4)}"
        self._process = self._start_process(stack)
        self._pid_state = self._process_settings()
        self._sockets = self._open_sockets(stack)
        self._files = self._snapshot()

    @property
    def packages(self) -> str:
        """A folder that the server imports from."""
        return str(self.folder / "packages")

    def names(self) -> dict[str, str | int]:
        """The names that programs know the bait by."""
        tcp, udp, *_ = self._sockets
        return {
            "BAIT": str(self.folder / "open"),
            "MARKER": str(self.folder / "open" / "marker"),
            "HOME_FOLDER": str(self.folder / "home"),
            "KEY_FILE": str(self.folder / "home" / ".api_key"),
            "CORPUS": str(self.folder / "corpus"),
            "PACKAGES": self.packages,
            "BAIT_PID": self._process.pid,
            "TEST_PID": os.getpid(),
            "TCP_PORT": tcp.getsockname()[1],
            "UDP_PORT": udp.getsockname()[1],
            "UNIX_PATH": str(self.folder / "open" / "socket"),
            "ABSTRACT_NAME": self._shared_name,
            "SHARED_NAME": self._shared_name,
            "SYSTEM_V_KEY": self._system_v_key,
            "SECRET_PREFIX": SECRET_PREFIX,
        }

    def damage(self) -> list[str]:
        """What differs from how it was laid out."""
        found = [f"file: {change}" for change in sorted(self._files ^ self._snapshot())]
        if self._process.poll() is not None:
            return [*found, "the process is gone"]
        if self._process_settings() != self._pid_state:
            found.append(f"the process was {self._pid_state}, is {self._process_settings()}")
        assert self._process.stdout is not None
        if select.select([self._process.stdout], [], [], 0)[0]:
            found.append(f"the process got {os.read(self._process.stdout.fileno(), 100)!r}")
        found += [
            f"the socket {one.getsockname()!r} was spoken to" for one in select.select(self._sockets, [], [], 0)[0]
        ]
        for path in Path("/dev/shm").glob(f"*{self._shared_name}*"):
            found.append("shared memory was left behind")
            path.unlink()
        found += [
            f"System V {kind} was left behind" for kind in ("shm", "msg", "sem") if _has(kind, self._system_v_key)
        ]
        return found

    def _lay_out_files(self) -> None:
        """As open as can be: what keeps a program out is the jail, not a file's mode. The key alone has a close one."""
        texts = {
            "open/marker": "untouched",
            "home/.api_key": self.secret,
            "home/.netrc": f"machine example password {self.secret}",
            "corpus/0.txt": "state decay gate",
            "packages/bait_module.py": _PACKAGE_MODULE,
        }
        for name, text in texts.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.parent.chmod(0o777)
            path.write_text(text)
            path.chmod(0o600 if path.parent.name == "home" else 0o666)
        (self.folder / "open" / "empty").mkdir()
        self.folder.chmod(0o777)
        if self._user is not None:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, self._user, self._user)

    def _snapshot(self) -> frozenset[str]:
        found = set()
        for path in (self.folder, *self.folder.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            times = status.st_mtime_ns if path.is_file() else 0
            names = os.listxattr(path, follow_symlinks=False) if hasattr(os, "listxattr") else []
            name = path.relative_to(self.folder)
            found.add(f"{name} {status.st_mode:o} {status.st_uid} {status.st_nlink} {times} {content!r} {names}")
        return frozenset(found)

    def _start_process(self, stack: ExitStack) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", _BAIT_PROCESS, str(self._user or 0)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={SECRET_VARIABLE: self.secret},
            start_new_session=True,
        )
        stack.callback(_end, process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    def _process_settings(self) -> tuple[object, ...]:
        pid = self._process.pid
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        stopped = state in "TtZX"
        return stopped, os.getpriority(os.PRIO_PROCESS, pid), os.sched_getaffinity(pid), _limits(pid)

    def _open_sockets(self, stack: ExitStack) -> list[socket.socket]:
        addresses: list[tuple[int, int, object]] = [
            (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            (socket.AF_UNIX, socket.SOCK_STREAM, str(self.folder / "open" / "socket")),
            (socket.AF_UNIX, socket.SOCK_STREAM, "\0" + self._shared_name),
        ]
        opened = []
        for family, kind, address in addresses:
            one = stack.enter_context(socket.socket(family, kind))
            one.bind(address)  # type: ignore[arg-type]
            if kind == socket.SOCK_STREAM:
                one.listen()
            opened.append(one)
        (self.folder / "open" / "socket").chmod(0o777)
        return opened


@contextmanager
def bait(user: int | None) -> Iterator[Bait]:
    """Bait for children of this user; None: of the present one."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="bait-", dir="/tmp"))  # where every user can get to
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield Bait(folder=folder, user=user, stack=stack)


def _limits(pid: int) -> str:
    return Path(f"/proc/{pid}/limits").read_text()


def _has(kind: str, key: int) -> bool:
    path = Path(f"/proc/sysvipc/{kind}")
    return path.exists() and any(line.split()[:1] == [str(key)] for line in path.read_text().splitlines())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()

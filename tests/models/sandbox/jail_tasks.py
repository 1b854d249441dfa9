"""Tasks that try to get out of the jail. No torch, so that the server starts fast."""

import ctypes
import errno
import fcntl
import importlib
import mmap
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping

import numpy as np

from models.sandbox import jail
from models.sandbox.child import Channel
from models.sandbox.wire import Json

ORDINARY_USER = 65_534
_LIBC = ctypes.CDLL(None, use_errno=True)
_kept: list[object] = []  # what outlives the frame that made it
# By their numbers on x86-64; the tests that use them are skipped elsewhere.
_CALLS = {
    "keyctl": (250, 0, 0),
    "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, 0),
    "io_uring_setup": (425, 1, 0),
    "userfaultfd": (323, 1),
    "kexec_load": (246, 0, 0, 0),
    "init_module": (175, 0, 0, 0),
    "setns": (308, 0, 0),
    "unshare": (272, 0x10000000),
    "process_vm_readv": (310, os.getppid(), 0, 0, 0),
    "swapon": (167, 0, 0),
    "pidfd_getfd": (438, 0, 0, 0),
    "open_by_handle_at": (304, 0, 0, 0),
    "chroot": (161, ctypes.c_char_p(b".")),
}


def warm_up() -> None:
    pass


def as_ordinary_user() -> None:
    """Import what is left, which nobody may not read; from here on the server is nobody."""
    for name in ("py_landlock.abi", "py_landlock.prctl", "pyseccomp"):
        importlib.import_module(name)
    os.chown(os.environ["HOME"], ORDINARY_USER, ORDINARY_USER)
    os.setgroups([])
    os.setgid(ORDINARY_USER)
    os.setuid(ORDINARY_USER)
    _LIBC.prctl(4, 1, 0, 0, 0)  # as readable as a server that this user has started


def without_namespaces() -> None:
    """From here on the server and its children get none: a filter of its own stands for an older kernel's."""
    import pyseccomp

    refusing = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refusing.add_rule(pyseccomp.ERRNO(errno.EPERM), "unshare")
    refusing.load()


def keep_only(*names: str) -> None:
    """Confine children by the layers that every platform has, and by these."""
    for device, layers in jail.LAYERS.items():
        num_first = [layer.__name__ for layer in layers].index("resource_limits") + 1
        jail.LAYERS[device] = (*layers[:num_first], *(layer for layer in layers if layer.__name__ in names))


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def _socket_of(family: int) -> Callable[[Mapping[str, Json]], None]:
    return lambda told: socket.socket(family, socket.SOCK_DGRAM).close()


def _kill(told: Mapping[str, Json], name: str) -> None:
    os.kill(int(str(told[name])), signal.SIGCONT)


def _write_outside(told: Mapping[str, Json]) -> None:
    with open(f"{told['folder']}/new", "w"):
        pass


def _fork(told: Mapping[str, Json]) -> None:
    if os.fork() == 0:
        os._exit(0)


def _execute(told: Mapping[str, Json]) -> None:
    os.execv("/bin/true", ["true"])


def _list(folder: str) -> None:
    os.listdir(folder)


def _connect(told: Mapping[str, Json]) -> None:
    with socket.socket() as connection:
        connection.settimeout(2)
        connection.connect(("127.0.0.1", int(str(told["port"]))))


def _pass_descriptor(told: Mapping[str, Json]) -> None:
    one, _other = socket.socketpair()
    with one, _other:
        socket.send_fds(one, [b"x"], [0])


def _terminal_input(told: Mapping[str, Json]) -> None:
    fcntl.ioctl(1, termios.TIOCSTI, b"x")


def _call(name: str) -> Callable[[Mapping[str, Json]], None]:
    return lambda told: _checked(_LIBC.syscall(*_CALLS[name]))


def _signal_through_descriptor(told: Mapping[str, Json]) -> None:
    reader, _writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, int(str(told["server"])))


ATTEMPTS: dict[str, Callable[[Mapping[str, Json]], None]] = {
    "read a system file": lambda told: _read("/etc/passwd"),
    "read the repository": lambda told: _read(f"{told['root']}/pyproject.toml"),
    "read another's file": lambda told: _read(f"{told['folder']}/secret"),
    "list other scratches": lambda told: _list(".."),
    "read the server's environment": lambda told: _read(f"/proc/{told['server']}/environ"),
    "read the server's memory": lambda told: _read(f"/proc/{told['server']}/mem"),
    "read the parent's environment": lambda told: _read(f"/proc/{told['parent']}/environ"),
    "read the parent's memory": lambda told: _read(f"/proc/{told['parent']}/mem"),
    "write outside": _write_outside,
    "change a mode outside": lambda told: os.chmod(f"{told['folder']}/open", 0o777),
    "make a symbolic link": lambda told: os.symlink("/etc", "link"),
    "make a FIFO": lambda told: os.mkfifo("fifo"),
    "make a device": lambda told: os.mknod("device", stat.S_IFBLK | 0o600, os.makedev(254, 0)),
    "internet socket": _socket_of(socket.AF_INET),
    "unix socket": _socket_of(socket.AF_UNIX),
    "netlink socket": _socket_of(socket.AF_NETLINK),
    "connect": _connect,
    "pass a descriptor": _pass_descriptor,
    "kill the server": lambda told: _kill(told, "server"),
    "kill the parent": lambda told: _kill(told, "parent"),
    "kill everyone": lambda told: os.kill(-1, 0),
    "own a descriptor's signals": _signal_through_descriptor,
    "attach a debugger": lambda told: _checked(_LIBC.ptrace(16, told["server"], 0, 0)),
    "mount": lambda told: _checked(_LIBC.mount(b"none", b".", b"tmpfs", 0, None)),
    "become root": lambda told: os.setresuid(0, 0, 0),
    "change an owner": lambda told: os.chown(".", 12_345, 12_345),
    "outlive the server": lambda told: _checked(_LIBC.prctl(1, 0, 0, 0, 0)),
    "fork": _fork,
    "execute": _execute,
    "leave the session": lambda told: os.setsid(),
    "memory without a file": lambda told: os.close(os.memfd_create("hidden")),
    "shared memory": lambda told: mmap.mmap(-1, 4096).close(),
    "a file without a name": lambda told: os.close(os.open(".", os.O_TMPFILE | os.O_RDWR)),
    "terminal input": _terminal_input,
    "raise a limit": lambda told: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 1 << 16)),
    **{name: _call(name) for name in _CALLS},
}


def attempt(channel: Channel) -> None:
    """start {name, ...} -> tried {error}: the name of the error number, or "" where nothing held it back."""
    told = channel.receive().body
    try:
        ATTEMPTS[str(told["name"])](told)
    except OSError as error:
        channel.send("tried", {"error": errno.errorcode.get(error.errno or 0, str(error))})
    except ValueError as error:  # resource's word for EPERM
        channel.send("tried", {"error": str(error)})
    else:
        channel.send("tried", {"error": ""})


def honest_work(channel: Channel) -> None:
    """What a child may do."""
    channel.receive()
    os.mkdir("folder")
    with open("folder/file", "w+") as file:
        file.write("text")
        file.seek(0)
        assert file.read() == "text"
        file.truncate(0)
    results: list[float] = []
    threads = [threading.Thread(target=lambda: results.append(float(np.linalg.norm(np.ones(9))))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open("/proc/cpuinfo") as file:
        file.read(10)
    os.urandom(8)
    time.sleep(0.001)
    found: dict[str, Json] = {}
    for name in ("wave", "threaded_tasks"):
        try:
            importlib.import_module(name)
        except ImportError:
            found[name] = "no such module"
        else:
            found[name] = "imported"
    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    channel.send("done", {"results": [*results], "imports": found, "user": os.getuid(), "groups": [*os.getgroups()]})


def start_programs(channel: Channel) -> None:
    """CUDA: compilers and their like may be started, and find their files."""
    channel.receive()
    run = subprocess.run(["/bin/sh", "-c", "ls /usr/bin >/dev/null && echo x >made && mv made moved && rm moved"])
    with open("/dev/shm/own", "w") as file:
        file.write("x")
    own = sorted(os.listdir("/dev/shm"))
    channel.send("done", {"code": run.returncode, "shared_memory": [*own], "cache": os.environ["TRITON_CACHE_DIR"]})


def _stay(channel: Channel) -> None:
    channel.send("over", {})
    time.sleep(1_000)


def use_cache(channel: Channel) -> None:
    channel.receive()
    kernel = f"{os.environ['TRITON_CACHE_DIR']}/kernel"
    with open(kernel, "r+") as file:
        text = file.read()
        file.write("overwritten")
    channel.send("used", {"kernel": text})


def _sealed_memory(num_bytes: int) -> mmap.mmap:
    """Private memory, filled and then read-only: the kernel's limit counts only what may be written."""
    memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.memset(start, 1, num_bytes)
    _checked(_LIBC.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(num_bytes), mmap.PROT_READ))
    return memory


def take_memory(channel: Channel) -> None:
    channel.receive()
    kept = []
    while True:
        kept.append(_sealed_memory(16 << 20))


def take_memory_without_first_thread(channel: Channel) -> None:
    channel.receive()

    def bomb() -> None:
        time.sleep(0.1)
        kept = []
        while sum(map(len, kept)) < (1 << 30):
            kept.append(_sealed_memory(16 << 20))
        time.sleep(1_000)

    threading.Thread(target=bomb).start()
    exit_call = 60
    _LIBC.syscall(exit_call, 0)


def ask_for_much(channel: Channel) -> None:
    channel.receive()
    np.empty(1 << 30, np.uint8)


def keep_small_objects(channel: Channel) -> None:
    """Until none is left; most of what may be mapped is not touched, so that the watch sees nothing of it."""
    channel.receive()
    _kept.append(np.empty(250 << 20, np.uint8))
    while True:
        _kept.append([0] * 9)


def start_threads_without_room(channel: Channel) -> None:
    channel.receive()
    _kept.append(np.empty(250 << 20, np.uint8))
    while True:
        threading.Thread(target=time.sleep, args=(1_000,), daemon=True).start()


def start_threads(channel: Channel) -> None:
    channel.receive()
    while True:
        try:
            threading.Thread(target=time.sleep, args=(1_000,), daemon=True).start()
        except RuntimeError:
            time.sleep(1)


def start_processes(channel: Channel) -> None:
    channel.receive()
    while True:
        try:
            if os.fork() == 0:
                time.sleep(1_000)
        except OSError:
            time.sleep(1)


def write_many_files(channel: Channel) -> None:
    channel.receive()
    for number in range(1 << 30):
        with open(f"{number}", "w"):
            pass


def write_much(channel: Channel) -> None:
    channel.receive()
    block = b"x" * (1 << 20)
    for number in range(100):
        with open(f"{number}", "wb") as file:
            file.write(block)
    time.sleep(1_000)


def write_without_a_name(channel: Channel) -> None:
    channel.receive()
    block, kept = b"x" * (1 << 20), []
    for number in range(60):
        kept.append(open(f"{number}", "wb"))  # noqa: SIM115
        os.unlink(f"{number}")
        kept[-1].write(block)
        kept[-1].flush()
    time.sleep(1_000)


def nest_folders(channel: Channel) -> None:
    channel.receive()
    for _ in range(3_000):
        os.mkdir("x")
        os.chdir("x")
    os.umask(0)
    _stay(channel)


def print_much(channel: Channel) -> None:
    channel.receive()
    for number in range(40_000):
        os.write(1, b"%06d " % number + b"x" * 100 + b"\n")
        if number % 4_000 == 0:
            time.sleep(0.1)
    sys.stderr.write("the last word\n")
    os._exit(4 if os.fstat(1).st_size < (3 << 20) else 5)


def status_of(channel: Channel) -> None:
    """The kernel's word on this process; only where the file rules do not forbid it."""
    channel.receive()
    with open("/proc/self/status") as file:
        lines = dict(line.strip().partition(":\t")[::2] for line in file)
    channel.send("status", {name: lines[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Uid")})


TASKS = {
    task.__name__: task
    for task in (
        attempt,
        honest_work,
        start_programs,
        use_cache,
        take_memory,
        take_memory_without_first_thread,
        ask_for_much,
        keep_small_objects,
        start_threads_without_room,
        start_threads,
        start_processes,
        write_many_files,
        write_much,
        write_without_a_name,
        nest_folders,
        print_much,
        status_of,
    )
}
__all__ = ["ATTEMPTS", "TASKS", "as_ordinary_user", "keep_only", "warm_up"]

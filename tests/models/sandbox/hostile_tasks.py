"""Tasks for a fork server under test: what a broken or hostile child does. No torch, so that the server starts fast."""

import json
import os
import resource
import signal
import socket
import struct
import sys
import time

import numpy as np

from models.sandbox.child import Channel, TaskError


def warm_up() -> None:
    pass


def echo(channel: Channel) -> None:
    start = channel.receive()
    channel.send("echoed", start.body, start.arrays)


def read_file(channel: Channel) -> None:
    channel.receive()
    (fd,) = channel.handed_fds
    text = os.pread(fd, 1000, 0).decode()
    try:
        os.pwrite(fd, b"x", 0)
    except OSError as error:
        channel.send("read", {"text": text, "write": type(error).__name__})
    else:
        channel.send("read", {"text": text, "write": "possible"})


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _own_pid() -> int:
    """As the server counts, whatever namespace this is."""
    return int(os.readlink("/proc/self"))


def surroundings(channel: Channel) -> None:
    channel.receive()
    channel.send(
        "surroundings",
        {
            "environment": dict(os.environ),
            "fds": [fd for fd in range(64) if _is_open(fd)],
            "folder": os.getcwd(),
            "files": [*os.listdir(".")],
            "group": os.getpgid(0),
            "session": os.getsid(0),
            "pid": os.getpid(),
            "core": list(resource.getrlimit(resource.RLIMIT_CORE)),
        },
    )
    channel.receive()


def sleep_forever(channel: Channel) -> None:
    channel.receive()
    channel.send("asleep", {"pids": [_own_pid()]})
    time.sleep(1_000)


def ignore_sigterm(channel: Channel) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    channel.receive()
    channel.send("asleep", {"pids": [_own_pid()]})
    while True:
        time.sleep(1)


def stop_itself(channel: Channel) -> None:
    """Stopped, with a descendant that is stopped too; a third one says so."""
    channel.receive()
    first, second = _own_pid(), os.getpid()
    if os.fork() == 0:
        os.setsid()
        sleeper, number = os.fork(), os.getpid()
        if sleeper == 0:
            time.sleep(0.2)
            channel.send("asleep", {"pids": [first, _own_pid()]})
            time.sleep(1_000)
        os.kill(number, signal.SIGSTOP)
    os.kill(second, signal.SIGSTOP)


def fork_bomb(channel: Channel) -> None:
    """Every process starts others, each in a session of its own, for as long as a test may take."""
    channel.receive()
    until = time.monotonic() + 5
    channel.send("asleep", {"pids": [_own_pid()]})
    while time.monotonic() < until:
        try:
            if os.fork() == 0:
                os.setsid()
        except OSError:
            time.sleep(0.01)
    time.sleep(5)
    os._exit(0)


def fork_chain(channel: Channel) -> None:
    """Chains in which every process forks the next one and leaves, each in a session of its own; ever new ones."""
    channel.receive()
    channel.send("asleep", {"pids": [_own_pid()]})
    while True:
        if os.fork() == 0:
            while True:
                os.setsid()
                if os.fork():
                    os._exit(0)
        time.sleep(0.01)


def _daemon(depth: int, pipe: int) -> None:
    """Fork `depth` generations, each in a session of its own; every one of them says its pid and sleeps."""
    if os.fork() == 0:
        os.setsid()
        os.write(pipe, struct.pack("i", _own_pid()))
        if depth > 1:
            _daemon(depth - 1, pipe)
        time.sleep(1_000)
        os._exit(0)


def _start_daemons(channel: Channel) -> list[int]:
    channel.receive()
    reader, writer = os.pipe()
    _daemon(3, writer)
    if os.fork() == 0:  # the classical double fork: the middle one leaves, so that its child is an orphan
        _daemon(1, writer)
        os._exit(0)
    data = b""
    while len(data) < 16:
        data += os.read(reader, 16)
    return list(struct.unpack("4i", data))


def grandchildren(channel: Channel) -> None:
    channel.send("asleep", {"pids": [*_start_daemons(channel), _own_pid()]})
    time.sleep(1_000)


def leave_grandchildren(channel: Channel) -> None:
    channel.send("asleep", {"pids": _start_daemons(channel)})


def raise_error(channel: Channel) -> None:
    channel.receive()
    raise KeyError("nothing here")


def fail_by_name(channel: Channel) -> None:
    channel.receive()
    raise TaskError("diverged", "loss went up")


def hang_up(channel: Channel) -> None:
    channel.receive()
    os.close(3)
    time.sleep(1_000)


def leave_at_once(channel: Channel) -> None:
    channel.receive()
    print("so long", file=sys.stderr, flush=True)
    os._exit(7)


def segfault(channel: Channel) -> None:
    channel.receive()
    os.kill(os.getpid(), signal.SIGSEGV)


def exhaust(channel: Channel) -> None:
    channel.receive()
    found: dict[str, str] = {}
    try:
        np.ones(1 << 33, np.uint8)
    except MemoryError:
        found["memory"] = "refused"
    try:
        with open("large", "wb") as file:
            file.write(b"x" * (2 << 20))
    except OSError:
        found["file"] = "refused"
    try:
        kept = [os.dup(0) for _ in range(10_000)]
        found["files"] = str(len(kept))
    except OSError:
        found["files"] = "refused"
        os.closerange(10, 9_000)
    channel.send("exhausted", dict(found))


def _raw(channel: Channel) -> socket.socket:
    return channel._connection


def garbage(channel: Channel) -> None:
    channel.receive()
    _raw(channel).sendall(os.urandom(1 << 16))
    time.sleep(1_000)


def half_a_message(channel: Channel) -> None:
    channel.receive()
    entry = {"name": "a", "dtype": "float32", "shape": [1000]}
    header = json.dumps({"kind": "k", "body": {}, "arrays": [entry]}).encode()
    _raw(channel).sendall(struct.pack("<4sI", b"aro1", len(header)) + header + b"1234")
    os._exit(0)


def too_much(channel: Channel) -> None:
    channel.receive()
    channel.send("weights", arrays={"a": np.zeros(10_000)})
    time.sleep(1_000)


def never_reads(channel: Channel) -> None:
    time.sleep(1_000)


TASKS = {
    task.__name__: task
    for task in (
        echo,
        read_file,
        surroundings,
        sleep_forever,
        ignore_sigterm,
        grandchildren,
        leave_grandchildren,
        raise_error,
        fail_by_name,
        hang_up,
        leave_at_once,
        segfault,
        stop_itself,
        fork_bomb,
        fork_chain,
        exhaust,
        garbage,
        half_a_message,
        too_much,
        never_reads,
    )
}

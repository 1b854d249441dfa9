"""Tasks for gangs: the attempts of jail_tasks inside a rank, and the ways in which a rank can fail.

The rendezvous starts one more thread than torch's own, of Python: it runs attempts as if it were one of those.
"""

import errno
import importlib
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import torch
import torch.distributed as dist
from torch import nn

from models import data_parallel
from models.sandbox.child import RANK_LOST, Channel, TaskError
from models.sandbox.gang import Rank
from models.sandbox.layer import Device
from models.sandbox.wire import Json
from tests.models.sandbox import jail_tasks

_MSG_FASTOPEN = 0x20000000
_asked: queue.Queue[Callable[[], None]] = queue.Queue()


def warm_up() -> None:
    torch.set_num_threads(1)
    importlib.import_module("torch._subclasses.schema_check_mode")
    user = os.environ.get("CUDA_VISIBLE_DEVICES")
    if user == "as nobody":
        jail_tasks.as_ordinary_user()
    if user == "as one without namespaces":
        jail_tasks.without_namespaces()


def rendezvous(rank: Rank, device: Device) -> None:
    threading.Thread(target=_run_what_is_asked, daemon=True).start()
    data_parallel.rendezvous(rank, device)


def _run_what_is_asked() -> None:
    while True:
        _asked.get()()


def _on_early_thread(attempt: Callable[[], str]) -> str:
    answers: queue.Queue[str] = queue.Queue()
    _asked.put(lambda: answers.put(attempt()))
    return answers.get(timeout=10)


def _sockets() -> Iterator[socket.socket]:
    """The sockets of the internet that this process holds."""
    for fd in range(3, 256):
        try:
            found = socket.socket(fileno=fd)
        except OSError:
            continue
        if found.family in (socket.AF_INET, socket.AF_INET6):
            yield found
        found.detach()


def _connect_by_sending(told: Mapping[str, Json]) -> None:
    """Connect without a call to connect, which any other answer than EPERM lets a socket do that is shut down."""
    found = next(_sockets())
    try:
        found.sendto(b"x", _MSG_FASTOPEN, ("127.0.0.1", 1))
    except PermissionError:
        raise
    except OSError:
        return
    finally:
        found.detach()


def _listen(told: Mapping[str, Json]) -> None:
    if not any([found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for found in _sockets()]):  # noqa: C419
        raise OSError(errno.EPERM, "nothing listens")


def _kill_everyone(told: Mapping[str, Json]) -> None:
    """The kernel says that all went well where it refused every single one."""
    os.kill(-1, signal.SIGKILL)
    raise OSError(errno.EPERM, "and yet the others go on, or nobody would hear of this")


ATTEMPTS: dict[str, Callable[[Mapping[str, Json]], None]] = {
    **jail_tasks.ATTEMPTS,
    "kill everyone": _kill_everyone,
    "kill the other rank": lambda told: os.kill(int(str(told["other"])), signal.SIGCONT),
    "kill the keeper": lambda told: os.kill(os.getppid(), signal.SIGCONT),
    "read the other rank's memory": lambda told: open(f"/proc/{told['other']}/mem", "rb").close(),
    "listen": _listen,
    "connect by sending": _connect_by_sending,
}


def attempt(channel: Channel) -> None:
    """start {names, ...} -> tried {errors}, one after the other for each rank: name -> [of two threads].

    The first thread's, and one's that is older than the filter; errors are named as in jail_tasks.
    """
    told = dict(channel.receive().body)
    told["other"] = _gathered(os.getpid())[1 - channel.rank]

    def tried(name: str) -> str:
        try:
            ATTEMPTS[name](told)
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error))
        except ValueError as error:  # resource's word for EPERM
            return str(error)
        return ""

    names = told["names"]
    assert isinstance(names, list)
    found = {name: [tried(name), _on_early_thread(lambda name=name: tried(name))] for name in map(str, names)}
    channel.send("tried", {"errors": [*_gathered(found)]})


def _gathered(own: Json) -> list[Json]:
    everyone: list[Json] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, own)
    return everyone


def _say_who(channel: Channel) -> None:
    channel.send("there", {"pids": [*_gathered(os.getpid())]})


def hear(channel: Channel) -> None:
    """start {word} + numbers -> heard {words, sums}, and stays until it is told to go."""
    start = channel.receive()
    _say_who(channel)
    words, sums = _gathered(start.body["word"]), _gathered(float(start.array("numbers").sum()))
    channel.send(
        "heard", {"words": [*words], "sums": [*sums], "ranks": [*_gathered([channel.rank, channel.num_ranks])]}
    )
    channel.receive()


class _Parts(nn.Module):
    """Weights and a buffer that every rank draws for itself; the last is neither contiguous nor a float's width."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.on_one, self.on_all, self.on_none = (nn.Parameter(torch.full((2,), 1.0 + rank)) for _ in range(3))
        self.turned = nn.Parameter(torch.full((2, 3), 1.0 + rank, dtype=torch.float64).mT)
        self.register_buffer("mask", torch.tensor([rank == 0, rank == 1]))


def share(channel: Channel) -> None:
    """start -> shared {weights, drawn, losses, gradients, largest}, each by rank."""
    channel.receive()
    rank = channel.rank
    ranks = data_parallel.Ranks(rank=rank, num=channel.num_ranks)
    parts = _Parts(rank)
    torch.manual_seed(0)
    ranks.begin(parts)
    weights: list[Json] = [[*map(float, tensor.flatten())] for tensor in (*parts.parameters(), *parts.buffers())]
    if rank == 1:
        parts.on_one.grad = torch.full((2,), 5.0)
    parts.on_all.grad = torch.full((2,), 1.0 + rank)
    parts.turned.grad = torch.full((3, 2), 0.5, dtype=torch.float64)
    loss = ranks.sum_up(torch.tensor(0.25 + rank), list(parts.parameters()))
    gradients: list[Json] = [
        None if parameter.grad is None else [*map(float, parameter.grad.flatten())] for parameter in parts.parameters()
    ]
    said: dict[str, Json] = {
        "weights": _gathered(weights),
        "drawn": _gathered(float(torch.rand(()))),
        "losses": _gathered(float(loss)),
        "gradients": _gathered(gradients),
        "largest": _gathered(ranks.largest(10 * rank)),
    }
    channel.send("shared", said)


def _wait_for_the_others(channel: Channel) -> None:
    """As training does: a lost rank becomes the failure that is only another one's consequence."""
    try:
        data_parallel.Ranks(rank=channel.rank, num=channel.num_ranks).largest(1)
    except data_parallel.RankLost as error:
        raise TaskError(RANK_LOST, str(error)) from error


def _leave() -> None:
    print("so long", file=sys.stderr, flush=True)
    os._exit(7)


def _raise(error: Exception) -> None:
    raise error


def _garbage() -> None:
    os.write(3, os.urandom(1 << 10))
    os._exit(7)


def _ask_for_much() -> None:
    torch.empty(1 << 28)


_ENDS: dict[str, Callable[[], None]] = {
    "raise": lambda: _raise(KeyError("nothing here")),
    "raise by name": lambda: _raise(TaskError("diverged", "loss went up")),
    "leave": _leave,
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "garbage": _garbage,
    "ask for much": _ask_for_much,
    "hang": lambda: time.sleep(1_000),
}


def end(channel: Channel) -> None:
    """start {rank, how, hang} -> there {pids}; then this rank ends so, and the others wait for it, or hang."""
    start = channel.receive()
    _say_who(channel)
    if channel.rank == start.integer("rank"):
        _ENDS[start.text("how")]()
    if start.body["hang"]:
        time.sleep(1_000)
    _wait_for_the_others(channel)


def hold_memory(channel: Channel) -> None:
    """start -> nothing: each rank has 500 MiB, and stays."""
    channel.receive()
    kept = [torch.ones(25 << 18) for _ in range(20)]
    time.sleep(1_000)
    kept.clear()


def finish_late(channel: Channel) -> None:
    """Rank 0 has more to say than the others, for longer than they would be waited for if they had failed."""
    channel.receive()
    if channel.rank == 0:
        time.sleep(2.5)
        channel.send("done")


TASKS = {
    "attempt": attempt,
    "hear": hear,
    "share": share,
    "end": end,
    "hold_memory": hold_memory,
    "finish_late": finish_late,
}

"""Several processes that train as one: their keeper, the sockets between them, and how a failure becomes everyone's.

A gang is the server's child like any other. The child itself turns into the keeper, which runs nothing of a
candidate's: it forks the ranks, waits, ends all of them when one fails, and leaves as that one left. Rank 0 holds the
socket to the parent; every other rank holds, in its place, one end of a socket pair to rank 0, over which it gets the
parent's messages and tells why it failed.

Not guaranteed: that ranks are kept from each other. They run the same candidate, and whatever one of them may do the
others may do as well; what matters is that none may do more than a child that is alone.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from models.sandbox import wire
from models.sandbox.child import LOST, RANK_LOST, Channel, TaskError
from models.sandbox.layer import Device, Layer
from models.sandbox.own_process import die_with, leave_as

_KEPT_FD = 3  # the socket to the parent, after the standard streams
_WORD_S = 1.0  # how long rank 0 waits for the word of a rank that left it
_GRACE_S = 2.0  # how long the others may go on when one has failed: rank 0 tells the parent meanwhile
_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One process of a gang; `sockets` are rank 0's, one to each other rank in their order."""

    number: int
    num: int
    sockets: tuple[socket.socket, ...] = ()


Rendezvous = Callable[[Rank, Device], None]
"""How the ranks of a gang meet; trusted code, which may open sockets, and load what talks over them."""


def assemble(num: int) -> Rank:
    """Fork `num` ranks and return in each of them; the calling process becomes their keeper and never returns."""
    pairs = [socket.socketpair() for _ in range(num - 1)]
    keeper = os.getpid()
    ranks: dict[int, int] = {}
    for number in range(num):
        pid = os.fork()
        if pid == 0:
            die_with(keeper)
            return _rank(number, pairs)
        ranks[pid] = number
    for pair in pairs:
        for end in pair:
            end.close()
    _keep(ranks)


def _rank(number: int, pairs: list[tuple[socket.socket, socket.socket]]) -> Rank:
    if number == 0:
        for _, theirs in pairs:
            theirs.close()
        return Rank(number=0, num=len(pairs) + 1, sockets=tuple(ours for ours, _ in pairs))
    os.dup2(pairs[number - 1][1].fileno(), _KEPT_FD, inheritable=False)
    for pair in pairs:
        for end in pair:
            end.close()
    return Rank(number=number, num=len(pairs) + 1)


def _keep(ranks: dict[int, int]) -> NoReturn:
    """Wait for all ranks and leave as the one that failed first. The parent's socket stays open until then.

    A rank that failed for want of another one has not failed first, whenever its end is seen.
    """
    num = len(ranks)
    ends: list[tuple[int, int]] = []
    give_up: float | None = None
    while ranks and (give_up is None or time.monotonic() < give_up):
        pid, status = os.waitpid(-1, 0 if give_up is None else os.WNOHANG)
        if not pid:
            time.sleep(_PAUSE_S)
            continue
        number = ranks.pop(pid)
        ends.append((number, status))
        if give_up is None and (status or number == 0):
            give_up = time.monotonic() + _GRACE_S
    for pid in ranks:
        os.kill(pid, signal.SIGKILL)
    for pid in ranks:
        os.waitpid(pid, 0)
    failed = [(number, status) for number, status in ends if status]
    first = [end for end in failed if not os.WIFEXITED(end[1]) or os.WEXITSTATUS(end[1]) != LOST] or failed
    if not first:
        os._exit(0)
    number, status = first[0]
    _log(f"rank {number} of {num} {_how(status)}")
    leave_as(status)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"left with exit code {os.WEXITSTATUS(status)}"


def _log(text: str) -> None:
    """Into the child's log, the end of which is told when it has ended."""
    with suppress(OSError):
        os.write(2, f"{text}\n".encode("utf-8", "replace"))


def close_listeners() -> None:
    """Put nothing in the place of every socket that listens, since the ranks have met.

    Its number stays taken: whoever opened it may close it one day, and must not hit another file.
    """
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for fd in range(_KEPT_FD, os.sysconf("SC_OPEN_MAX")):
        if _is_socket(fd):
            found = socket.socket(fileno=fd)
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                os.dup2(null, fd, inheritable=False)
            found.detach()
    os.close(null)


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:  # not open
        return False


class FirstRank(Channel):
    """Rank 0: it speaks with the parent, hands on what the parent says, and speaks for a rank that failed."""

    def __init__(
        self, connection: socket.socket, handed_fds: tuple[int, ...], layers: tuple[Layer, ...], rank: Rank
    ) -> None:
        super().__init__(connection, handed_fds, layers)
        self.num_ranks = rank.num
        self._others = rank.sockets

    def receive(self) -> wire.Message:
        """The parent's next message, which every other rank gets too."""
        message = super().receive()
        try:
            for other in self._others:
                wire.send(other, message.kind, message.body, message.arrays)
        except wire.PeerGoneError as error:
            raise TaskError(RANK_LOST, f"a rank has ended: {error}") from error
        return message

    def fail(self, failure: str, detail: str) -> int:
        """Tell the parent what this rank raised; where it lost another one, what that one said, if it said anything."""
        if failure == RANK_LOST:
            word = self._word()
            if word is None:
                _log(detail)
                return LOST
            failure, detail = word
        return super().fail(failure, detail)

    def _word(self) -> tuple[str, str] | None:
        """The first failure that another rank tells of; what it says is untrusted, and bounded."""
        deadline = time.monotonic() + _WORD_S
        waiting = {other: number for number, other in enumerate(self._others, 1)}
        while waiting and (left := deadline - time.monotonic()) > 0:
            for other in select.select(list(waiting), [], [], left)[0]:
                number = waiting.pop(other)
                with suppress(wire.WireError):
                    message = wire.receive(other, deadline=deadline)
                    detail = message.text("detail", limit=4_000)
                    return message.text("failure", limit=80), f"rank {number} of {self.num_ranks}:\n{detail}"
        return None


class OtherRank(Channel):
    """Rank 1 and up: it hears what the parent says from rank 0, and is silent until it fails."""

    def __init__(
        self, connection: socket.socket, handed_fds: tuple[int, ...], layers: tuple[Layer, ...], rank: Rank
    ) -> None:
        super().__init__(connection, handed_fds, layers)
        self.rank, self.num_ranks = rank.number, rank.num

    def send(
        self,
        kind: str,
        body: Mapping[str, wire.Json] | None = None,
        arrays: Mapping[str, wire.Array] | None = None,
    ) -> None:
        """Nothing: rank 0 says the same."""

    def fail(self, failure: str, detail: str) -> int:
        """Tell rank 0 what this rank raised, and the log, in case that rank 0 hears nothing any more."""
        if failure == RANK_LOST:
            return LOST
        _log(f"rank {self.rank} of {self.num_ranks}:\n{detail}")
        with suppress(wire.WireError):
            super().send("failed", {"failure": failure, "detail": detail})
        return 2


def channel_of(
    connection: socket.socket, handed_fds: tuple[int, ...], layers: tuple[Layer, ...], rank: Rank | None
) -> Channel:
    """The channel of a child that is alone, or of a rank."""
    if rank is None:
        return Channel(connection, handed_fds, layers)
    return (OtherRank if rank.number else FirstRank)(connection, handed_fds, layers, rank)

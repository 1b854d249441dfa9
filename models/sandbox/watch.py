"""What a child uses, seen from outside: memory, processes, threads, disk; and its log, cut to its tail.

The server looks about five times a second, so that a child can be over its limit for that long: by as many pages as
a processor touches in a fifth of a second, for instance.

Not covered: what the kernel or a driver holds on a child's behalf (page tables, pipes, memory of a GPU).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from models.sandbox import leavings
from models.sandbox.layer import Cause, Limits

LOG_BYTES = 1 << 20
"""A longer log is cut back to its last part."""

_KEPT_LOG_BYTES = 64 << 10
_CONFIRM_S = 0.01
_KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """A limit that a child has passed."""

    cause: Cause
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one process says of itself in /proc."""

    private_bytes: int  # swapped out or not; pages that it shares with whom it was forked from included
    shared_bytes: int  # shared memory that it has mapped
    threads: int


class Watch:
    """The limits of one child, and what it had when it was forked."""

    def __init__(
        self, *, pid: int, scratch: str, log_fd: int, limits: Limits, handed_fds: tuple[int, ...], forked_bytes: int
    ) -> None:
        self._pid = pid
        self._scratch = scratch
        self._log_fd = log_fd
        self._limits = limits
        self._forked_bytes = forked_bytes
        handed = [os.fstat(fd) for fd in handed_fds]
        # Pages of a file on disk are not counted as shared memory: no allowance for those.
        self._handed_bytes = sum(found.st_size for found in handed if _is_memory(found))
        self._known = {(found.st_dev, found.st_ino) for found in (*handed, os.fstat(log_fd))}

    def excess(self) -> Excess | None:
        """The first limit that the child is past, if any; cuts its log on the way."""
        cut_log(self._log_fd)
        pids = tree(self._pid, at_most=self._limits.processes + 1)
        usages = [usage for pid in pids if (usage := usage_of(pid)) is not None]
        return self._crowd(len(pids), usages) or self._memory(pids, usages) or self._disk(pids)

    def _crowd(self, num: int, usages: list[Usage]) -> Excess | None:
        limits, threads = self._limits, sum(usage.threads for usage in usages)
        if num > limits.processes:
            return Excess(cause="processes", detail=f"more processes than the {limits.processes} that are the limit")
        if threads > limits.threads:
            return Excess(cause="processes", detail=f"{threads} threads, the limit is {limits.threads}")
        return None

    def _memory(self, pids: list[int], usages: list[Usage]) -> Excess | None:
        limit = self._limits.rss_bytes
        at_most = sum(usage.private_bytes + usage.shared_bytes for usage in usages)
        if at_most <= limit:
            return None
        used = self._used(pids)
        if used > limit:
            # A process between vfork and exec counts twice for a moment.
            time.sleep(_CONFIRM_S)
            used = self._used(tree(self._pid, at_most=len(pids) + 1))
        if used <= limit:
            return None
        return Excess(cause="memory", detail=f"{_mebibytes(used)} MiB of memory, the limit is {_mebibytes(limit)} MiB")

    def _used(self, pids: list[int]) -> int:
        """Bytes that are the tree's: pages that it shares with the server count in part, or not at all."""
        private = shared = 0
        for pid in pids:
            share = _share_of(pid)
            if share is not None:
                private, shared = private + share[0], shared + share[1]
            elif (usage := usage_of(pid)) is not None:
                private += max(0, usage.private_bytes - self._forked_bytes)
                shared += usage.shared_bytes
        return private + max(0, shared - self._handed_bytes)

    def _disk(self, pids: list[int]) -> Excess | None:
        limits = self._limits
        contents = leavings.measure(self._scratch, max_entries=limits.scratch_entries)
        num_bytes = contents.num_bytes + self._nameless_bytes(pids)
        if contents.oddity:
            return Excess(cause="disk", detail=contents.oddity)
        if contents.num_entries > limits.scratch_entries:
            return Excess(cause="disk", detail=f"more than {limits.scratch_entries} files and folders")
        if num_bytes > limits.scratch_bytes:
            written, limit = _mebibytes(num_bytes), _mebibytes(limits.scratch_bytes)
            return Excess(cause="disk", detail=f"{written} MiB of files, the limit is {limit} MiB")
        return None

    def _nameless_bytes(self, pids: list[int]) -> int:
        """Files that were removed while open, or never had a name."""
        seen: dict[tuple[int, int], int] = {}
        for pid in pids:
            folder = f"{_living(pid)}/fd"
            with suppress(OSError):
                for name in os.listdir(folder):
                    with suppress(OSError):
                        found = os.stat(f"{folder}/{name}")
                        if found.st_nlink == 0:
                            seen[found.st_dev, found.st_ino] = found.st_blocks * leavings.BLOCK_BYTES
        return sum(size for key, size in seen.items() if key not in self._known)


def tree(pid: int, *, at_most: int) -> list[int]:
    """A process and its descendants, unless they have left it; the process alone where /proc tells no more."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                with suppress(OSError):
                    found.extend(map(int, Path(f"/proc/{one}/task/{task}/children").read_text().split()))
        if len(found) >= at_most:
            break
    return found[:at_most]


def usage_of(pid: int) -> Usage | None:
    """What a process uses; None when it has ended, or where the platform does not tell."""
    try:
        lines = Path(f"{_living(pid)}/status").read_text(errors="replace").splitlines()
    except OSError:
        return None
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    if fields["State"][0] == "Z":
        return None
    return Usage(
        private_bytes=sum(int(fields[name][0]) for name in ("RssAnon", "VmSwap") if name in fields) * _KIB,
        shared_bytes=int(fields.get("RssShmem", ["0"])[0]) * _KIB,
        threads=int(fields["Threads"][0]),
    )


def cut_log(fd: int) -> None:
    """Keep the end of a long log; its writers append, whatever else they do to the descriptor."""
    size = os.fstat(fd).st_size
    if size > LOG_BYTES:
        tail = os.pread(fd, _KEPT_LOG_BYTES, size - _KEPT_LOG_BYTES)
        os.ftruncate(fd, 0)
        with suppress(OSError):  # a full disk
            os.write(fd, tail)


def _is_memory(found: os.stat_result) -> bool:
    """Whether a file's pages count as shared memory: it never had a name on disk, or lies on a tmpfs."""
    if found.st_nlink == 0:
        return True
    number = f"{os.major(found.st_dev)}:{os.minor(found.st_dev)}"
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
            mount, _, kind = line.partition(" - ")
            if mount.split()[2] == number:
                return kind.startswith("tmpfs ")
    return False


def _living(pid: int) -> str:
    """Where /proc tells of a process; of another of its threads when the first, whose number it has, ended before."""
    own = f"/proc/{pid}"
    with suppress(OSError):
        if _is_dead(own):
            for task in os.listdir(f"{own}/task"):
                if not _is_dead(f"{own}/task/{task}"):
                    return f"{own}/task/{task}"
    return own


def _is_dead(place: str) -> bool:
    return Path(f"{place}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX"


def _share_of(pid: int) -> tuple[int, int] | None:
    """A process's proportional share of private and of shared memory; None where it cannot be read."""
    try:
        lines = Path(f"{_living(pid)}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    fields = {words[0]: int(words[1]) * _KIB for line in lines if len(words := line.split()) == 3}
    if "Pss_Anon:" not in fields:
        return None
    return fields["Pss_Anon:"] + fields.get("SwapPss:", 0), fields.get("Pss_Shmem:", 0)


def _mebibytes(num_bytes: int) -> int:
    return num_bytes >> 20

"""A campaign's folder: its configuration, its lease (one driver at a time) and the request to stop.

The lease is a lock that the operating system drops with its holder, so a lease is never stale for longer than its
driver lives; the text in it says who holds it. On file systems without locks the text alone decides, by heartbeat: who
wants the folder watches it for a minute, since the times in it are another clock's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import yaml

from orchestrator.errors import UsageError

CONFIG = "config.yaml"
LEASE = "lease.json"
STOP = "stop.request"
LINEAGE = "lineage"
HEARTBEAT_S = 5.0
STALE_AFTER_S = 60.0
_SHOWN_DIFFERENCES = 4
_LEASE_BYTES = 512
_LOOK_S = 1.0

# What may change between two starts of the same campaign; everything else is the campaign's identity.
MAY_CHANGE = re.compile(
    r"(run|budget|cluster|pools|tracking|inbox|checkpoints)\..*|stages\.[^.]+\.pool|flow\.(grace_s|store_patience_s)"
    r"|llm\.(retries\..*|patience|max_corrections|unknown_price)"
    r"|llm\.models\.[^.]+\.(api_base|price(\..*)?|concurrency|requests_per_minute|tokens_per_minute|timeout_s|structured"
    r"|temperature)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who drives a campaign."""

    host: str
    pid: int
    since: float
    beat: float


class RunFolder:
    """Paths and rules of one run folder.

    Raises:
        UsageError: from `claim`, when the folder is not ours, not writable, held, or of another configuration.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lease: IO[str] | None = None
        self._since = 0.0
        self.last_beat = 0.0  # of whoever drove it before, where that ended without releasing it

    @property
    def lineage(self) -> Path:
        return self.path / LINEAGE

    @property
    def exists(self) -> bool:
        return (self.path / CONFIG).is_file()

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """The folder of a campaign that has been started before."""
        folder = cls(Path(path))
        if not folder.exists:
            raise UsageError(
                f"{path} is not a campaign's folder (it has no {CONFIG}): give the path that a run printed"
            )
        return folder

    def claim(self, config: Mapping[str, Any], facts: Mapping[str, Any], now: float) -> None:
        """Create or enter the folder as its one driver.

        Args:
            config: resolved settings as plain values; compared with what the folder was made with.
            facts: versions and hashes, written beside the configuration when the folder is made.
            now: seconds since the epoch.
        """
        self._enter()
        self._take_lease(now)
        try:
            self._agree(config, facts)
            (self.path / STOP).unlink(missing_ok=True)
        except BaseException:
            self.release()
            raise

    def settings(self) -> dict[str, Any]:
        """The settings that the folder was made with, as plain values."""
        path = self.path / CONFIG
        try:
            settings = yaml.safe_load(path.read_text())["settings"]
        except (KeyError, TypeError) as error:
            raise UsageError(f"{path} is not a campaign's configuration: give the path that a run printed") from error
        except (OSError, yaml.YAMLError) as error:
            raise UsageError(f"{path} cannot be read ({error}): restore it, or start with run.fresh=true") from error
        assert isinstance(settings, dict)
        return settings

    def beat(self, now: float) -> None:
        """Say that the driver lives; a file system that does not take it is no reason to end, and asked again soon."""
        if self._lease is not None:
            holder = Holder(host=socket.gethostname(), pid=os.getpid(), since=self._since, beat=now)
            # One write of one length over the text that is there: it needs no room on a full disk.
            text = json.dumps(asdict(holder)).ljust(_LEASE_BYTES)
            with contextlib.suppress(OSError):
                os.pwrite(self._lease.fileno(), text.encode(), 0)

    def release(self) -> None:
        if self._lease is not None:
            with contextlib.suppress(OSError):  # the lock goes with the file, whatever stays of its name
                (self.path / LEASE).unlink(missing_ok=True)
            self._lease.close()
            self._lease = None

    def holder(self, now: float) -> Holder | None:
        """Who drives the campaign at this moment, as far as another process can tell."""
        path = self.path / LEASE
        try:
            with path.open("r+") as file:
                holder = _read_holder(file)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                        return holder or Holder(host="unknown", pid=0, since=now, beat=now)
                    return holder if holder and abs(now - holder.beat) < STALE_AFTER_S else None
                return None
        except OSError:
            return None

    def ask_to_stop(self, now: float, *, at_once: bool = False) -> None:
        _write_whole(self.path / STOP, json.dumps({"asked_at": now, "at_once": at_once}))

    @property
    def asked_to_stop(self) -> bool:
        return (self.path / STOP).exists()

    @property
    def asked_to_stop_at_once(self) -> bool:
        """Without finishing what is nearly done."""
        try:
            return bool(json.loads((self.path / STOP).read_text()).get("at_once"))
        except (OSError, ValueError, AttributeError):
            return False

    def _agree(self, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Write the configuration down, or find it the one that is there."""
        path = self.path / CONFIG
        if not path.is_file():
            _write_whole(path, yaml.safe_dump({"settings": dict(config), "facts": dict(facts)}, sort_keys=False))
        elif differences := _differences(self.settings(), dict(config)):
            raise UsageError(
                f"{self.path} was made with another configuration: {_some(differences)}. "
                "Use the same values, or run.name=OTHER, or run.fresh=true"
            )

    def _enter(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self.exists:
                foreign = [entry.name for entry in self.path.iterdir() if entry.name not in (LEASE, STOP)]
                if foreign:
                    raise UsageError(
                        f"{self.path} holds something else ({', '.join(sorted(foreign)[:3])}) and no campaign: "
                        "choose another run.name or run.root"
                    )
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be written ({error.strerror}): choose another run.root or mend its permissions"
            ) from error

    def _take_lease(self, now: float) -> None:
        while True:
            file = open(self.path / LEASE, "r+", opener=_created)  # noqa: SIM115  # kept: the lock is its
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = _read_holder(file)
                held = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
                if held or (holder is not None and _lives(file, holder)):
                    file.close()
                    who = f"process {holder.pid} on {holder.host}" if holder else "another process"
                    raise UsageError(
                        f"{self.path} is being driven by {who}: watch it with `python -m orchestrator.status "
                        f"{self.path}`, stop it with `python -m orchestrator.stop {self.path}`, or use run.fresh=true"
                    ) from error
            if _same_file(file, self.path / LEASE):
                break
            file.close()  # the holder released it between our open and our lock
        self._lease, self._since = file, now
        before = _read_holder(file)
        self.last_beat = before.beat if before is not None else 0.0
        self.beat(now)


def fresh_path(path: Path) -> Path:
    """The first of path, path-2, path-3, ... that does not exist."""
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def wait_until_free(folder: RunFolder, timeout_s: float) -> bool:
    """Wait until nobody drives the campaign; False when somebody still does after the time-out."""
    deadline = time.monotonic() + timeout_s
    while folder.holder(time.time()) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _same_file(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _created(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def _lives(file: IO[str], holder: Holder) -> bool:
    """Whether the heartbeat goes on, by a clock that nobody sets."""
    if holder.host == socket.gethostname() and not psutil.pid_exists(holder.pid):
        return False
    give_up = time.monotonic() + STALE_AFTER_S
    while time.monotonic() < give_up:
        time.sleep(_LOOK_S)
        if _read_holder(file) != holder:
            return True
    return False


def _read_holder(file: IO[str]) -> Holder | None:
    try:
        file.seek(0)
        return Holder(**json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return None


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    flat_old, flat_new = _flatten(old), _flatten(new)
    return [
        f"{key} was {flat_old.get(key)!r}, now {flat_new.get(key)!r}"
        for key in sorted(flat_old.keys() | flat_new.keys())
        if not MAY_CHANGE.fullmatch(key) and flat_old.get(key) != flat_new.get(key)
    ]


def _some(differences: list[str]) -> str:
    more = len(differences) - _SHOWN_DIFFERENCES
    return "; ".join(differences[:_SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")


def _flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(values, Mapping):
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list) and any(isinstance(value, Mapping) for value in values):
        items = [(str(index), value) for index, value in enumerate(values)]
    else:
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat


def _write_whole(path: Path, text: str) -> None:
    """Write the file or leave what was there. Raises UsageError when the file system refuses."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UsageError(
            f"{path} cannot be written ({error.strerror}): make room on the disk or mend the folder"
        ) from error
